package model

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// defaultPriority is that of a grant without one.
const defaultPriority = 50

// coin is an amount, in minor units, of a grant; of grant 0 if it is not granted, below 0 if that much is
// owed. Coins are never changed in place.
type coin struct {
	grant  int64
	amount *big.Int
}

// pile is what can be spent, what a hold reserves, or what a command took: coins in the order in which
// they are taken.
type pile []coin

func (p pile) sum() *big.Int {
	sum := new(big.Int)
	for _, c := range p {
		sum.Add(sum, c.amount)
	}
	return sum
}

// split takes an amount from the front, which has that much.
func (p pile) split(amount *big.Int) (front, rest pile) {
	left := new(big.Int).Set(amount)
	for _, c := range p {
		n := c.amount
		if n.Cmp(left) > 0 {
			n = new(big.Int).Set(left)
		}
		if n.Sign() < 0 { // what is owed pays nothing
			n = new(big.Int)
		}
		left.Sub(left, n)
		if n.Sign() > 0 {
			front = append(front, coin{c.grant, n})
		}
		if over := new(big.Int).Sub(c.amount, n); over.Sign() != 0 {
			rest = append(rest, coin{c.grant, over})
		}
	}
	return front, rest
}

// splitBack takes an amount from the back.
func (p pile) splitBack(amount *big.Int) (rest, back pile) {
	return p.split(new(big.Int).Sub(p.sum(), amount))
}

// joined has the coins of each grant together, where the first of them is. What is not granted comes last.
func (p pile) joined() (all pile) {
	for _, c := range p {
		if i := slices.IndexFunc(all, func(of coin) bool { return of.grant == c.grant }); i >= 0 {
			all[i].amount = new(big.Int).Add(all[i].amount, c.amount)
		} else {
			all = append(all, c)
		}
	}
	// What is granted first.
	slices.SortStableFunc(all, func(a, b coin) int { return cmp.Compare(min(b.grant, 1), min(a.grant, 1)) })
	return all
}

func (p pile) of(grant int64) *big.Int {
	sum := new(big.Int)
	for _, c := range p {
		if c.grant == grant {
			sum.Add(sum, c.amount)
		}
	}
	return sum
}

// text is the list of what is granted.
func (p pile) text(scale int) string {
	var parts []string
	for _, c := range p {
		if c.grant != 0 {
			parts = append(parts, fmt.Sprintf("%d:%s", c.grant, text(c.amount, scale)))
		}
	}
	return strings.Join(parts, ",")
}

// grant is what an add with an expiry or a priority has made. What is left of it is in the pile of
// what can be spent, and what is held in the piles of the holds.
type grant struct {
	id                      string
	priority                int
	amount, expired         *big.Int
	expires, added, updated time.Time
	position                int64
	expiries                int
}

func (g grant) isPast(now time.Time) bool { return !g.expires.IsZero() && !g.expires.After(now) }

// Grant is a grant as its row must be.
type Grant struct {
	ID, State                         string
	Priority                          int
	Amount, Left, Held, Used, Expired string
	Expires, Added, Updated           string // times as Time writes them
	Position                          int64
	Expiries                          int
}

// Grants returns all grants ever made, by number.
func (w *Wallet) Grants() map[int64]Grant {
	grants := map[int64]Grant{}
	for n, g := range w.grants {
		left, held := w.free.of(n), w.heldOf(n)
		used := new(big.Int).Sub(g.amount, left)
		used.Sub(used, held).Sub(used, g.expired)
		state := "used"
		switch {
		case left.Sign() > 0:
			state = "open"
		case held.Sign() > 0:
			state = "held"
		case g.expired.Sign() > 0:
			state = "expired"
		}
		grants[n] = Grant{g.id, state, g.priority, text(g.amount, w.Scale), text(left, w.Scale), text(held, w.Scale), text(used, w.Scale), text(g.expired, w.Scale),
			Time(g.expires), Time(g.added), Time(g.updated), g.position, g.expiries}
	}
	return grants
}

func (w *Wallet) heldOf(n int64) *big.Int {
	sum := new(big.Int)
	for _, h := range w.holds {
		sum.Add(sum, h.pile.of(n))
	}
	return sum
}

// OpenGrants returns how many grants have something left, reserved or not.
func (w *Wallet) OpenGrants() (n int64) {
	for number := range w.grants {
		if w.free.of(number).Sign() > 0 || w.heldOf(number).Sign() > 0 {
			n++
		}
	}
	return n
}

// Granted returns what can be spent of grants.
func (w *Wallet) Granted() string {
	return text(new(big.Int).Sub(w.free.sum(), w.free.of(0)), w.Scale)
}

// NextGrantExpiry returns when something of a grant expires next; zero if nothing does.
func (w *Wallet) NextGrantExpiry() (next time.Time) {
	for n, g := range w.grants {
		if w.free.of(n).Sign() > 0 && !g.expires.IsZero() && (next.IsZero() || g.expires.Before(next)) {
			next = g.expires
		}
	}
	return next
}

