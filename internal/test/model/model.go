// Package model implements a wallet asset a second time, in the simplest way, as docs/design.md
// describes it, for tests to compare with the real one. It shares no code with the rules, and
// counts in whole minor units.
package model

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Command is a command that reaches a wallet. Content stands for everything that makes one
// command differ from another except type, amount, the hold fields, the original and the conditions.
type Command struct {
	ID, Type, Amount, Content string
	HoldID, ExpiresIn         string // ExpiresIn as Go writes durations
	ExpiresAt                 time.Time
	Partial                   bool
	OriginalID, What          string
	Threshold                 string
	Priority                  int
	ReturnExpired             bool
	NotAfter                  time.Time
	ExpectedVersion           *int64
	Malformed                 bool
}

// Answer is what a command gets.
type Answer struct {
	ID, Status, Reason    string
	Before, After         string // of the total
	HoldBefore, HoldAfter string
	// The hold that an applied command has placed or changed. Left is empty unless it is open;
	// Expires is a text of Time.
	Hold, State, Left, Expires string
	// The command that an applied reversal is of, and what it has left of it, empty if nothing.
	Original, OriginalLeft string
	// When the grant expires that an applied command made, and the list of what it did with grants.
	GrantExpires, Grants string
	// Of the wallet, after a command that is recorded: see FrozenAt.
	Frozen            string
	Closed            bool
	CreditLimit       string // empty for none
	Version, Position int64
	Replayed          bool
	// Crossed has "below low" for each threshold that was crossed, Thresholds "low 20.00" for each
	// that is set after a command that set or removed one; both by name.
	Crossed, Thresholds string
}

// Wallet is the state that determines the answers.
type Wallet struct {
	Scale   int
	Unknown bool // its currency is not registered
	// Now is when the next step is recorded. The model has no clock: take the time from the
	// journal.
	Now     time.Time
	total   *big.Int // minor units
	holds   map[string]hold
	free    pile // what can be spent
	taken   pile // from the total, by the command that is applied
	grants  map[int64]grant
	version int64
	// Closed and freezes, since the last unfreeze, are what it refuses.
	Closed  bool
	freezes []freeze
	// thresholds are amounts in minor units, by name.
	thresholds map[string]*big.Int
	limit      *big.Int // of credit; nil for none
	// Journal contains the answer of every recorded command, in order.
	Journal []Answer
	used    map[string]use
	// Recorded is how many events there are.
	Recorded int64
}

// use is the record of a used command id.
type use struct {
	content        string
	answer         Answer
	kind, original string
	change         *big.Int // of the total
	coins          pile     // that it took
}

// New returns a wallet in a currency with that many decimals, before its first command.
func New(scale int) *Wallet {
	return &Wallet{Scale: scale, total: new(big.Int), holds: map[string]hold{}, grants: map[int64]grant{}, used: map[string]use{}, thresholds: map[string]*big.Int{}}
}

// Clone returns another wallet with the same history.
func (w *Wallet) Clone() *Wallet {
	c := *w
	c.Journal, c.used, c.holds = slices.Clone(w.Journal), maps.Clone(w.used), maps.Clone(w.holds)
	c.thresholds, c.grants, c.freezes = maps.Clone(w.thresholds), maps.Clone(w.grants), slices.Clone(w.freezes)
	return &c
}

// Exists reports whether the wallet was created, by a command or by itself.
func (w *Wallet) Exists() bool { return w.version > 0 }

// Total returns the total in major units.
func (w *Wallet) Total() string { return text(w.total, w.Scale) }

func (w *Wallet) Version() int64  { return w.version }
func (w *Wallet) Position() int64 { return int64(len(w.Journal)) }

// Ensure creates the wallet and its event if it does not exist. Holds that are due expire.
func (w *Wallet) Ensure() {
	if w.Exists() {
		w.expire()
		return
	}
	w.open()
	w.Recorded = w.version
}

// Apply is one step with many commands. It creates a wallet that does not exist, unless the
// first command does, which takes a create that nothing speaks against. Then holds that are due
// expire.
func (w *Wallet) Apply(commands []Command) (answers []Answer) {
	if !w.Exists() && (len(commands) == 0 || commands[0].Type != "create" || commands[0].Malformed || w.isLate(commands[0]) || w.isOther(commands[0])) {
		w.open()
	}
	w.expire()
	for _, c := range commands {
		answers = append(answers, w.one(c))
		w.expire() // a grant whose time was over, once it is given back
	}
	return answers
}

func (w *Wallet) open() {
	w.one(Command{ID: "_auto-create", Type: "create", Content: "created by the first command"})
}

// Record completes the audit trail.
func (w *Wallet) Record() { w.Recorded = w.version }

func (w *Wallet) one(c Command) Answer {
	content := c.content()
	held, total, available := w.Held(), w.total, w.available()
	if earlier, taken := w.used[c.ID]; taken {
		if earlier.content == content {
			again := earlier.answer
			again.Replayed = true
			return again
		}
		return Answer{ID: c.ID, Status: "unapplied", Reason: "id_conflict", Before: w.Total(), After: w.Total(), HoldBefore: held, HoldAfter: held, Frozen: w.FrozenAt(w.Now), Closed: w.Closed, CreditLimit: w.CreditLimit()}
	}
	w.taken = nil
	a := Answer{ID: c.ID, Status: "applied", Before: w.Total(), HoldBefore: held, Position: w.Position() + 1}
	if a.Reason = w.change(c, &a); a.Reason == "" {
		w.version++
		a.Version = w.version
		a.Crossed = w.crossed(available)
		if c.Threshold != "" {
			a.Thresholds = w.Thresholds()
		}
	} else {
		a.Status = "unapplied"
	}
	a.After, a.HoldAfter, a.Frozen, a.Closed = w.Total(), w.Held(), w.FrozenAt(w.Now), w.Closed
	a.CreditLimit = w.CreditLimit()
	w.Journal = append(w.Journal, a)
	w.used[c.ID] = use{content, a, c.Type, c.OriginalID, new(big.Int).Sub(w.total, total), w.taken}
	return a
}

