package wallet

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxOpenGrants bounds how many grants of one wallet asset are open at once: so many entries at
// most come before a command when all of them expire.
const MaxOpenGrants = 1000

// Grants are used up by priority, 1 first. DefaultPriority is that of an add that names none.
const (
	DefaultPriority = 50
	maxPriority     = 100
)

// GrantState is what became of a grant.
type GrantState string

// The states of a grant. A used one is open again if something of it comes back.
const (
	GrantOpen    GrantState = "open"    // some of it can be spent
	GrantHeld    GrantState = "held"    // all that is left of it is reserved
	GrantUsed    GrantState = "used"    // nothing is left of it
	GrantExpired GrantState = "expired" // nothing is left of it, and some of it has expired
)

// Grant is a part of a wallet asset's total that is used up before others, and that may expire.
// Amount is the sum of Left, Held, Used and Expired.
type Grant struct {
	Number   int64      `json:"grant"`      // the position of the add that made it
	ID       string     `json:"command_id"` // of that add
	State    GrantState `json:"state"`
	Priority int64      `json:"priority"` // 1 is used up first
	Amount   Amount     `json:"amount"`   // that was added
	Left     Amount     `json:"left"`     // that can be spent
	Held     Amount     `json:"held"`     // that holds have reserved: it expires once it is given back
	Used     Amount     `json:"used"`     // that was taken, also by the reversal of the add
	Expired  Amount     `json:"expired"`
	Expiries int64      `json:"expiries,omitempty"` // how many entries that were: what was held expires later
	// ExpiresAt is when what is left expires; zero for never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	AddedAt   time.Time `json:"added_at"`
	UpdatedAt time.Time `json:"updated_at"` // of its last entry
	Position  int64     `json:"position"`   // of its last entry
}

// IsPast reports whether the time of a grant is over: at the very moment it is.
func (g Grant) IsPast(now time.Time) bool { return !g.ExpiresAt.IsZero() && !now.Before(g.ExpiresAt) }

// IsDue reports whether something of a grant has expired.
func (g Grant) IsDue(now time.Time) bool { return !g.Left.IsZero() && g.IsPast(now) }

// IsOpen reports whether something is left of it, reserved or not.
func (g Grant) IsOpen() bool { return g.State == GrantOpen || g.State == GrantHeld }

// WithReturned is the grant once an amount that holds had reserved is given back.
func (g Grant) WithReturned(amount Amount) Grant {
	giveBack(&g, amount)
	return g.withState()
}

// AfterExpiry is the grant once its expiry is recorded.
func (g Grant) AfterExpiry() Grant {
	g.Left, g.Expired = g.Left.Sub(g.Left), g.Expired.Add(g.Left)
	return g.withState()
}

// withState is the grant with the state that its amounts make.
func (g Grant) withState() Grant {
	switch {
	case !g.Left.IsZero():
		g.State = GrantOpen
	case !g.Held.IsZero():
		g.State = GrantHeld
	case !g.Expired.IsZero():
		g.State = GrantExpired
	default:
		g.State = GrantUsed
	}
	return g
}

// grantOrder is what the order of grants goes by. Grants are ten times as large, and there may be a
// thousand.
type grantOrder struct {
	priority  int64
	expiresAt time.Time
	number    int64
}

func (g *Grant) order() grantOrder { return grantOrder{g.Priority, g.ExpiresAt, g.Number} }

// compare is the order in which grants are used up: by priority, then the soonest expiry, then age.
func (o grantOrder) compare(with grantOrder) int {
	return cmp.Or(cmp.Compare(o.priority, with.priority), compareExpiry(o.expiresAt, with.expiresAt), cmp.Compare(o.number, with.number))
}

func compareGrants(a, b Grant) int { return a.order().compare(b.order()) }

func compareExpiries(a, b Grant) int {
	return cmp.Or(compareExpiry(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.Number, b.Number))
}

// compareExpiry has never, which is zero, last.
func compareExpiry(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		if a.IsZero() {
			return 1
		}
		return -1
	}
	return a.Compare(b)
}

