// Package model is a wallet asset made a second time, in the plainest way, as
// docs/design.md describes it: for tests to compare the real one with. It shares no
// code with the rules, and counts in whole minor units.
package model

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Command is what reaches a wallet. Content stands for all that makes one command
// differ from another beside type and amount.
type Command struct {
	ID, Type, Amount, Content string
	Malformed                 bool
}

// Answer is what a command gets.
type Answer struct {
	ID, Status, Reason string
	Before, After      string
	Version, Position  int64
	Replayed           bool
}

// Wallet is the state that the answers follow from.
type Wallet struct {
	Scale   int
	Unknown bool     // its currency is not registered
	total   *big.Int // minor units
	version int64
	// Journal has the answer of every recorded command, in order.
	Journal []Answer
	used    map[string]use
	// Recorded is how many events there are.
	Recorded int64
}

// use is of a command id.
type use struct {
	content string
	answer  Answer
}

// New is the wallet of a currency with so many decimals, before its first command.
func New(scale int) *Wallet {
	return &Wallet{Scale: scale, total: new(big.Int), used: map[string]use{}}
}

// Clone is another wallet with the same past.
func (w *Wallet) Clone() *Wallet {
	c := *w
	c.Journal, c.used = slices.Clone(w.Journal), maps.Clone(w.used)
	return &c
}

// Exists reports whether the wallet was created, by a command or by itself.
func (w *Wallet) Exists() bool { return w.version > 0 }

// Total is in major units.
func (w *Wallet) Total() string { return text(w.total, w.Scale) }

func (w *Wallet) Version() int64  { return w.version }
func (w *Wallet) Position() int64 { return int64(len(w.Journal)) }

// Ensure creates the wallet, and its event, unless it is there.
func (w *Wallet) Ensure() {
	if w.Exists() {
		return
	}
	w.open()
	w.Recorded = w.version
}

// Apply is one step of many commands. A wallet that is not there, and that the first of them
// does not create, is created by itself.
func (w *Wallet) Apply(commands []Command) (answers []Answer) {
	if !w.Exists() && (len(commands) == 0 || commands[0].Type != "create" || commands[0].Malformed) {
		w.open()
	}
	for _, c := range commands {
		answers = append(answers, w.one(c))
	}
	return answers
}

func (w *Wallet) open() {
	w.one(Command{ID: "_auto-create", Type: "create", Content: "created by the first command"})
}

// Record completes the audit trail.
func (w *Wallet) Record() { w.Recorded = w.version }

func (w *Wallet) one(c Command) Answer {
	content := strings.Join([]string{c.Type, value(c.Amount), c.Content}, "\x00")
	if earlier, taken := w.used[c.ID]; taken {
		if earlier.content == content {
			again := earlier.answer
			again.Replayed = true
			return again
		}
		return Answer{ID: c.ID, Status: "unapplied", Reason: "id_conflict", Before: w.Total(), After: w.Total()}
	}
	amount, fits := minor(c.Amount, w.Scale)
	before, reason := w.Total(), ""
	switch {
	case c.Malformed:
		reason = "malformed"
	case !fits:
		reason = "scale_exceeded"
	case c.Type == "create" && w.Exists():
		reason = "already_exists"
	case c.Type == "subtract" && amount.Cmp(w.total) > 0:
		reason = "insufficient_funds"
	case c.Type == "add":
		w.total = new(big.Int).Add(w.total, amount)
	case c.Type == "subtract":
		w.total = new(big.Int).Sub(w.total, amount)
	}
	a := Answer{ID: c.ID, Status: "applied", Reason: reason, Before: before, After: w.Total(), Position: w.Position() + 1}
	if reason != "" {
		a.Status = "unapplied"
	} else {
		w.version++
		a.Version = w.version
	}
	w.Journal = append(w.Journal, a)
	w.used[c.ID] = use{content, a}
	return a
}

// value is one text for each value: that of "1.5" and "1.50" is the same.
func value(amount string) string {
	if amount == "" {
		return "0"
	}
	r, ok := new(big.Rat).SetString(amount)
	if !ok {
		panic("no amount: " + amount)
	}
	return r.RatString()
}

// minor counts an amount in units of 10^-scale; it reports false if there is no whole
// number of them.
func minor(amount string, scale int) (*big.Int, bool) {
	if amount == "" {
		return new(big.Int), true
	}
	r, ok := new(big.Rat).SetString(amount)
	if !ok {
		panic("no amount: " + amount)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	r.Mul(r, new(big.Rat).SetInt(power))
	return new(big.Int).Set(r.Num()), r.IsInt()
}

// text writes minor units in major ones.
func text(units *big.Int, scale int) string {
	digits := fmt.Sprintf("%0*s", scale+1, units.String())
	if scale == 0 {
		return digits
	}
	return digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
