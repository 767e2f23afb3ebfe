package torture

import (
	"maps"
	"slices"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// autoCreate is the service's own command that opens a wallet.
const (
	autoCreate = "_auto-create"
)

// checkJournal compares the journal with the model: positions and versions without gaps, totals
// that chain and are never negative, each entry as the rules require, an unbroken hash chain,
// and the balance at the end.
func (c *walletCheck) checkJournal() {
	var b balance
	var legs refusedLegs
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
		after, expected := b.apply(e.Command(), e.Reason == wallet.ReasonMalformed, e.RecordedAt, scales[c.wallet.Currency])
		if e.TransactionID != "" && e.Status == wallet.StatusUnapplied {
			if problem := legs.next(b, e, scales[c.wallet.Currency]); problem != "" {
				c.violate(e.Position, []string{e.CommandID}, "leg %q of a refused transaction %s", e.CommandID, problem)
			}
			after, expected = b.refuse(e.Command(), e.Reason, e.RecordedAt)
		}
		if problem := b.differs(after, expected, e.Result()); problem != "" {
			c.violate(e.Position, []string{e.CommandID}, "command %q %s", e.CommandID, problem)
			return
		}
		if list := listOf(expected.grants, scales[c.wallet.Currency]); e.Grants != list {
			c.violate(e.Position, []string{e.CommandID}, "command %q takes, reserves or gives back %q of grants, the rules say %q", e.CommandID, e.Grants, list)
			return
		}
		if e.Type == wallet.TypeExpireGrant {
			if g := b.allGrants()[expected.grants[0].grant]; isOverdue(g.expires, e.RecordedAt, c.record.healed) && isOverdue(prev.RecordedAt, e.RecordedAt, c.record.healed) {
				c.violate(e.Position, nil, "grant %d was due at %s, and expired only at %s", expected.grants[0].grant, clockTime(g.expires), clockTime(e.RecordedAt))
			}
		}
		if e.Type == wallet.TypeExpire && expected.hold.isOverdue(e.RecordedAt, c.record.healed) {
			c.violate(e.Position, nil, "hold %q was due at %s, and expired only at %s", e.HoldID, clockTime(expected.hold.expires), clockTime(e.RecordedAt))
		}
		b, prev = after, e
	}
	c.checkHolds(b)
	c.checkGrants(b)
	switch asset := c.record.asset; {
	case asset == nil && len(c.record.journal) > 0:
		c.violate(prev.Position, nil, "there is no balance")
	case asset == nil:
	case asset.Position != b.position || asset.Version != b.version || asset.Hash != prev.Hash || asset.Total.Cmp(prev.TotalAfter) != 0 || asset.Hold.Cmp(prev.HoldAfter) != 0 || !b.freezes.isShownBy(*asset, c.record.read) || asset.Closed != b.closed || !sameNumber(asset.CreditLimit, decimalOf(b.limit)) || !b.watches(asset.Thresholds):
		c.violate(prev.Position, nil, "the balance is total %s, hold %s, version %d, position %d, and the journal ends with total %s, hold %s, version %d, position %d",
			asset.Total, asset.Hold, asset.Version, asset.Position, prev.TotalAfter, prev.HoldAfter, b.version, b.position)
	}
}

// expiryPatience is the longest time after which a hold has expired, whatever was down, as long
// as there is a worker with working servers.
const expiryPatience = time.Minute

// isOverdue reports whether a hold's expiry is too late. Nothing is promised until the servers
// are healed.
func (h hold) isOverdue(at, healed time.Time) bool { return isOverdue(h.expires, at, healed) }

func isOverdue(expires, at, healed time.Time) bool {
	since := expires
	if since.Before(healed) {
		since = healed
	}
	return !expires.IsZero() && at.After(since.Add(expiryPatience))
}

