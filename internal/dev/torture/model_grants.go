package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

const (
	// priorityOfMost is that of a grant whose add names none.
	priorityOfMost = 50
	// mostGrants is how many grants a wallet can have open.
	mostGrants = 1000
	// expireGrantPrefix, a grant's number and a count from 1 are the id of the command that the
	// service records when something of the grant expires.
	expireGrantPrefix = "_expire_grant/"
)

// grant is the model of one grant. What of it is held is in the holds, and the rest was used.
type grant struct {
	id                    string
	priority              int64
	amount, left, expired decimal.Decimal
	expires               time.Time // zero for never
	expiries              int64
}

func (g grant) isPast(at time.Time) bool { return !g.expires.IsZero() && !at.Before(g.expires) }

func (g grant) isDue(at time.Time) bool { return g.left.IsPositive() && g.isPast(at) }

// grants are all grants ever made in a wallet, by the positions of their adds.
type grants struct{ byNumber map[int64]grant }

// part is an amount of a grant, or, under 0, one that is not granted. A list of them is in the order in
// which they are used up: 0 comes last.
type part struct {
	grant  int64
	amount decimal.Decimal
}

// listOf is how the journal writes what is granted of parts.
func listOf(parts []part, scale int32) string {
	var texts []string
	for _, p := range parts {
		if p.grant != 0 {
			texts = append(texts, fmt.Sprintf("%d:%s", p.grant, p.amount.StringFixed(scale)))
		}
	}
	return strings.Join(texts, ",")
}

func sumOf(parts []part) (sum decimal.Decimal) {
	for _, p := range parts {
		sum = sum.Add(p.amount)
	}
	return sum
}

// cut divides parts after an amount.
func cut(parts []part, after decimal.Decimal) (front, back []part) {
	for _, p := range parts {
		n := decimal.Min(after, p.amount)
		if n.IsPositive() {
			front = append(front, part{p.grant, n})
		}
		if rest := p.amount.Sub(n); rest.IsPositive() {
			back = append(back, part{p.grant, rest})
		}
		after = after.Sub(n)
	}
	return front, back
}

// joined adds parts to others: to that of the same grant, or behind the last grant.
func joined(parts, more []part) (all []part) {
	all = slices.Clone(parts)
	for _, p := range more {
		if i := slices.IndexFunc(all, func(of part) bool { return of.grant == p.grant }); i >= 0 {
			all[i].amount = all[i].amount.Add(p.amount)
			continue
		}
		end := len(all)
		if p.grant != 0 && end > 0 && all[end-1].grant == 0 {
			end--
		}
		all = slices.Insert(all, end, p)
	}
	return all
}

func (b balance) allGrants() map[int64]grant {
	if b.grants == nil {
		return nil
	}
	return b.grants.byNumber
}

// withGrant returns a copy with one grant made or changed.
func (b balance) withGrant(number int64, g grant) *grants {
	all := maps.Clone(b.allGrants())
	if all == nil {
		all = map[int64]grant{}
	}
	all[number] = g
	return &grants{all}
}

// moved returns the grants after parts were taken from what is left of them, or, with a sign of 1, given
// back.
func (b balance) moved(parts []part, sign int64) *grants {
	for _, p := range parts {
		if g, known := b.allGrants()[p.grant]; known {
			g.left = g.left.Add(p.amount.Mul(decimal.NewFromInt(sign)))
			b.grants = b.withGrant(p.grant, g)
		}
	}
	return b.grants
}

// granted is what is left of all grants.
func (b balance) granted() (sum decimal.Decimal) {
	for _, g := range b.allGrants() {
		sum = sum.Add(g.left)
	}
	return sum
}

// heldOf is what open holds reserve of a grant.
func (b balance) heldOf(number int64) (sum decimal.Decimal) {
	if b.holds != nil {
		for _, h := range b.holds.byID {
			for _, p := range h.reserved {
				if p.grant == number {
					sum = sum.Add(p.amount)
				}
			}
		}
	}
	return sum
}

func (b balance) openGrants() (n int64) {
	for number, g := range b.allGrants() {
		if g.left.IsPositive() || b.heldOf(number).IsPositive() {
			n++
		}
	}
	return n
}

// earlier compares by expiry, those that never expire last, then by age.
func (b balance) earlier(x, y int64) int {
	first, second := b.allGrants()[x].expires, b.allGrants()[y].expires
	switch {
	case first.IsZero() && !second.IsZero():
		return 1
	case second.IsZero() && !first.IsZero():
		return -1
	}
	return cmp.Or(first.Compare(second), cmp.Compare(x, y))
}

// draw returns what an amount is taken from.
func (b balance) draw(amount decimal.Decimal) (parts []part) {
	numbers := slices.SortedFunc(maps.Keys(b.allGrants()), func(x, y int64) int {
		return cmp.Or(cmp.Compare(b.allGrants()[x].priority, b.allGrants()[y].priority), b.earlier(x, y))
	})
	for _, number := range numbers {
		if n := decimal.Min(amount, b.allGrants()[number].left); n.IsPositive() {
			parts, amount = append(parts, part{number, n}), amount.Sub(n)
		}
	}
	if amount.IsPositive() {
		parts = append(parts, part{0, amount})
	}
	return parts
}

func makesGrant(c wallet.Command) bool {
	return c.Type == wallet.TypeAdd && (c.Priority != 0 || c.ExpiresIn != "" || !c.ExpiresAt.IsZero())
}

// grantOf is the grant that an add makes.
func grantOf(c wallet.Command, at time.Time) grant {
	g := grant{id: c.ID, priority: cmp.Or(c.Priority, priorityOfMost), amount: amountOf(c), left: amountOf(c), expires: c.ExpiresAt}
	if d, err := time.ParseDuration(c.ExpiresIn); err == nil { // scripts have no days
		g.expires = at.Add(d)
	}
	return g
}

