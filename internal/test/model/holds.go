package model

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// mostOpen is how many holds a wallet can have open.
const mostOpen = 1000

// hold is a reserved part of the total. Amounts are in minor units and never changed in place.
type hold struct {
	state                      string
	amount, captured, released *big.Int
	expires                    time.Time // zero for never
	placed, updated            time.Time
	position                   int64
	pile                       pile // what it still reserves
}

func (h hold) left() *big.Int {
	left := new(big.Int).Sub(h.amount, h.captured)
	return left.Sub(left, h.released)
}

func (h hold) isDue(now time.Time) bool {
	return h.state == "open" && !h.expires.IsZero() && !h.expires.After(now)
}

// ended returns the hold in a final state: what is left is released.
func (h hold) ended(state string) hold {
	h.released = new(big.Int).Sub(h.amount, h.captured)
	h.state = state
	return h
}

// Hold is a hold as its row must be.
type Hold struct {
	State, Amount, Captured, Released string
	Grants                            string // that it still reserves
	Expires, Placed, Updated          string // times as Time writes them
	Position                          int64
}

// Holds returns all holds ever placed, by id.
func (w *Wallet) Holds() map[string]Hold {
	holds := map[string]Hold{}
	for id, h := range w.holds {
		holds[id] = Hold{h.state, text(h.amount, w.Scale), text(h.captured, w.Scale), text(h.released, w.Scale), h.pile.text(w.Scale),
			Time(h.expires), Time(h.placed), Time(h.updated), h.position}
	}
	return holds
}

// Time returns one canonical text for each time, empty for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Held returns what is reserved, in major units.
func (w *Wallet) Held() string { return text(w.held(), w.Scale) }

// Open returns how many holds are open.
func (w *Wallet) Open() (n int64) {
	for _, h := range w.holds {
		if h.state == "open" {
			n++
		}
	}
	return n
}

// NextExpiry returns when the next open hold expires; zero if none does.
func (w *Wallet) NextExpiry() (next time.Time) {
	for _, h := range w.holds {
		if h.state == "open" && !h.expires.IsZero() && (next.IsZero() || h.expires.Before(next)) {
			next = h.expires
		}
	}
	return next
}

func (w *Wallet) held() *big.Int {
	sum := new(big.Int)
	for _, h := range w.holds {
		if h.state == "open" {
			sum.Add(sum, h.left())
		}
	}
	return sum
}

func (w *Wallet) available() *big.Int {
	available := new(big.Int).Sub(w.total, w.held())
	if w.limit != nil {
		available.Add(available, w.limit)
	}
	return available
}

// expire records the expiry of each hold and grant that is due, the earliest first.
func (w *Wallet) expire() {
	for {
		first := ""
		for id, h := range w.holds {
			if h.isDue(w.Now) && (first == "" || cmp.Or(h.expires.Compare(w.holds[first].expires), strings.Compare(id, first)) < 0) {
				first = id
			}
		}
		switch number := w.dueGrant(); {
		case first == "" && number == 0:
			return
		case number == 0 || first != "" && !w.holds[first].expires.After(w.grants[number].expires):
			w.one(Command{ID: "_expire/" + first, Type: "expire", HoldID: first})
		default:
			g := w.grants[number]
			w.one(Command{ID: fmt.Sprintf("_expire_grant/%d/%d", number, g.expiries+1), Type: "expire_grant", Amount: text(w.free.of(number), w.Scale)})
		}
	}
}

// onHold returns the command's hold after the command, and what it takes from the total, or a
// reason for a refusal.
func (w *Wallet) onHold(c Command, amount *big.Int, a *Answer) (after hold, taken *big.Int, reason string) {
	taken = new(big.Int)
	h, known := w.holds[c.HoldID]
	if c.Type == "expire" {
		a.Grants = h.pile.text(w.Scale)
		w.giveBack(h.pile)
		h.pile = nil
		return h.ended("expired"), taken, ""
	}
	if c.Type == "hold" && c.HoldID == "" {
		if h, reason = w.placed(c, amount); reason == "" {
			h.pile = w.spend(amount, a)
		}
		return h, taken, reason
	}
	switch {
	case !known:
		return h, taken, "hold_not_found"
	case h.state == "expired":
		return h, taken, "hold_expired"
	case h.state != "open":
		return h, taken, "hold_closed"
	case c.Type == "hold":
		if h, reason = w.raised(h, c, amount); reason == "" {
			h.pile = append(slices.Clone(h.pile), w.spend(amount, a)...).joined()
		}
		return h, taken, reason
	}
	if c.Amount == "" {
		amount = h.left()
	}
	if amount.Cmp(h.left()) > 0 {
		return h, taken, "hold_exceeded"
	}
	if c.Type == "capture" {
		h.captured = new(big.Int).Add(h.captured, amount)
		w.taken, h.pile = h.pile.split(amount)
		a.Grants = w.taken.text(w.Scale)
		w.touch(w.taken)
		if !c.Partial || h.left().Sign() == 0 {
			w.giveBack(h.pile)
			h.pile = nil
			h = h.ended("captured")
		}
		return h, amount, ""
	}
	h.released = new(big.Int).Add(h.released, amount)
	var back pile
	h.pile, back = h.pile.splitBack(amount)
	a.Grants = back.text(w.Scale)
	w.giveBack(back)
	if h.left().Sign() == 0 {
		h.state = "released"
	}
	return h, taken, ""
}

func (w *Wallet) placed(c Command, amount *big.Int) (hold, string) {
	h := hold{state: "open", amount: amount, captured: new(big.Int), released: new(big.Int), expires: c.expires(w.Now), placed: w.Now}
	switch {
	case h.isDue(w.Now):
		return h, "hold_expired"
	case amount.Cmp(w.available()) > 0:
		return h, "insufficient_funds"
	case w.Open() == mostOpen:
		return h, "too_many_holds"
	}
	return h, ""
}

func (w *Wallet) raised(h hold, c Command, amount *big.Int) (hold, string) {
	if expires := c.expires(w.Now); !expires.IsZero() {
		if h.expires.IsZero() || !expires.After(h.expires) {
			return h, "expiry_not_later"
		}
		h.expires = expires
	}
	if amount.Cmp(w.available()) > 0 {
		return h, "insufficient_funds"
	}
	h.amount = new(big.Int).Add(h.amount, amount)
	return h, ""
}

// expires returns when a command's hold expires, or its freeze ends; zero if the command does not say.
func (c Command) expires(now time.Time) time.Time {
	if c.ExpiresIn == "" {
		return c.ExpiresAt
	}
	d, err := time.ParseDuration(c.ExpiresIn)
	if err != nil {
		panic(fmt.Sprintf("the model reads Go's durations only: %v", err))
	}
	return now.Add(d)
}

// hold names the hold that a command concerns; empty if it concerns none.
func (c Command) hold() string {
	switch {
	case c.Type == "hold" && c.HoldID == "":
		return c.ID
	case c.Type == "hold" || c.Type == "capture" || c.Type == "release" || c.Type == "expire":
		return c.HoldID
	}
	return ""
}