// change applies a command, or returns the reason for a refusal.
func (w *Wallet) change(c Command, a *Answer) (reason string) {
	amount, fits := minor(c.Amount, w.Scale)
	switch {
	case c.Malformed:
		return "malformed"
	case w.isLate(c):
		return "too_late"
	case !fits:
		return "scale_exceeded"
	case w.isOther(c):
		return "version_mismatch"
	case w.Closed && c.Type == "create":
		w.Closed = false
	case w.Closed:
		return "closed"
	case w.refuses("debits") && (c.Type == "subtract" || c.Type == "hold"):
		return "frozen"
	case w.refuses("credits") && c.Type == "add":
		return "frozen"
	case c.Type == "freeze" && (freeze{c.What, c.expires(w.Now)}).isOver(w.Now):
		return "freeze_expired"
	case c.Type == "freeze":
		w.freezes = append(w.freezes, freeze{c.What, c.expires(w.Now)})
	case c.Type == "unfreeze":
		w.freezes = nil
	case c.Type == "close" && (w.total.Sign() != 0 || w.held().Sign() != 0 || len(w.free) > 0):
		return "not_empty"
	case c.Type == "close":
		w.Closed, w.limit = true, nil
	case c.Type == "set_credit_limit" && new(big.Int).Add(w.free.of(0), amount).Sign() < 0:
		return "credit_limit_exceeded"
	case c.Type == "set_credit_limit":
		if w.limit = amount; amount.Sign() == 0 {
			w.limit = nil
		}
	case c.Type == "set_threshold" && w.thresholds[c.Threshold] == nil && len(w.thresholds) == mostThresholds:
		return "too_many_thresholds"
	case c.Type == "set_threshold":
		w.thresholds[c.Threshold] = amount
	case c.Type == "remove_threshold" && w.thresholds[c.Threshold] == nil:
		return "threshold_not_found"
	case c.Type == "remove_threshold":
		delete(w.thresholds, c.Threshold)
	case c.Type == "create" && w.Exists():
		return "already_exists"
	case c.Type == "subtract" && amount.Cmp(w.available()) > 0:
		return "insufficient_funds"
	case c.Type == "add":
		return w.add(c, amount, a)
	case c.Type == "expire_grant":
		w.expireGrant(w.dueGrant(), a)
	case c.Type == "subtract":
		w.total, w.taken = new(big.Int).Sub(w.total, amount), w.spend(amount, a)
	case c.Type == "reverse":
		change, left, reason := w.reverse(c, amount, a)
		if reason != "" {
			return reason
		}
		w.total, a.Original = new(big.Int).Add(w.total, change), c.OriginalID
		if left.Sign() > 0 {
			a.OriginalLeft = text(left, w.Scale)
		}
	case c.hold() != "":
		h, taken, reason := w.onHold(c, amount, a)
		if reason != "" {
			return reason
		}
		h.updated, h.position = w.Now, w.Position()+1
		w.total = new(big.Int).Sub(w.total, taken)
		w.holds[c.hold()] = h
		a.Hold, a.State, a.Expires = c.hold(), h.state, Time(h.expires)
		if h.state == "open" {
			a.Left = text(h.left(), w.Scale)
		}
	case c.Type != "create":
		panic("the model has no rule for the type " + c.Type)
	}
	return ""
}

// CreditLimit returns the limit in major units, empty for none.
func (w *Wallet) CreditLimit() string {
	if w.limit == nil {
		return ""
	}
	return text(w.limit, w.Scale)
}

func (w *Wallet) isLate(c Command) bool { return !c.NotAfter.IsZero() && c.NotAfter.Before(w.Now) }

// isOther reports whether a command is for another version.
func (w *Wallet) isOther(c Command) bool {
	return c.ExpectedVersion != nil && *c.ExpectedVersion != w.version
}

// content is what tells a retry from a reused id.
func (c Command) content() string {
	version := "any"
	if c.ExpectedVersion != nil {
		version = fmt.Sprint(*c.ExpectedVersion)
	}
	return strings.Join([]string{c.Type, value(c.Amount), c.HoldID, c.ExpiresIn, Time(c.ExpiresAt), fmt.Sprint(c.Partial), c.OriginalID, c.What, fmt.Sprint(c.Priority, c.ReturnExpired), c.Threshold, Time(c.NotAfter), version, c.Content}, "\x00")
}

// value returns one canonical text for each value: the same for "1.5" and "1.50".
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

// minor converts an amount to units of 10^-scale; it reports false if the result is not a whole
// number.
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

// text converts minor units to a text in major units.
func text(units *big.Int, scale int) string {
	if units.Sign() < 0 {
		return "-" + text(new(big.Int).Neg(units), scale)
	}
	digits := fmt.Sprintf("%0*s", scale+1, units.String())
	if scale == 0 {
		return digits
	}
	return digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