// checkHolds compares the rows of holds, and what the balance says of them, with the model of
// the journal.
func (c *walletCheck) checkHolds(b balance) {
	rows := map[string]wallet.Hold{}
	for _, h := range c.record.holds {
		rows[h.ID] = h
	}
	var next time.Time
	for _, id := range b.all() {
		want := b.hold(id)
		have, found := rows[id]
		delete(rows, id)
		switch {
		case !found:
			c.violate(c.positionOf(id), []string{id}, "hold %q has no row", id)
		case have.State != want.state || !sameNumber(have.Amount, want.amount) || !sameNumber(have.Captured, want.captured) ||
			!sameNumber(have.Released, want.released) || !have.ExpiresAt.Equal(want.expires):
			c.violate(c.positionOf(id), []string{id}, "the row of hold %q is %s: %s of %s captured, %s released, until %s; the journal makes it %s: %s of %s captured, %s released, until %s",
				id, have.State, have.Captured, have.Amount, have.Released, clockTime(have.ExpiresAt),
				want.state, want.captured, want.amount, want.released, clockTime(want.expires))
		}
		if want.state != wallet.HoldOpen || want.expires.IsZero() {
			continue
		}
		if next.IsZero() || want.expires.Before(next) {
			next = want.expires
		}
		if want.isOverdue(c.record.read, c.record.healed) {
			c.violate(c.positionOf(id), []string{id}, "hold %q was due at %s, and has not expired by %s", id, clockTime(want.expires), clockTime(c.record.read))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		c.violate(rows[id].Position, []string{id}, "hold %q has a row, and nobody placed it", id)
	}
	asset := c.record.asset
	if asset != nil && (asset.OpenHolds != b.open() || !asset.NextExpiry.Equal(next)) {
		c.violate(b.position, nil, "the balance has %d open holds, the next expires at %s; the journal has %d, and %s",
			asset.OpenHolds, clockTime(asset.NextExpiry), b.open(), clockTime(next))
	}
}

// checkGrants is checkHolds for grants.
func (c *walletCheck) checkGrants(b balance) {
	rows := map[int64]wallet.Grant{}
	for _, g := range c.record.grants {
		rows[g.Number] = g
	}
	var next time.Time
	for _, number := range slices.Sorted(maps.Keys(b.allGrants())) {
		want, held := b.allGrants()[number], b.heldOf(number)
		have, found := rows[number]
		delete(rows, number)
		used := want.amount.Sub(want.left).Sub(held).Sub(want.expired)
		switch {
		case !found:
			c.violate(number, nil, "grant %d has no row", number)
		case have.ID != want.id || have.State != b.stateOf(number) || have.Priority != want.priority || have.Expiries != want.expiries || !have.ExpiresAt.Equal(want.expires) || !sameNumber(have.Amount, want.amount) ||
			!sameNumber(have.Left, want.left) || !sameNumber(have.Held, held) || !sameNumber(have.Used, used) || !sameNumber(have.Expired, want.expired):
			c.violate(number, nil, "the row of grant %d is %s: %s of %s left, %s held, %s used, %s expired, priority %d; the journal makes it %s: %s of %s left, %s held, %s used, %s expired, priority %d",
				number, have.State, have.Left, have.Amount, have.Held, have.Used, have.Expired, have.Priority,
				b.stateOf(number), want.left, want.amount, held, used, want.expired, want.priority)
		}
		if !want.left.IsPositive() || want.expires.IsZero() {
			continue
		}
		if next.IsZero() || want.expires.Before(next) {
			next = want.expires
		}
		if isOverdue(want.expires, c.record.read, c.record.healed) {
			c.violate(number, nil, "grant %d was due at %s, and has not expired by %s", number, clockTime(want.expires), clockTime(c.record.read))
		}
	}
	for _, number := range slices.Sorted(maps.Keys(rows)) {
		c.violate(rows[number].Position, nil, "grant %d has a row, and nobody made it", number)
	}
	asset := c.record.asset
	if asset != nil && (asset.OpenGrants != b.openGrants() || !sameNumber(asset.Granted, b.granted()) || !asset.NextGrantExpiry.Equal(next)) {
		c.violate(b.position, nil, "the balance has %d open grants with %s, the next expires at %s; the journal has %d with %s, and %s",
			asset.OpenGrants, asset.Granted, clockTime(asset.NextGrantExpiry), b.openGrants(), b.granted(), clockTime(next))
	}
}

// positionOf is the position of a hold's last entry.
func (c *walletCheck) positionOf(holdID string) int64 {
	return c.lastPosition(func(e wallet.Entry) bool { return e.HoldState != "" && e.TargetHoldID() == holdID })
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
		if !sameJSON(events[0], trail.EventOf(e)) {
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

// checkOrigins checks where each entry comes from: there must be none that nobody sent, and an
// entry's content must have been sent under its id.
func (c *walletCheck) checkOrigins() {
	for _, e := range c.record.journal {
		own := e.CommandID == autoCreate && e.Position == 1 || e.Type == wallet.TypeExpire && e.CommandID == expirePrefix+e.HoldID || e.Type == wallet.TypeExpireGrant
		if own {
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

// origin is the first attempt with an entry's content, which could have led to it.
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
