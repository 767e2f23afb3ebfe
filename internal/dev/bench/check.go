package bench

import (
	"fmt"

	"github.com/valueledger/wallet"
)

// Checked says what happened to the accepted commands of a run.
type Checked struct {
	Accepted   int      `json:"accepted"`
	Applied    int      `json:"applied"`
	Refused    int      `json:"refused"`
	Violations []string `json:"violations,omitempty"`
}

// mostViolations is how many violations are listed; more would not help.
const mostViolations = 10

func (c *Checked) add(other Checked) {
	c.Accepted += other.Accepted
	c.Applied += other.Applied
	c.Refused += other.Refused
	for _, violation := range other.Violations {
		c.violate("%s", violation)
	}
}

func (c *Checked) violate(format string, args ...any) {
	if len(c.Violations) < mostViolations {
		c.Violations = append(c.Violations, fmt.Sprintf(format, args...))
	}
}

// checkWallet compares what a wallet accepted with its journal and balance: each command must
// be there once, as it was sent, with the answered outcome; nothing else may be there; and the
// balance must be the sum of what the answers say was applied.
func checkWallet(user string, accepted []*outcome, journal []wallet.Entry, asset wallet.Asset) Checked {
	c := Checked{Accepted: len(accepted)}
	sent := make(map[string]*outcome, len(accepted))
	for _, o := range accepted {
		if _, twice := sent[o.command.ID]; twice {
			c.violate("%s: command %q was sent twice: the benchmark is wrong", user, o.command.ID)
		}
		sent[o.command.ID] = o
	}
	total := wallet.Amount{}
	recorded := make(map[string]bool, len(journal))
	for _, entry := range journal {
		if recorded[entry.CommandID] {
			c.violate("%s: command %q is recorded twice", user, entry.CommandID)
		}
		recorded[entry.CommandID] = true
		if entry.CommandID == wallet.AutoCreate().ID {
			continue
		}
		o, known := sent[entry.CommandID]
		if !known {
			c.violate("%s: command %q is recorded, but nobody sent it", user, entry.CommandID)
			continue
		}
		if entry.Type != o.command.Type || entry.Amount.Cmp(o.command.Amount) != 0 {
			c.violate("%s: command %s is recorded as %s %s", user, o.command, entry.Type, entry.Amount)
		}
		if o.answered && !sameAnswer(o.result, entry.Result()) {
			c.violate("%s: command %q was answered with %s at position %d, and recorded as %s at position %d",
				user, entry.CommandID, o.result.Status, o.result.Position, entry.Status, entry.Position)
		}
		fate := entry.Status
		if o.answered {
			fate = o.result.Status
		}
		switch {
		case fate != wallet.StatusApplied:
			c.Refused++
			continue
		case o.command.Type == wallet.TypeHold:
		case o.command.Type == wallet.TypeSubtract, o.command.Type == wallet.TypeCapture:
			total = total.Sub(o.command.Amount)
		default:
			total = total.Add(o.command.Amount)
		}
		c.Applied++
	}
	for id := range sent {
		if !recorded[id] {
			c.violate("%s: command %q was accepted, but is not recorded", user, id)
		}
	}
	if asset.Total.Cmp(total) != 0 {
		c.violate("%s: the balance is %s, what was applied makes %s", user, asset.Total, total)
	}
	return c
}

// sameAnswer compares everything in two results except Replayed, which is true if Temporal
// delivered a command twice. The hash covers the whole entry.
func sameAnswer(a, b wallet.Result) bool {
	return a.CommandID == b.CommandID && a.Status == b.Status && a.Reason == b.Reason &&
		a.Position == b.Position && a.Version == b.Version && a.Hash == b.Hash && a.RecordedAt.Equal(b.RecordedAt) &&
		a.TotalBefore.Cmp(b.TotalBefore) == 0 && a.TotalAfter.Cmp(b.TotalAfter) == 0 &&
		a.HoldBefore.Cmp(b.HoldBefore) == 0 && a.HoldAfter.Cmp(b.HoldAfter) == 0
}