// dueGrant finds the grant that must expire next; 0 if none is due.
func (w *Wallet) dueGrant() (first int64) {
	for n, g := range w.grants {
		if w.free.of(n).Sign() > 0 && g.isPast(w.Now) && (first == 0 || cmp.Or(g.expires.Compare(w.grants[first].expires), cmp.Compare(n, first)) < 0) {
			first = n
		}
	}
	return first
}

func (w *Wallet) makesGrant(c Command) bool {
	return c.Type == "add" && (c.Priority != 0 || c.ExpiresIn != "" || !c.ExpiresAt.IsZero())
}

// add adds an amount, or returns a reason for a refusal.
func (w *Wallet) add(c Command, amount *big.Int, a *Answer) string {
	number := int64(0)
	if w.makesGrant(c) {
		number = w.Position() + 1
		g := grant{id: c.ID, priority: cmp.Or(c.Priority, defaultPriority), amount: amount, expired: new(big.Int), expires: c.expires(w.Now), added: w.Now}
		switch {
		case g.isPast(w.Now):
			return "grant_expired"
		case w.OpenGrants() >= 1000:
			return "too_many_grants"
		}
		w.grants = maps.Clone(w.grants)
		w.grants[number] = g
		a.GrantExpires = Time(g.expires)
	}
	w.total = new(big.Int).Add(w.total, amount)
	w.put(pile{{number, amount}})
	w.touch(pile{{number, amount}})
	return ""
}

// put adds coins to what can be spent, and puts all of it in the order in which it is spent.
func (w *Wallet) put(coins pile) {
	all := append(slices.Clone(w.free), coins...).joined()
	slices.SortStableFunc(all, func(a, b coin) int {
		if a.grant == 0 || b.grant == 0 {
			return cmp.Compare(min(b.grant, 1), min(a.grant, 1))
		}
		x, y := w.grants[a.grant], w.grants[b.grant]
		never := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
		if x.expires.IsZero() {
			x.expires = never
		}
		if y.expires.IsZero() {
			y.expires = never
		}
		return cmp.Or(cmp.Compare(x.priority, y.priority), x.expires.Compare(y.expires), cmp.Compare(a.grant, b.grant))
	})
	w.free = slices.DeleteFunc(all, func(c coin) bool { return c.amount.Sign() == 0 })
}

// unGranted is what is available that is of no grant.
func (w *Wallet) unGranted() *big.Int {
	return new(big.Int).Sub(w.available(), new(big.Int).Sub(w.free.sum(), w.free.of(0)))
}

// touch notes that the entry that is being made changes grants.
func (w *Wallet) touch(coins pile) {
	for _, c := range coins {
		if g, known := w.grants[c.grant]; known {
			g.updated, g.position = w.Now, w.Position()+1
			w.grants = maps.Clone(w.grants)
			w.grants[c.grant] = g
		}
	}
}

// spend takes an amount from what can be spent, and owes what is missing.
func (w *Wallet) spend(amount *big.Int, a *Answer) (coins pile) {
	coins, w.free = w.free.split(amount)
	if owed := new(big.Int).Sub(amount, coins.sum()); owed.Sign() > 0 {
		coins = append(slices.Clone(coins), coin{0, owed}).joined()
		w.put(pile{{0, new(big.Int).Neg(owed)}})
	}
	a.Grants = coins.text(w.Scale)
	w.touch(coins)
	return coins
}

// giveBack has coins be spent again.
func (w *Wallet) giveBack(coins pile) {
	w.put(coins)
	w.touch(coins)
}

func (w *Wallet) expireGrant(number int64, a *Answer) {
	coins := pile{{number, w.free.of(number)}}
	w.free = slices.DeleteFunc(slices.Clone(w.free), func(c coin) bool { return c.grant == number })
	w.total = new(big.Int).Sub(w.total, coins.sum())
	w.touch(coins)
	g := w.grants[number]
	g.expired, g.expiries = new(big.Int).Add(g.expired, coins.sum()), g.expiries+1
	w.grants[number] = g
	a.Grants = coins.text(w.Scale)
}

// takeBack reverses an add, or returns a reason for a refusal.
func (w *Wallet) takeBack(original use, amount *big.Int, a *Answer) string {
	number := int64(0)
	if _, granted := w.grants[original.answer.Position]; granted {
		number = original.answer.Position
	}
	if number != 0 && amount.Cmp(w.free.of(number)) > 0 || number == 0 && amount.Cmp(w.unGranted()) > 0 {
		return "insufficient_funds"
	}
	w.put(pile{{number, new(big.Int).Neg(amount)}})
	coins := pile{{number, amount}}
	w.touch(coins)
	a.Grants = coins.text(w.Scale)
	return ""
}

// returned reverses what took coins, or returns a reason for a refusal. left is what has not been
// reversed of it.
func (w *Wallet) returned(original use, c Command, amount, left *big.Int, a *Answer) string {
	rest, _ := original.coins.split(left)
	_, coins := rest.splitBack(amount)
	var alive pile
	for _, of := range coins {
		switch g, granted := w.grants[of.grant]; {
		case !granted || !g.isPast(w.Now):
			alive = append(alive, of)
		case !c.ReturnExpired:
			return "grant_expired"
		default:
			alive = append(alive, coin{0, of.amount})
		}
	}
	w.giveBack(alive)
	a.Grants = alive.text(w.Scale)
	return ""
}
