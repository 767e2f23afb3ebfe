package torture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// Violation is a broken promise.
type Violation struct {
	Wallet  string    `json:"wallet,omitempty"`
	At      time.Time `json:"at,omitzero"` // of the entry or the call, if known
	Problem string    `json:"problem"`
	Around  []string  `json:"around,omitempty"` // the history around it
}

func (v Violation) String() string {
	text := v.Problem
	if v.Wallet != "" {
		text = v.Wallet + ": " + text
	}
	if !v.At.IsZero() {
		text = v.At.Format(time.TimeOnly+".000") + " " + text
	}
	return strings.Join(append([]string{text}, v.Around...), "\n    ")
}

// byTime sorts the earliest first, because later ones may follow from it. Those without a time
// come last.
func byTime(a, b Violation) int {
	if a.At.IsZero() != b.At.IsZero() {
		return b.At.Compare(a.At)
	}
	return a.At.Compare(b.At)
}

// record is what is recorded of one wallet after a run.
type record struct {
	journal []wallet.Entry
	events  []trail.Event
	asset   *wallet.Asset // nil if there is none
	holds   []wallet.Hold // rows of wallet_holds
	grants  []wallet.Grant
	// healed is since when nothing hurts the servers any more, by their own clock, and read
	// when this was read.
	healed, read time.Time
}

// walletCheck compares the outcomes that callers of one wallet saw with what is recorded.
type walletCheck struct {
	start    time.Time // of the attempts' clock
	wallet   Wallet
	attempts []attempt // in the order of their calls
	record   record

	entries    map[string]wallet.Entry // by command id
	byID       map[string][]attempt
	violations []Violation
}

func newWalletCheck(start time.Time, w Wallet, attempts []attempt, r record) *walletCheck {
	c := &walletCheck{start: start, wallet: w, attempts: slices.Clone(attempts), record: r, entries: map[string]wallet.Entry{}, byID: map[string][]attempt{}}
	slices.SortStableFunc(c.attempts, func(a, b attempt) int { return cmp.Compare(a.called, b.called) })
	for _, a := range c.attempts {
		c.byID[a.command.ID] = append(c.byID[a.command.ID], a)
	}
	return c
}

// check finds all broken promises to the wallet's callers.
func (c *walletCheck) check() []Violation {
	for _, e := range c.record.journal {
		if first, twice := c.entries[e.CommandID]; twice {
			c.violate(e.Position, []string{e.CommandID}, "command %q is recorded at position %d and at %d", e.CommandID, first.Position, e.Position)
			continue
		}
		c.entries[e.CommandID] = e
	}
	c.checkJournal()
	c.checkEvents()
	c.checkOrigins()
	c.checkAnswers()
	c.checkErrors()
	c.checkOrder()
	if len(c.violations) == 0 { // otherwise it would only repeat the same with less detail
		c.checkLinearizable()
	}
	return c.violations
}

// name is the wallet's name in a message.
func (c *walletCheck) name() string {
	return fmt.Sprintf("%s of %s (%s)", c.wallet.Currency, c.wallet.UserID, c.wallet.Handling)
}

const (
	entriesAround  = 4 // on each side of a violation
	attemptsAround = 12
)

// violate records a violation at a position of the journal, or, if that is 0, at the first call
// of the commands concerned.
func (c *walletCheck) violate(position int64, ids []string, format string, args ...any) {
	c.violateAt(c.timeOf(position, ids), position, ids, format, args...)
}

// violateBy records a violation by the outcome that one caller saw.
func (c *walletCheck) violateBy(a attempt, format string, args ...any) {
	id := a.command.ID
	c.violateAt(c.timeOfCall(a), c.entries[id].Position, []string{id}, format, args...)
}

// violateAt adds the entries around the position, or around the time if there is no position,
// and the attempts around the time: those of the given commands, or, if there are none, those
// of the entries.
func (c *walletCheck) violateAt(at time.Time, position int64, ids []string, format string, args ...any) {
	v := Violation{Wallet: c.name(), At: at, Problem: fmt.Sprintf(format, args...)}
	if position == 0 {
		position = c.lastPosition(func(e wallet.Entry) bool { return !e.RecordedAt.After(at) })
	}
	var near []string
	for _, e := range c.record.journal {
		if position > 0 && e.Position >= position-entriesAround && e.Position <= position+entriesAround {
			near = append(near, e.CommandID)
			v.Around = append(v.Around, fmt.Sprintf("journal  %8.3f  %s %s by %q%s: %s", e.RecordedAt.Sub(c.start).Seconds(), e.Type, e.Amount, e.CommandID, ofHold(e.Command()), describe(e.Result())))
		}
	}
	if len(ids) == 0 {
		ids = near
	}
	for _, a := range c.attemptsAround(at, ids) {
		v.Around = append(v.Around, "caller   "+a.String())
	}
	c.violations = append(c.violations, v)
}

// attemptsAround returns the commands' last attempts before the time, and the next ones after
// it.
func (c *walletCheck) attemptsAround(at time.Time, ids []string) []attempt {
	all := slices.DeleteFunc(slices.Clone(c.attempts), func(a attempt) bool { return !slices.Contains(ids, a.command.ID) })
	before, _ := slices.BinarySearchFunc(all, at, func(a attempt, at time.Time) int {
		if c.timeOfCall(a).After(at) {
			return 1
		}
		return -1
	})
	first := max(0, min(before-attemptsAround/2, len(all)-attemptsAround))
	return all[first:min(len(all), first+attemptsAround)]
}

func (c *walletCheck) timeOfCall(a attempt) time.Time { return c.start.Add(a.called) }

// timeOf is when the entry was recorded, or the last entry before a missing one; otherwise when
// the commands were first called.
func (c *walletCheck) timeOf(position int64, ids []string) (at time.Time) {
	last := c.lastPosition(func(e wallet.Entry) bool { return e.Position <= position })
	for _, e := range c.record.journal {
		if e.Position == last {
			return e.RecordedAt
		}
	}
	for _, a := range c.attempts {
		if slices.Contains(ids, a.command.ID) {
			return c.timeOfCall(a)
		}
	}
	return at
}

// lastPosition is the position of the last entry for which holds is true; 0 if there is none.
func (c *walletCheck) lastPosition(holds func(wallet.Entry) bool) (position int64) {
	for _, e := range c.record.journal {
		if holds(e) {
			position = max(position, e.Position)
		}
	}
	return position
}
