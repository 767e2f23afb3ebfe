package wallet

import (
	"slices"
	"strings"
	"time"
)

// Frozen says which changes a wallet asset refuses; empty if it is not frozen.
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

// stops reports whether nothing may change in one direction.
func (f Frozen) stops(direction Frozen) bool { return f == direction || f == FrozenAll }

func (f Frozen) text() string {
	if f == FrozenAll {
		return "debits and credits"
	}
	return string(f)
}

// FreezeEnds is when freezes end by themselves, in UTC. Zero: that direction is not frozen, or has no
// end.
type FreezeEnds struct {
	DebitsFrozenUntil  time.Time `json:"debits_frozen_until,omitzero"`
	CreditsFrozenUntil time.Time `json:"credits_frozen_until,omitzero"`
}

// FrozenText says what is frozen, and until when: "debits until 2026-01-31T12:00:00Z, credits". show
// writes a time.
func FrozenText(f Frozen, e FreezeEnds, show func(time.Time) string) string {
	if e == (FreezeEnds{}) {
		return string(f)
	}
	var parts []string
	for _, direction := range []Frozen{FrozenDebits, FrozenCredits} {
		switch until := e.until(direction); {
		case !f.stops(direction):
		case until.IsZero():
			parts = append(parts, string(direction))
		default:
			parts = append(parts, string(direction)+" until "+show(until))
		}
	}
	return strings.Join(parts, ", ")
}

func (e FreezeEnds) until(direction Frozen) time.Time {
	if direction == FrozenDebits {
		return e.DebitsFrozenUntil
	}
	return e.CreditsFrozenUntil
}

// Thawed returns the asset without the freezes that have ended by now; one ends at its very time. No
// entry records the end: the next entry shows what is still frozen.
func (a Asset) Thawed(now time.Time) Asset {
	if !hasEnded(a.DebitsFrozenUntil, now) && !hasEnded(a.CreditsFrozenUntil, now) { // nearly always
		return a
	}
	before, ends := a.Frozen, a.FreezeEnds
	a.Frozen, a.FreezeEnds = "", FreezeEnds{}
	if before.stops(FrozenDebits) && !hasEnded(ends.DebitsFrozenUntil, now) {
		a.Frozen, a.DebitsFrozenUntil = FrozenDebits, ends.DebitsFrozenUntil
	}
	if before.stops(FrozenCredits) && !hasEnded(ends.CreditsFrozenUntil, now) {
		a.Frozen, a.CreditsFrozenUntil = a.Frozen.and(FrozenCredits), ends.CreditsFrozenUntil
	}
	return a
}

// NextThaw is when the next freeze ends; zero if none does.
func (a Asset) NextThaw() time.Time {
	if d := a.DebitsFrozenUntil; !d.IsZero() && (a.CreditsFrozenUntil.IsZero() || d.Before(a.CreditsFrozenUntil)) {
		return d
	}
	return a.CreditsFrozenUntil
}

func hasEnded(freeze, now time.Time) bool { return !freeze.IsZero() && !now.Before(freeze) }

// refusesFrozen refuses a change in one direction.
func (a Asset) refusesFrozen(direction Frozen) *Refusal {
	if !a.Frozen.stops(direction) {
		return nil
	}
	if until := a.until(direction); !until.IsZero() {
		return refuse(ReasonFrozen, "the wallet's %s are frozen until %s: unfreeze it, or wait until then, and send this again under a new id", direction, timeText(until))
	}
	return refuse(ReasonFrozen, "the wallet's %s are frozen: unfreeze it first, and send this again under a new id", a.Frozen.text())
}

// stopped refuses what the wallet's state forbids: it is closed, or frozen in the command's direction.
func (a Asset) stopped(kind Kind) *Refusal {
	if a.Closed && kind.Type != TypeCreate && !kind.Service {
		return refuse(ReasonClosed, "the wallet is closed: open it again with a create, and send this again under a new id")
	}
	if kind.direction == "" {
		return nil
	}
	return a.refusesFrozen(kind.direction)
}

func freeze(a Account, c Command, now time.Time) (Account, *Refusal) {
	until, refused := c.expiry(now)
	if refused != nil {
		return a, refused
	}
	if hasEnded(until, now) {
		return a, refuse(ReasonFreezeExpired, "the freeze would have ended already, at %s: send a later time under a new id", timeText(until))
	}
	what, before := Frozen(c.What), a.Frozen
	a.Frozen = before.and(what)
	if what.stops(FrozenDebits) {
		a.DebitsFrozenUntil = longer(before.stops(FrozenDebits), a.DebitsFrozenUntil, until)
	}
	if what.stops(FrozenCredits) {
		a.CreditsFrozenUntil = longer(before.stops(FrozenCredits), a.CreditsFrozenUntil, until)
	}
	return a, nil
}

// longer returns the later of two ends. before counts only if frozen; the zero time means no end.
func longer(frozen bool, before, until time.Time) time.Time {
	if frozen && (before.IsZero() || !until.IsZero() && before.After(until)) {
		return before
	}
	return until
}

func unfreeze(a Account, _ Command, _ time.Time) (Account, *Refusal) {
	a.Frozen, a.FreezeEnds = "", FreezeEnds{}
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