// noGrant says why an add makes no grant.
func (b balance) noGrant(c wallet.Command, at time.Time) wallet.Reason {
	switch {
	case grantOf(c, at).isPast(at):
		return wallet.ReasonGrantExpired
	case b.openGrants() >= mostGrants:
		return wallet.ReasonTooManyGrants
	}
	return ""
}

// reserve returns what a hold has of grants after a command has changed it from before, what the command
// reserved, took or gave back, and the grants then.
func (b balance) reserve(before, after hold, c wallet.Command) (reserved, parts []part, left *grants) {
	switch c.Type {
	case wallet.TypeHold:
		parts = b.draw(after.amount.Sub(before.amount))
		return joined(before.reserved, parts), parts, b.moved(parts, -1)
	case wallet.TypeCapture:
		parts, reserved = cut(before.reserved, after.captured.Sub(before.captured))
		if after.state != wallet.HoldOpen {
			return nil, parts, b.moved(reserved, 1)
		}
		return reserved, parts, b.grants
	default: // what was reserved last comes back first
		reserved, parts = cut(before.reserved, before.left().Sub(after.released.Sub(before.released)))
		return reserved, parts, b.moved(parts, 1)
	}
}

// reversed is what a reversal of an amount takes of the grant that its original has made, or, of what that has
// taken, what comes from grants that have expired and from others. left is what was not reversed.
func (b balance) reversed(of *recorded, amount, left decimal.Decimal, at time.Time) (taken, past, alive []part) {
	if of.change.IsPositive() {
		return []part{{of.grant, amount}}, nil, nil
	}
	rest, _ := cut(of.took, left)
	_, back := cut(rest, left.Sub(amount))
	for _, p := range back {
		if b.allGrants()[p.grant].isPast(at) {
			past = append(past, p)
		} else {
			alive = append(alive, p)
		}
	}
	return nil, past, alive
}

// noReturn says why a reversal cannot take from its original's grant, or give back to grants.
func (b balance) noReturn(of *recorded, c wallet.Command, amount, left, available decimal.Decimal, at time.Time) wallet.Reason {
	switch _, past, alive := b.reversed(of, amount, left, at); {
	case of.change.IsPositive() && of.grant != 0 && amount.GreaterThan(b.allGrants()[of.grant].left),
		of.change.IsPositive() && of.grant == 0 && amount.GreaterThan(available.Sub(b.granted())):
		return wallet.ReasonInsufficientFunds
	case len(past) > 0 && !c.ReturnExpired:
		return wallet.ReasonGrantExpired
	case len(alive) > 0:
		b.grants = b.moved(alive, 1)
		if b.openGrants() > mostGrants {
			return wallet.ReasonTooManyGrants
		}
	}
	return ""
}

// dueGrant finds the grant that must expire next; 0 if none is due.
func (b balance) dueGrant(at time.Time) (first int64) {
	for number, g := range b.allGrants() {
		if g.isDue(at) && (first == 0 || b.earlier(number, first) < 0) {
			first = number
		}
	}
	return first
}

// mustExpire names what has to expire before any command: a hold, or a grant if that is due before it.
func (b balance) mustExpire(at time.Time) (holdID string, number int64) {
	found, holdID := b.due(at)
	number = b.dueGrant(at)
	switch {
	case !found:
		return "", number
	case number != 0 && b.allGrants()[number].expires.Before(b.hold(holdID).expires):
		return "", number
	}
	return holdID, 0
}

// expiryOf is the command that lets a grant expire.
func (b balance) expiryOf(number int64) wallet.Command {
	g := b.allGrants()[number]
	return wallet.Command{ID: fmt.Sprintf("%s%d/%d", expireGrantPrefix, number, g.expiries+1), Type: wallet.TypeExpireGrant, Amount: wallet.MustAmount(g.left.String())}
}

// noGrantExpiry says why a grant cannot expire now.
func (b balance) noGrantExpiry(c wallet.Command, at time.Time) wallet.Reason {
	holdID, number := b.mustExpire(at)
	switch {
	case holdID != "":
		return wallet.Reason(fmt.Sprintf("hold %q is due before it", holdID))
	case number == 0:
		return "no grant is due"
	case c.ID != b.expiryOf(number).ID:
		return wallet.Reason(fmt.Sprintf("the id of the expiry that is due is %q", b.expiryOf(number).ID))
	case !amountOf(c).Equal(b.allGrants()[number].left):
		return wallet.Reason(fmt.Sprintf("%s are left of grant %d", b.allGrants()[number].left, number))
	}
	return ""
}

// expireGrant returns the grants after one of them has expired, and what was left of it.
func (b balance) expireGrant(number int64) (*grants, []part) {
	g := b.allGrants()[number]
	parts := []part{{number, g.left}}
	g.left, g.expired, g.expiries = decimal.Decimal{}, g.expired.Add(g.left), g.expiries+1
	return b.withGrant(number, g), parts
}

// afterExpiries is the balance once all grants that are due have expired.
func (b balance) afterExpiries(at time.Time, scale int32) balance {
	for number := b.dueGrant(at); number != 0; number = b.dueGrant(at) {
		b, _ = b.apply(b.expiryOf(number), false, at, scale)
	}
	return b
}

// stateOf is what became of a grant.
func (b balance) stateOf(number int64) wallet.GrantState {
	switch g := b.allGrants()[number]; {
	case g.left.IsPositive():
		return wallet.GrantOpen
	case b.heldOf(number).IsPositive():
		return wallet.GrantHeld
	case g.expired.IsPositive():
		return wallet.GrantExpired
	}
	return wallet.GrantUsed
}
