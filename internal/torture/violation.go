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

// Violation is a promise that was not kept.
type Violation struct {
	Wallet  string   `json:"wallet,omitempty"`
	Problem string   `json:"problem"`
	Around  []string `json:"around,omitempty"` // the history around it
}

func (v Violation) String() string {
	text := v.Problem
	if v.Wallet != "" {
		text = v.Wallet + ": " + text
	}
	return strings.Join(append([]string{text}, v.Around...), "\n    ")
}

// record is what is written down of one wallet after a run.
type record struct {
	journal []wallet.Entry
	events  []trail.Event
	asset   *wallet.Asset // nil if there is none
}

// walletCheck compares what callers of one wallet were told with what is written down.
type walletCheck struct {
	wallet   Wallet
	attempts []attempt
	record   record

	entries    map[string]wallet.Entry // by command id
	byID       map[string][]attempt
	violations []Violation
}

// checkWallet finds all promises to the callers of a wallet that were not kept.
func checkWallet(w Wallet, attempts []attempt, r record) []Violation {
	c := &walletCheck{wallet: w, attempts: attempts, record: r, entries: map[string]wallet.Entry{}, byID: map[string][]attempt{}}
	for _, e := range r.journal {
		if first, twice := c.entries[e.CommandID]; twice {
			c.violate(e.Position, []string{e.CommandID}, "command %q is recorded at position %d and at %d", e.CommandID, first.Position, e.Position)
			continue
		}
		c.entries[e.CommandID] = e
	}
	for _, a := range attempts {
		c.byID[a.command.ID] = append(c.byID[a.command.ID], a)
	}
	c.checkJournal()
	c.checkEvents()
	c.checkOrigins()
	c.checkAnswers()
	c.checkErrors()
	c.checkOrder()
	if len(c.violations) == 0 { // else it only says the same in fewer words
		c.checkLinearizable()
	}
	return c.violations
}

// name is of the wallet in a message.
func (c *walletCheck) name() string {
	return fmt.Sprintf("%s of %s (%s)", c.wallet.Currency, c.wallet.UserID, c.wallet.Handling)
}

const (
	entriesAround  = 4 // on each side of a violation
	attemptsAround = 12
)

// violate notes a violation at a position of the journal (0 where it has none), with
// the attempts of the commands that it is about.
func (c *walletCheck) violate(position int64, ids []string, format string, args ...any) {
	v := Violation{Wallet: c.name(), Problem: fmt.Sprintf(format, args...)}
	for _, e := range c.record.journal {
		if position > 0 && e.Position >= position-entriesAround && e.Position <= position+entriesAround {
			v.Around = append(v.Around, fmt.Sprintf("journal  %s %s %s by %q: %s", e.RecordedAt.Format(time.TimeOnly+".000000"), e.Type, e.Amount, e.CommandID, describe(e.Result())))
		}
	}
	var attempts []attempt
	for _, a := range c.attempts {
		if slices.Contains(ids, a.command.ID) {
			attempts = append(attempts, a)
		}
	}
	slices.SortFunc(attempts, func(a, b attempt) int { return cmp.Compare(a.called, b.called) })
	for _, a := range attempts[:min(len(attempts), attemptsAround)] {
		v.Around = append(v.Around, "caller   "+a.String())
	}
	c.violations = append(c.violations, v)
}
