package torture

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// balance is the model of a wallet asset: the rules implemented a second time, without the fold
// of package wallet, so that a bug must be in both to go unnoticed. It is comparable and never
// changed in place.
type balance struct {
	exists            bool
	total             string // canonical
	position, version int64
	holds             *holds    // nil for none
	grants            *grants   // nil for none
	recorded          *recorded // the last command
	freezes           freezes
	closed            bool
	thresholds        *thresholds // nil for none
	limit             string      // of credit; empty for none
}

// holds are all holds ever placed in a wallet, by id.
type holds struct{ byID map[string]hold }

// hold is the model of one hold.
type hold struct {
	state                      wallet.HoldState
	amount, captured, released decimal.Decimal
	expires                    time.Time // zero for never
	reserved                   []part    // of what is left
}

func (h hold) left() decimal.Decimal { return h.amount.Sub(h.captured).Sub(h.released) }

func (h hold) isDue(at time.Time) bool {
	return h.state == wallet.HoldOpen && !h.expires.IsZero() && !at.Before(h.expires)
}

// ended returns the hold in a final state: what is left is released.
func (h hold) ended(state wallet.HoldState) hold {
	h.released, h.state = h.released.Add(h.left()), state
	return h
}

// scales are the decimals of a run's currencies.
var scales = map[string]int32{"USD": 2, "JPY": 0, "BHD": 3}

// mostOpen is how many holds a wallet can have open.
const mostOpen = 1000

// expirePrefix plus a hold's id is the id of the command that the service records when the hold
// expires.
const expirePrefix = "_expire/"

// outcome is what a command does according to the model.
type outcome struct {
	status        wallet.Status
	reason        wallet.Reason
	before, after decimal.Decimal // of the total
	holdBefore    decimal.Decimal
	holdAfter     decimal.Decimal
	holdID        string          // the hold that was placed or changed
	hold          hold            // its state afterwards
	originalLeft  decimal.Decimal // of the command that was reversed
	crossed       []string        // the thresholds that it crossed
	at            time.Time       // of its entry
	grants        []part          // of grants, and of what is not granted, what it took, reserved or gave back
	grantExpires  time.Time       // when the grant expires that it made
}

// apply returns the balance after a command recorded at a given time. malformed means that the
// command could not be read.
func (b balance) apply(c wallet.Command, malformed bool, at time.Time, scale int32) (balance, outcome) {
	total, held := decimalOf(b.total), b.held()
	o := outcome{status: wallet.StatusUnapplied, before: total, after: total, holdBefore: held, holdAfter: held, at: at}
	o.reason = b.refusal(c, malformed, at, scale)
	b.position++
	before := b
	b.recorded = &recorded{before: b.recorded, id: c.ID, kind: c.Type}
	if o.reason != "" {
		return b, o
	}
	amount := amountOf(c)
	switch c.Type {
	case wallet.TypeSubtract:
		o.after, o.grants = total.Sub(amount), b.draw(amount)
		b.grants, b.recorded.took = b.moved(o.grants, -1), o.grants
	case wallet.TypeAdd:
		o.after = total.Add(amount)
		if makesGrant(c) {
			g := grantOf(c, at)
			b.grants, b.recorded.grant, o.grantExpires = b.withGrant(b.position, g), b.position, g.expires
		}
	case wallet.TypeHold, wallet.TypeCapture, wallet.TypeRelease, wallet.TypeExpire:
		o.holdID = holdOf(c)
		before := b.hold(o.holdID)
		o.hold = before.changed(c, at)
		o.after = total.Sub(o.hold.captured.Sub(before.captured))
		o.hold.reserved, o.grants, b.grants = b.reserve(before, o.hold, c)
		if c.Type == wallet.TypeCapture {
			b.recorded.took = o.grants
		}
		b.holds = b.holds.with(o.holdID, o.hold)
		o.holdAfter = b.held()
	case wallet.TypeReverse:
		var change decimal.Decimal
		change, o.originalLeft = before.reversal(c)
		o.after, b.recorded.originalID = total.Add(change), c.OriginalID
		of, left := before.original(c.OriginalID)
		taken, _, alive := b.reversed(of, change.Abs(), left, at)
		b.grants, o.grants = b.moved(taken, -1), taken
		if change.IsPositive() {
			b.grants, o.grants = b.moved(alive, 1), alive
		}
	case wallet.TypeExpireGrant:
		b.grants, o.grants = b.expireGrant(b.dueGrant(at))
		o.after = total.Sub(sumOf(o.grants))
	case wallet.TypeFreeze:
		b.freezes = before.freezes.with(c, at)
	case wallet.TypeUnfreeze:
		b.freezes = freezes{}
	case wallet.TypeClose:
		b.closed, b.limit = true, ""
	case wallet.TypeSetCreditLimit:
		if b.limit = amount.String(); amount.IsZero() {
			b.limit = ""
		}
	case wallet.TypeSetThreshold:
		b.thresholds = b.thresholds.with(c.Threshold, amount)
	case wallet.TypeRemoveThreshold:
		b.thresholds = b.thresholds.without(c.Threshold)
	case wallet.TypeCreate:
		b.closed = false
	default:
		panic(fmt.Sprintf("the model has no rule for the type %s", c.Type))
	}
	o.status = wallet.StatusApplied
	o.crossed = before.thresholds.crossed(total.Sub(held).Add(decimalOf(before.limit)), o.after.Sub(o.holdAfter).Add(decimalOf(b.limit)))
	b.exists, b.total = true, o.after.String()
	b.recorded.applied, b.recorded.change = true, o.after.Sub(total)
	b.version++
	return b, o
}