func larger(a, b Amount) Amount {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

func smaller(a, b Amount) Amount {
	if a.Cmp(b) > 0 {
		return b
	}
	return a
}

// MoreGrantsError says that a fold needs open grants that its account was not read with. Read more
// and fold again.
type MoreGrantsError struct{ AssetRef }

func (e *MoreGrantsError) Error() string {
	return fmt.Sprintf("more grants of the %s wallet of user %s have to be read", e.Currency, quote(e.UserID))
}

// ExpireGrantPrefix, the grant's number and how many times something of it has expired are the id of
// the command that lets it expire.
const ExpireGrantPrefix = "_expire_grant/"

// ExpireGrantCommand is the command that the service itself records when a grant has expired.
func ExpireGrantCommand(g Grant) Command {
	return Command{ID: fmt.Sprintf("%s%d/%d", ExpireGrantPrefix, g.Number, g.Expiries+1), Type: TypeExpireGrant, Amount: g.Left}
}

// ExpiredGrant is the grant that an ExpireGrantCommand is about; 0 if the id is not one of those.
func ExpiredGrant(commandID string) int64 {
	of, _, _ := strings.Cut(strings.TrimPrefix(commandID, ExpireGrantPrefix), "/")
	number, err := strconv.ParseInt(of, 10, 64)
	if err != nil || number < 1 || !strings.HasPrefix(commandID, ExpireGrantPrefix) {
		return 0
	}
	return number
}

// makesGrant reports whether an add makes a grant.
func (c Command) makesGrant() bool {
	return c.Type == TypeAdd && (c.Priority != 0 || c.ExpiresIn != "" || !c.ExpiresAt.IsZero())
}

// MadeGrant reports whether the entry has made a grant.
func (e Entry) MadeGrant() bool { return e.Status == StatusApplied && e.Command().makesGrant() }

// KeepGrant stores the current state of a grant.
func (a *Account) KeepGrant(g Grant) {
	if a.Grants == nil {
		a.Grants = map[int64]Grant{}
	}
	a.Grants[g.Number] = g
}

// ChangedGrants are those that the last command made or changed.
func (a Account) ChangedGrants() []Grant { return a.changedGrants }

// openGrants are the known ones of which something can be spent, in the order in which they are used
// up. A command seldom needs more than the first: the others are sorted where it does.
func (a Account) openGrants() iter.Seq[Grant] {
	return func(yield func(Grant) bool) {
		var first grantOrder
		for _, g := range a.Grants {
			if o := g.order(); !g.Left.IsZero() && (first.number == 0 || o.compare(first) < 0) {
				first = o
			}
		}
		if first.number == 0 || !yield(a.Grants[first.number]) {
			return
		}
		var others []grantOrder
		for _, g := range a.Grants {
			if !g.Left.IsZero() && g.Number != first.number {
				others = append(others, g.order())
			}
		}
		slices.SortFunc(others, grantOrder.compare)
		for _, o := range others {
			if !yield(a.Grants[o.number]) {
				return
			}
		}
	}
}

// dueGrants are the known ones of which something has expired, by their expiry, then their age.
func (a Account) dueGrants(now time.Time) []Grant {
	var due []Grant
	for _, g := range a.Grants {
		if g.IsDue(now) {
			due = append(due, g)
		}
	}
	slices.SortFunc(due, compareExpiries)
	return due
}

// replaceGrant puts a grant in the place of what it was before, which is empty for a new one.
func (a Account) replaceGrant(before, after Grant) Account {
	after = after.withState()
	if before.IsOpen() {
		a.Granted = a.Granted.Sub(before.Left)
		a.OpenGrants--
	}
	if after.IsOpen() {
		a.Granted = a.Granted.Add(after.Left)
		a.OpenGrants++
	}
	a.changedGrants = append(a.changedGrants, after)
	return a
}

// change changes grants by parts. It reports false if one of them is not known.
func (a Account) change(parts GrantParts, by func(*Grant, Amount)) Account {
	for _, part := range parts {
		before, known := a.Grants[part.Grant]
		if !known {
			a.lacksGrants = true
			return a
		}
		after := before
		by(&after, part.Amount)
		a = a.replaceGrant(before, after)
	}
	return a
}

func useLeft(g *Grant, by Amount) { g.Left, g.Used = g.Left.Sub(by), g.Used.Add(by) }

func reserve(g *Grant, by Amount) { g.Left, g.Held = g.Left.Sub(by), g.Held.Add(by) }

func useHeld(g *Grant, by Amount) { g.Held, g.Used = g.Held.Sub(by), g.Used.Add(by) }

func giveBack(g *Grant, by Amount) { g.Held, g.Left = g.Held.Sub(by), g.Left.Add(by) }

func putBack(g *Grant, by Amount) { g.Used, g.Left = g.Used.Sub(by), g.Left.Add(by) }

// nextParts are the grants that an amount of what is available comes from.
func (a Account) nextParts(amount Amount) (parts GrantParts, enough bool) {
	if a.Granted.IsZero() {
		return nil, true
	}
	left := smaller(amount, a.Granted)
	for g := range a.openGrants() {
		if a.GrantsAfter != nil && compareGrants(g, *a.GrantsAfter) > 0 {
			break // one that is not known may come before it
		}
		part := GrantPart{g.Number, smaller(left, g.Left)}
		if parts, left = append(parts, part), left.Sub(part.Amount); left.IsZero() {
			break
		}
	}
	return parts, left.IsZero()
}

// spend uses grants up, or reserves them, for an amount of what is available. The account's parts are
// what it took.
func (a Account) spend(amount Amount, by func(*Grant, Amount)) Account {
	parts, enough := a.nextParts(amount)
	if !enough {
		a.lacksGrants = true
		return a
	}
	a.parts = parts
	return a.change(parts, by)
}

// add adds to the total; with an expiry or a priority, as a grant.
func add(a Account, c Command, now time.Time) (Account, *Refusal) {
	if !c.makesGrant() {
		a.Total = a.Total.Add(c.Amount)
		return a, nil
	}
	expiresAt, refused := c.expiry(now)
	switch {
	case refused != nil:
		return a, refused
	case !expiresAt.IsZero() && !now.Before(expiresAt):
		return a, refuse(ReasonGrantExpired, "the grant would have expired already, at %s: send a later time under a new id", timeText(expiresAt))
	case a.OpenGrants >= MaxOpenGrants:
		return a, tooManyGrants(a)
	}
	zero := c.Amount.Sub(c.Amount)
	a.Total = a.Total.Add(c.Amount)
	return a.replaceGrant(Grant{}, Grant{
		Number: a.Position, ID: c.ID, Priority: cmp.Or(c.Priority, DefaultPriority), Amount: c.Amount,
		Left: c.Amount, Held: zero, Used: zero, Expired: zero, ExpiresAt: expiresAt, AddedAt: now,
	}), nil
}

func tooManyGrants(a Account) *Refusal {
	return refuse(ReasonTooManyGrants, "%d grants are open, and no more than %d may be: wait until some are used up or have expired", a.OpenGrants, MaxOpenGrants)
}

func subtract(a Account, c Command, _ time.Time) (Account, *Refusal) {
	if c.Amount.Cmp(a.Available()) > 0 {
		return a, refuse(ReasonInsufficientFunds, "cannot subtract %s %s: %s", c.Amount, a.Currency, a.availableText())
	}
	a = a.spend(c.Amount, useLeft)
	a.Total = a.Total.Sub(c.Amount)
	return a, nil
}

// captureGrants uses up what a hold has of grants, the first reserved first, and gives back what it
// does not keep.
func (a Account) captureGrants(before, after *Hold, amount Amount) Account {
	if len(before.Grants) == 0 {
		return a
	}
	a.parts = before.Grants.between(amount.Sub(amount), amount)
	rest := before.Grants.without(a.parts)
	if after.IsOpen() {
		after.Grants = rest
		return a.change(a.parts, useHeld)
	}
	after.Grants = nil
	used, returned := a.parts.byGrant(), rest.byGrant() // a grant may be in both
	for _, part := range a.parts.with(rest) {
		g, known := a.Grants[part.Grant]
		if !known {
			a.lacksGrants = true
			return a
		}
		changed := g
		useHeld(&changed, used[part.Grant])
		giveBack(&changed, returned[part.Grant])
		a = a.replaceGrant(g, changed)
	}
	return a
}

// releaseGrants gives back an amount of a hold: what is not granted first, then what was reserved
// last, as if the hold had been smaller.
func (a Account) releaseGrants(before, after *Hold, amount Amount) Account {
	if len(before.Grants) == 0 {
		return a
	}
	left := before.Left()
	a.parts = before.Grants.between(left.Sub(amount), left)
	after.Grants = before.Grants.without(a.parts)
	return a.change(a.parts, giveBack)
}

// expireGrant takes what is left of a grant whose time is over.
func expireGrant(a Account, c Command, now time.Time) (Account, *Refusal) {
	before, known := a.Grants[ExpiredGrant(c.ID)]
	if !known || !before.IsDue(now) || !c.Amount.Same(before.Left) { // only a forged journal says otherwise
		return a, refuse(ReasonGrantExpired, "the grant is not due")
	}
	after := before
	after.Left, after.Expired, after.Expiries = before.Left.Sub(before.Left), before.Expired.Add(before.Left), before.Expiries+1
	a.Total = a.Total.Sub(before.Left)
	a.parts = GrantParts{{before.Number, before.Left}}
	return a.replaceGrant(before, after), nil
}

// takeBack is the reversal of an add: it takes only what that add gave.
func (a Account) takeBack(o Original, amount Amount) (Account, *Refusal) {
	if o.Grant == 0 {
		if rest := a.Available().Sub(a.Granted); amount.Cmp(rest) > 0 {
			return a, refuse(ReasonInsufficientFunds, "cannot reverse %s %s of command %s: %s available that is not of a grant", amount, a.Currency, quote(o.ID), rest)
		}
		return a, nil
	}
	g, known := a.Grants[o.Grant]
	if !known {
		a.lacksGrants = true
		return a, nil
	}
	if amount.Cmp(g.Left) > 0 {
		return a, refuse(ReasonInsufficientFunds, "cannot reverse %s %s of command %s: %s left of its grant (%s held, %s used, %s expired)",
			amount, a.Currency, quote(o.ID), g.Left, g.Held, g.Used, g.Expired)
	}
	a.parts = GrantParts{{o.Grant, amount}}
	return a.change(a.parts, useLeft), nil
}

// returnToGrants is the reversal of what took from grants: what was taken last comes back first, as if
// the command had been smaller.
func (a Account) returnToGrants(o Original, c Command, amount Amount, now time.Time) (Account, *Refusal) {
	var alive GrantParts
	for _, part := range o.Grants.between(o.Left.Sub(amount), o.Left) {
		g, known := a.Grants[part.Grant]
		switch {
		case !known:
			a.lacksGrants = true
			return a, nil
		case !g.IsPast(now):
			alive = append(alive, part)
		case !c.ReturnExpired:
			return a, refuse(ReasonGrantExpired, "%s %s of that came from grant %s, which expired %s: send return_expired under a new id to have it come back as what never expires",
				part.Amount, a.Currency, quote(g.ID), expiryText(g.ExpiresAt))
		}
	}
	a.parts = alive
	if a = a.change(alive, putBack); a.OpenGrants > MaxOpenGrants {
		return a, tooManyGrants(a)
	}
	return a, nil
}

func (c *Command) validatePriority() error {
	if c.Priority == 0 || 1 <= c.Priority && c.Priority <= maxPriority {
		return nil
	}
	text := fieldText(&c.Priority)
	return invalid("priority", text, "priority %s is out of range: send 1 (used up first) to %d", text, maxPriority)
}

// GrantsOf are the grants that the entries of a wallet, in order, say of them: those that made a
// grant, have a list of grants, or close a hold. It is read off what they have recorded, whatever
// the rules are now. It fails if the entries contradict each other.
func GrantsOf(entries []Entry) (map[int64]Grant, error) {
	grants, held := map[int64]Grant{}, map[string]GrantParts{}
	for _, e := range entries {
		if e.Status != StatusApplied {
			continue
		}
		parts, err := ParseGrantParts(e.Grants)
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", e.Position, err)
		}
		change := func(parts GrantParts, by func(*Grant, Amount)) {
			for _, part := range parts {
				g, known := grants[part.Grant]
				if !known {
					err = fmt.Errorf("position %d: grant %d was never made", e.Position, part.Grant)
					return
				}
				by(&g, part.Amount)
				g.UpdatedAt, g.Position = e.RecordedAt, e.Position
				grants[part.Grant] = g.withState()
			}
		}
		hold := e.TargetHoldID()
		switch e.Type {
		case TypeAdd:
			if e.MadeGrant() {
				zero := e.Amount.Sub(e.Amount)
				grants[e.Position] = Grant{
					Number: e.Position, ID: e.CommandID, State: GrantOpen, Priority: cmp.Or(e.Priority, DefaultPriority), Amount: e.Amount,
					Left: e.Amount, Held: zero, Used: zero, Expired: zero, ExpiresAt: e.GrantExpiresAt, AddedAt: e.RecordedAt, UpdatedAt: e.RecordedAt, Position: e.Position,
				}
			}
		case TypeSubtract:
			change(parts, useLeft)
		case TypeHold:
			held[hold] = held[hold].with(parts)
			change(parts, reserve)
		case TypeCapture:
			held[hold] = held[hold].without(parts)
			change(parts, useHeld)
			if e.HoldState != HoldOpen {
				change(held[hold], giveBack)
				delete(held, hold)
			}
		case TypeRelease, TypeExpire:
			held[hold] = held[hold].without(parts)
			change(parts, giveBack)
		case TypeExpireGrant:
			change(parts, func(g *Grant, by Amount) {
				g.Left, g.Expired, g.Expiries = g.Left.Sub(by), g.Expired.Add(by), g.Expiries+1
			})
		case TypeReverse:
			if e.TotalAfter.Cmp(e.TotalBefore) < 0 {
				change(parts, useLeft)
			} else {
				change(parts, putBack)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return grants, nil
}
