package torture

import (
	"strings"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// autoCreate is the service's own command, which opens a wallet.
const (
	autoCreate      = "_auto-create"
	malformedPrefix = "_malformed-"
)

// checkJournal walks the journal beside the model: positions and versions without
// gaps, totals that chain and are never negative, each entry as the rules have it, a
// chain of hashes, and the balance at its end.
func (c *walletCheck) checkJournal() {
	var b balance
	var prev wallet.Entry
	for i, e := range c.record.journal {
		if e.Position != int64(i+1) {
			c.violate(int64(i+1), []string{e.CommandID}, "position %d of the journal is missing", i+1)
			return
		}
		if e.PrevHash != prev.Hash || e.ComputeHash() != e.Hash {
			c.violate(e.Position, []string{e.CommandID}, "the hash chain is broken at position %d", e.Position)
			return
		}
		if e.RecordedAt.Before(prev.RecordedAt) {
			c.violate(e.Position, []string{e.CommandID}, "time runs backwards at position %d", e.Position)
		}
		after, expected := b.apply(wallet.Command{Type: e.Type, Amount: e.Amount}, e.Reason == wallet.ReasonMalformed, scales[c.wallet.Currency])
		if problem := b.differs(after, expected, e.Result()); problem != "" {
			c.violate(e.Position, []string{e.CommandID}, "command %q %s", e.CommandID, problem)
			return
		}
		b, prev = after, e
	}
	switch asset := c.record.asset; {
	case asset == nil && len(c.record.journal) > 0:
		c.violate(prev.Position, nil, "there is no balance")
	case asset == nil:
	case asset.Position != b.position || asset.Version != b.version || asset.Hash != prev.Hash || asset.Total.Cmp(prev.TotalAfter) != 0 || !asset.Hold.IsZero():
		c.violate(prev.Position, nil, "the balance is total %s, version %d, position %d, and the journal ends with total %s, version %d, position %d",
			asset.Total, asset.Version, asset.Position, prev.TotalAfter, b.version, b.position)
	}
}

// checkEvents compares the audit trail with the applied entries, one to one.
func (c *walletCheck) checkEvents() {
	events := c.record.events
	for _, e := range c.record.journal {
		if e.Status != wallet.StatusApplied {
			continue
		}
		if len(events) == 0 {
			c.violate(e.Position, []string{e.CommandID}, "command %q is applied as version %d and has no event", e.CommandID, e.Version)
			return
		}
		if !sameEvent(events[0], trail.EventOf(e)) {
			c.violate(e.Position, []string{e.CommandID, events[0].CommandID}, "version %d is command %q, its event is version %d of %q, total %s",
				e.Version, e.CommandID, events[0].Version, events[0].CommandID, events[0].TotalAfter)
			return
		}
		events = events[1:]
	}
	if len(events) > 0 {
		c.violate(events[0].Position, []string{events[0].CommandID}, "the event of version %d, %q, has no applied entry", events[0].Version, events[0].CommandID)
	}
}

func sameEvent(a, b trail.Event) bool {
	return a.Version == b.Version && a.EventType == b.EventType && a.CommandID == b.CommandID && a.Position == b.Position &&
		a.Hash == b.Hash && a.OccurredAt.Equal(b.OccurredAt) && a.Amount.Cmp(b.Amount) == 0 &&
		a.TotalBefore.Cmp(b.TotalBefore) == 0 && a.TotalAfter.Cmp(b.TotalAfter) == 0
}

// checkOrigins looks where each entry comes from: what nobody sent may not be there, and
// a command's entry has the content that somebody sent under its id.
func (c *walletCheck) checkOrigins() {
	for _, e := range c.record.journal {
		if e.CommandID == autoCreate && e.Position == 1 || strings.HasPrefix(e.CommandID, malformedPrefix) {
			continue
		}
		sent := c.byID[e.CommandID]
		if len(sent) == 0 {
			c.violate(e.Position, nil, "command %q is recorded, but nobody sent it", e.CommandID)
			continue
		}
		if _, found := c.origin(e); !found {
			c.violate(e.Position, []string{e.CommandID}, "command %q is recorded as %s %s, which nobody sent under this id", e.CommandID, e.Type, e.Amount)
		}
	}
}

// origin is the first attempt that can have led to an entry: with its content.
func (c *walletCheck) origin(e wallet.Entry) (first attempt, found bool) {
	for _, a := range c.byID[e.CommandID] {
		if a.matches(e) && (!found || a.called < first.called) {
			first, found = a, true
		}
	}
	return first, found
}

// matches reports whether an entry has the content of an attempt.
func (a attempt) matches(e wallet.Entry) bool {
	if a.way == Garbage || e.Reason == wallet.ReasonMalformed {
		return a.way == Garbage && e.Reason == wallet.ReasonMalformed
	}
	return a.command.RequestHash() == e.RequestHash && a.command.Type == e.Type
}