func decimalOf(text string) decimal.Decimal {
	if text == "" {
		return decimal.Decimal{}
	}
	return decimal.RequireFromString(text)
}

// refusal is why a command is not applied. If it is not a valid Reason, it says why the command
// must not be recorded here at all.
func (b balance) refusal(c wallet.Command, malformed bool, at time.Time, scale int32) wallet.Reason {
	amount := amountOf(c)
	available := decimalOf(b.total).Sub(b.held()).Add(decimalOf(b.limit))
	if c.Type != wallet.TypeExpire && c.Type != wallet.TypeExpireGrant {
		switch id, number := b.mustExpire(at); {
		case id != "":
			return wallet.Reason(fmt.Sprintf("hold %q is due since %s: first it has to expire", id, clockTime(b.hold(id).expires)))
		case number != 0:
			return wallet.Reason(fmt.Sprintf("grant %d is due since %s: first it has to expire", number, clockTime(b.allGrants()[number].expires)))
		}
	}
	late := !c.NotAfter.IsZero() && c.NotAfter.Before(at)
	other := c.ExpectedVersion != nil && *c.ExpectedVersion != b.version
	switch {
	case !b.exists && (malformed || c.Type != wallet.TypeCreate || late || other):
		return "the wallet does not exist yet"
	case malformed:
		return wallet.ReasonMalformed
	case late:
		return wallet.ReasonTooLate
	case !amount.Truncate(scale).Equal(amount):
		return wallet.ReasonScaleExceeded
	case other:
		return wallet.ReasonVersionMismatch
	case b.closed:
		if c.Type != wallet.TypeCreate {
			return wallet.ReasonClosed
		}
	case b.freezes.refuse(wallet.FrozenDebits, at) && (c.Type == wallet.TypeSubtract || c.Type == wallet.TypeHold), b.freezes.refuse(wallet.FrozenCredits, at) && c.Type == wallet.TypeAdd:
		return wallet.ReasonFrozen
	case c.Type == wallet.TypeClose && !(decimalOf(b.total).IsZero() && b.held().IsZero() && b.granted().IsZero()):
		return wallet.ReasonNotEmpty
	case c.Type == wallet.TypeSetCreditLimit && decimalOf(b.total).Add(amount).LessThan(b.held().Add(b.granted())):
		return wallet.ReasonCreditLimitExceeded
	case c.Type == wallet.TypeCreate && b.exists:
		return wallet.ReasonAlreadyExists
	case c.Type == wallet.TypeSubtract && amount.GreaterThan(available):
		return wallet.ReasonInsufficientFunds
	case c.Type == wallet.TypeReverse:
		return b.noReversal(c, available, at)
	case c.Type == wallet.TypeFreeze && !freezeEnd(c, at).IsZero() && !at.Before(freezeEnd(c, at)):
		return wallet.ReasonFreezeExpired
	case c.Type == wallet.TypeSetThreshold && !b.thresholds.has(c.Threshold) && len(b.thresholds.all()) >= mostThresholds:
		return wallet.ReasonTooManyThresholds
	case c.Type == wallet.TypeRemoveThreshold && !b.thresholds.has(c.Threshold):
		return wallet.ReasonThresholdNotFound
	case c.Type == wallet.TypeExpire:
		return b.noExpiry(c, at)
	case c.Type == wallet.TypeExpireGrant:
		return b.noGrantExpiry(c, at)
	case makesGrant(c):
		return b.noGrant(c, at)
	case c.Type == wallet.TypeHold && c.HoldID == "":
		return b.noPlace(c, at, available)
	case c.Type == wallet.TypeHold || c.Type == wallet.TypeCapture || c.Type == wallet.TypeRelease:
		return b.noChange(c, at, available)
	}
	return ""
}

