package wallet

import (
	"slices"
	"strings"
	"time"
)

// Frozen is what a wallet asset does not do until it is unfrozen; empty if it is not frozen.
type Frozen string

// What can be frozen.
const (
	FrozenDebits  Frozen = "debits"  // nothing is taken or reserved, but what is reserved already may be captured
	FrozenCredits Frozen = "credits" // nothing is added
	FrozenAll     Frozen = "all"     // both
)

// freezable are the values of a freeze's what.
var freezable = []string{string(FrozenDebits), string(FrozenCredits), string(FrozenAll)}

// and freezes more: a second freeze takes nothing of the first back.
func (f Frozen) and(other Frozen) Frozen {
	if f == "" || f == other {
		return other
	}
	return FrozenAll
}

// stops refuses a change in one direction.
func (f Frozen) stops(direction Frozen) *Refusal {
	if f != direction && f != FrozenAll {
		return nil
	}
	return refuse(ReasonFrozen, "the wallet's %s are frozen: unfreeze it first, and send this again under a new id", f.text())
}

func (f Frozen) text() string {
	if f == FrozenAll {
		return "debits and credits"
	}
	return string(f)
}

// stopped refuses a command of a type that the wallet asset is closed or frozen for. A capture
// goes through: its hold was placed before the freeze. So do release and expiry.
func (a Asset) stopped(kind Kind) *Refusal {
	if a.Closed && kind.Type != TypeCreate && !kind.Service {
		return refuse(ReasonClosed, "the wallet is closed: open it again with a create, and send this again under a new id")
	}
	if kind.direction == "" {
		return nil
	}
	return a.Frozen.stops(kind.direction)
}

func freeze(a Account, c Command, _ time.Time) (Account, *Refusal) {
	a.Frozen = a.Frozen.and(Frozen(c.What))
	return a, nil
}

func unfreeze(a Account, _ Command, _ time.Time) (Account, *Refusal) {
	a.Frozen = ""
	return a, nil
}

// closeAsset closes a wallet asset with nothing in it. It stays frozen if it is: a create must not
// undo a freeze. Its credit limit ends: a create must not grant one.
func closeAsset(a Account, _ Command, _ time.Time) (Account, *Refusal) {
	if !a.Total.IsZero() || !a.Hold.IsZero() || !a.Granted.IsZero() { // a total of 0 may be grants and as much debt
		return a, refuse(ReasonNotEmpty, "the wallet has total %s and hold %s%s: it is closed when all are 0", a.Total, a.Hold, a.grantedText())
	}
	a.Closed, a.CreditLimit = true, Amount{}
	return a, nil
}

func (c *Command) validateWhat() error {
	if c.What == "" || slices.Contains(freezable, c.What) {
		return nil
	}
	return invalid("what", c.What, "what %s is unknown: send one of %s", quote(c.What), strings.Join(freezable, ", "))
}