// noExpiry says why a hold cannot expire now.
func (b balance) noExpiry(c wallet.Command, at time.Time) wallet.Reason {
	h := b.hold(c.HoldID)
	switch _, first := b.due(at); {
	case c.ID != expirePrefix+c.HoldID:
		return "the id of an expiry names its hold"
	case h.state == "":
		return "a hold that is not there cannot expire"
	case h.state != wallet.HoldOpen:
		return wallet.Reason(fmt.Sprintf("hold %q cannot expire: it is %s already", c.HoldID, h.state))
	case !h.isDue(at):
		return wallet.Reason(fmt.Sprintf("hold %q cannot expire before %s", c.HoldID, clockTime(h.expires)))
	case first != c.HoldID:
		return wallet.Reason(fmt.Sprintf("hold %q is due before it", first))
	}
	if _, number := b.mustExpire(at); number != 0 {
		return wallet.Reason(fmt.Sprintf("grant %d is due before it", number))
	}
	return ""
}

// noPlace says why a hold is not placed.
func (b balance) noPlace(c wallet.Command, at time.Time, available decimal.Decimal) wallet.Reason {
	switch h := (hold{}).changed(c, at); {
	case h.isDue(at):
		return wallet.ReasonHoldExpired
	case amountOf(c).GreaterThan(available):
		return wallet.ReasonInsufficientFunds
	case b.open() >= mostOpen:
		return wallet.ReasonTooManyHolds
	}
	return ""
}

// noChange says why a hold is not captured, released, raised or extended.
func (b balance) noChange(c wallet.Command, at time.Time, available decimal.Decimal) wallet.Reason {
	before := b.hold(c.HoldID)
	after := before.changed(c, at)
	extends := c.ExpiresIn != "" || !c.ExpiresAt.IsZero()
	switch {
	case before.state == "":
		return wallet.ReasonHoldNotFound
	case before.state == wallet.HoldExpired:
		return wallet.ReasonHoldExpired
	case before.state != wallet.HoldOpen:
		return wallet.ReasonHoldClosed
	case c.Type != wallet.TypeHold && amountOf(c).GreaterThan(before.left()):
		return wallet.ReasonHoldExceeded
	case c.Type == wallet.TypeHold && extends && (before.expires.IsZero() || !after.expires.After(before.expires)):
		return wallet.ReasonExpiryNotLater
	case c.Type == wallet.TypeHold && amountOf(c).GreaterThan(available):
		return wallet.ReasonInsufficientFunds
	}
	return ""
}

// changed returns a hold after a valid command; a hold without a state is placed.
func (h hold) changed(c wallet.Command, at time.Time) hold {
	amount := amountOf(c)
	if amount.IsZero() && c.Type != wallet.TypeHold { // all that is left
		amount = h.left()
	}
	switch c.Type {
	case wallet.TypeHold:
		if h.state == "" {
			h.state = wallet.HoldOpen
		}
		h.amount = h.amount.Add(amount)
		if d, err := time.ParseDuration(c.ExpiresIn); err == nil { // scripts have no days
			h.expires = at.Add(d)
		} else if !c.ExpiresAt.IsZero() {
			h.expires = c.ExpiresAt
		}
	case wallet.TypeCapture:
		h.captured = h.captured.Add(amount)
		if !c.Partial || h.left().IsZero() {
			h = h.ended(wallet.HoldCaptured)
		}
	case wallet.TypeRelease:
		h.released = h.released.Add(amount)
		if h.left().IsZero() {
			h.state = wallet.HoldReleased
		}
	case wallet.TypeExpire:
		h = h.ended(wallet.HoldExpired)
	}
	return h
}

// hold returns the hold with an id; its state is empty if there is none.
func (b balance) hold(id string) hold {
	if b.holds == nil {
		return hold{}
	}
	return b.holds.byID[id]
}

// all returns the ids of the holds in order.
func (b balance) all() (ids []string) {
	if b.holds == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(b.holds.byID))
}

// held is the total that open holds reserve.
func (b balance) held() (sum decimal.Decimal) {
	if b.holds != nil {
		for _, h := range b.holds.byID {
			if h.state == wallet.HoldOpen {
				sum = sum.Add(h.left())
			}
		}
	}
	return sum
}

func (b balance) open() (n int64) {
	if b.holds != nil {
		for _, h := range b.holds.byID {
			if h.state == wallet.HoldOpen {
				n++
			}
		}
	}
	return n
}

// due finds the hold that must expire next, if it is due.
func (b balance) due(at time.Time) (found bool, first string) {
	if b.holds == nil {
		return false, ""
	}
	for id, h := range b.holds.byID {
		if !h.isDue(at) {
			continue
		}
		soonest := b.holds.byID[first].expires
		if !found || h.expires.Before(soonest) || h.expires.Equal(soonest) && id < first {
			found, first = true, id
		}
	}
	return found, first
}

// with returns a copy with one hold changed.
func (h *holds) with(id string, changed hold) *holds {
	after := &holds{map[string]hold{}}
	if h != nil {
		after.byID = maps.Clone(h.byID)
	}
	after.byID[id] = changed
	return after
}

// holdOf names the hold that a command concerns.
func holdOf(c wallet.Command) string {
	if c.HoldID == "" {
		return c.ID
	}
	return c.HoldID
}

func amountOf(c wallet.Command) decimal.Decimal {
	return decimal.RequireFromString("0" + c.Amount.String())
}

func clockTime(at time.Time) string { return at.UTC().Format("15:04:05.000000") }

// differs says how an answer or a record differs from the model; empty if it does not.
func (b balance) differs(after balance, o outcome, r wallet.Result) string {
	version := int64(0)
	if o.status == wallet.StatusApplied {
		version = after.version
	}
	left := decimal.Decimal{}
	if o.hold.state == wallet.HoldOpen {
		left = o.hold.left()
	}
	switch {
	case r.Status != o.status || r.Reason != o.reason:
		return fmt.Sprintf("is %s %s, the rules say %s %s", r.Status, r.Reason, o.status, o.reason)
	case !sameNumber(r.TotalBefore, o.before) || !sameNumber(r.TotalAfter, o.after):
		return fmt.Sprintf("goes from total %s to %s, the rules say from %s to %s", r.TotalBefore, r.TotalAfter, o.before, o.after)
	case r.Version != version:
		return fmt.Sprintf("has version %d, the rules say %d", r.Version, version)
	case r.Position != after.position:
		return fmt.Sprintf("has position %d, the rules say %d", r.Position, after.position)
	case !sameNumber(r.HoldBefore, o.holdBefore) || !sameNumber(r.HoldAfter, o.holdAfter):
		return fmt.Sprintf("goes from hold %s to %s, open holds come to %s and then %s", r.HoldBefore, r.HoldAfter, o.holdBefore, o.holdAfter)
	case r.HoldState != o.hold.state || o.holdID != "" && r.HoldID != o.holdID:
		return fmt.Sprintf("leaves hold %q %s, the rules say that hold %q is %s", r.HoldID, r.HoldState, o.holdID, o.hold.state)
	case !sameNumber(r.HoldLeft, left):
		return fmt.Sprintf("leaves %s of hold %q, the rules say %s", r.HoldLeft, r.HoldID, left)
	case !r.HoldExpiresAt.Equal(o.hold.expires):
		return fmt.Sprintf("has hold %q expire at %s, the rules say %s", r.HoldID, clockTime(r.HoldExpiresAt), clockTime(o.hold.expires))
	case shownFrozen(r.Frozen, r.FreezeEnds) != after.freezes.shown(o.at) || r.Closed != after.closed:
		return fmt.Sprintf("leaves the wallet frozen %q, closed %t, the rules say %q, %t", shownFrozen(r.Frozen, r.FreezeEnds), r.Closed, after.freezes.shown(o.at), after.closed)
	case !slices.Equal(crossingsOf(r), o.crossed):
		return fmt.Sprintf("crosses the thresholds %q, the rules say %q", crossingsOf(r), o.crossed)
	case r.Status == wallet.StatusApplied && r.Threshold != "" && !after.watches(r.Thresholds):
		return fmt.Sprintf("leaves the thresholds %q, the rules say others", string(r.Thresholds))
	case !sameNumber(r.OriginalLeft, o.originalLeft):
		return fmt.Sprintf("leaves %s of %q to reverse, the rules say %s", r.OriginalLeft, r.OriginalID, o.originalLeft)
	case !r.GrantExpiresAt.Equal(o.grantExpires):
		return fmt.Sprintf("makes a grant that expires at %s, the rules say %s", clockTime(r.GrantExpiresAt), clockTime(o.grantExpires))
	case !sameNumber(r.CreditLimit, decimalOf(after.limit)):
		return fmt.Sprintf("leaves a credit limit of %s, the rules say %q", r.CreditLimit, after.limit)
	case r.HoldAfter.IsNegative() || r.HoldAfter.Cmp(r.TotalAfter.Add(r.CreditLimit)) > 0:
		return fmt.Sprintf("breaks 0 <= hold %s <= total %s + credit limit %s", r.HoldAfter, r.TotalAfter, r.CreditLimit)
	default:
		return ""
	}
}

func sameNumber(a wallet.Amount, b decimal.Decimal) bool {
	return decimal.RequireFromString(a.String()).Equal(b)
}
