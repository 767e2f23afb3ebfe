package wallet

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxOpenHolds bounds how many holds of one wallet asset are open at once: a list that a
// person can look at, and a sum that a proof can add up.
const MaxOpenHolds = 1000

// maxHoldDays is the longest expires_in, in days: what is reserved for longer needs no
// expiry.
const maxHoldDays = 3650

// HoldState is what became of a hold.
type HoldState string

// The states of a hold. Only an open one changes; a hold that was captured in part is open
// as long as some of it is left.
const (
	HoldOpen     HoldState = "open"
	HoldCaptured HoldState = "captured" // all that was captured was taken, the rest given back
	HoldReleased HoldState = "released"
	HoldExpired  HoldState = "expired"
)

// Hold is a part of a wallet asset's total that is reserved.
type Hold struct {
	ID       string    `json:"hold_id"` // of the command that placed it
	State    HoldState `json:"state"`
	Amount   Amount    `json:"amount"`   // that was reserved, raises included
	Captured Amount    `json:"captured"` // that was taken from the total
	Released Amount    `json:"released"` // that was given back, also by expiry and by a last capture
	// ExpiresAt is when what is left is given back; zero for never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	PlacedAt  time.Time `json:"placed_at"`
	UpdatedAt time.Time `json:"updated_at"` // of its last entry
	Position  int64     `json:"position"`   // of its last entry
	// Grants are what it still reserves of grants.
	Grants GrantParts `json:"grants,omitempty"`
}

// Left is what is still reserved.
func (h Hold) Left() Amount { return h.Amount.Sub(h.Captured).Sub(h.Released) }

// IsOpen reports whether it can still be captured.
func (h Hold) IsOpen() bool { return h.State == HoldOpen }

// IsDue reports whether an open hold has expired: at the very moment it has.
func (h Hold) IsDue(now time.Time) bool {
	return h.IsOpen() && !h.ExpiresAt.IsZero() && !now.Before(h.ExpiresAt)
}

// close gives back what is left.
func (h Hold) close(as HoldState) Hold {
	h.Released = h.Released.Add(h.Left())
	h.State = as
	return h
}

// ExpirePrefix and the hold's id are the id of the command that lets it expire.
const ExpirePrefix = "_expire/"

// ExpireCommand is the command that the service itself records when a hold has expired.
func ExpireCommand(holdID string) Command {
	return Command{ID: ExpirePrefix + holdID, Type: TypeExpire, HoldID: holdID}
}

// dueHolds are the holds that have expired, by their expiry, then their id.
func (a Account) dueHolds(now time.Time) []Hold {
	due := slices.DeleteFunc(slices.Collect(maps.Values(a.Holds)), func(h Hold) bool { return !h.IsDue(now) })
	slices.SortFunc(due, func(x, y Hold) int {
		return cmp.Or(x.ExpiresAt.Compare(y.ExpiresAt), strings.Compare(x.ID, y.ID))
	})
	return due
}

// place reserves an amount, or raises or extends a hold that is open.
func place(a Account, c Command, now time.Time) (Account, *Refusal) {
	if c.HoldID != "" {
		return raise(a, c, now)
	}
	expiresAt, refused := c.expiry(now)
	if refused != nil {
		return a, refused
	}
	switch available := a.Available(); {
	case !expiresAt.IsZero() && !now.Before(expiresAt):
		return a, refuse(ReasonHoldExpired, "the hold would have expired already, at %s: send a later time under a new id", timeText(expiresAt))
	case c.Amount.Cmp(available) > 0:
		return a, refuse(ReasonInsufficientFunds, "cannot hold %s %s: %s", c.Amount, a.Currency, a.availableText())
	case a.OpenHolds >= MaxOpenHolds:
		return a, refuse(ReasonTooManyHolds, "%d holds are open, and no more than %d may be: capture or release some first", a.OpenHolds, MaxOpenHolds)
	}
	zero := c.Amount.Sub(c.Amount)
	a = a.spend(c.Amount, reserve)
	return a.replaceHold(Hold{}, Hold{ID: c.ID, State: HoldOpen, Amount: c.Amount, Captured: zero, Released: zero, ExpiresAt: expiresAt, PlacedAt: now, Grants: a.parts}), nil
}

func raise(a Account, c Command, now time.Time) (Account, *Refusal) {
	before, refused := a.openHold(c.HoldID, now)
	if refused != nil {
		return a, refused
	}
	after := before
	after.Amount = before.Amount.Add(c.Amount)
	expiresAt, refused := c.expiry(now)
	if refused != nil {
		return a, refused
	}
	if !expiresAt.IsZero() {
		if before.ExpiresAt.IsZero() || !expiresAt.After(before.ExpiresAt) {
			return a, refuse(ReasonExpiryNotLater, "hold %s already expires %s, and %s is not later: send a later time, or none to keep it",
				quote(c.HoldID), expiryText(before.ExpiresAt), timeText(expiresAt))
		}
		after.ExpiresAt = expiresAt
	}
	if available := a.Available(); c.Amount.Cmp(available) > 0 {
		return a, refuse(ReasonInsufficientFunds, "cannot raise hold %s by %s %s: %s", quote(c.HoldID), c.Amount, a.Currency, a.availableText())
	}
	if !c.Amount.IsZero() {
		a = a.spend(c.Amount, reserve)
		after.Grants = before.Grants.with(a.parts)
	}
	return a.replaceHold(before, after), nil
}

// capture takes what is held, or a part of it. What is left after it is given back, unless
// the command says that more will follow.
func capture(a Account, c Command, now time.Time) (Account, *Refusal) {
	before, amount, refused := a.partOfHold(c, now)
	if refused != nil {
		return a, refused
	}
	after := before
	after.Captured = before.Captured.Add(amount)
	if !c.Partial || after.Left().IsZero() {
		after = after.close(HoldCaptured)
	}
	a.Total = a.Total.Sub(amount)
	a = a.captureGrants(&before, &after, amount)
	return a.replaceHold(before, after), nil
}

// release gives back what is held, or a part of it.
func release(a Account, c Command, now time.Time) (Account, *Refusal) {
	before, amount, refused := a.partOfHold(c, now)
	if refused != nil {
		return a, refused
	}
	after := before
	after.Released = before.Released.Add(amount)
	if after.Left().IsZero() {
		after.State = HoldReleased
	}
	a = a.releaseGrants(&before, &after, amount)
	return a.replaceHold(before, after), nil
}

// expire gives back what is left of a hold whose time is over.
func expire(a Account, c Command, now time.Time) (Account, *Refusal) {
	before, known := a.Holds[c.HoldID]
	if !known || !before.IsDue(now) { // only a forged journal says otherwise
		return a, refuse(ReasonHoldNotFound, "hold %s is not due", quote(c.HoldID))
	}
	after := before.close(HoldExpired)
	a = a.releaseGrants(&before, &after, before.Left())
	return a.replaceHold(before, after), nil
}

// openHold is a hold that can be changed. One that is due has expired, even if its entry is
// still to come.
func (a Account) openHold(id string, now time.Time) (Hold, *Refusal) {
	h, known := a.Holds[id]
	switch {
	case !known:
		return h, refuse(ReasonHoldNotFound, "this wallet has no hold %s: use the id of the command that placed it", quote(id))
	case h.State == HoldExpired || h.IsDue(now):
		return h, refuse(ReasonHoldExpired, "hold %s expired %s: place another one", quote(id), expiryText(h.ExpiresAt))
	case !h.IsOpen():
		return h, refuse(ReasonHoldClosed, "hold %s is closed: %s captured, %s released", quote(id), h.Captured, h.Released)
	}
	return h, nil
}

// partOfHold is the open hold that a command is about, and how much of it: all that is left if
// the command names no amount.
func (a Account) partOfHold(c Command, now time.Time) (Hold, Amount, *Refusal) {
	h, refused := a.openHold(c.HoldID, now)
	switch {
	case refused != nil:
		return h, Amount{}, refused
	case c.Amount.IsZero():
		return h, h.Left(), nil
	case c.Amount.Cmp(h.Left()) > 0:
		return h, Amount{}, refuse(ReasonHoldExceeded, "hold %s has only %s %s left, less than %s: send at most what is left, under a new id", quote(h.ID), h.Left(), a.Currency, c.Amount)
	}
	return h, c.Amount, nil
}

// replaceHold puts a hold in the place of what it was before, which is empty for a new one.
func (a Account) replaceHold(before, after Hold) Account {
	if before.IsOpen() {
		a.Hold = a.Hold.Sub(before.Left())
		a.OpenHolds--
	}
	if after.IsOpen() {
		a.Hold = a.Hold.Add(after.Left())
		a.OpenHolds++
	}
	a.changed = &after
	return a
}

// expiry is when the hold of a command ends; zero if it names no time.
func (c Command) expiry(now time.Time) (time.Time, *Refusal) {
	if c.ExpiresIn == "" {
		return c.ExpiresAt.UTC(), nil
	}
	d, err := parseHoldDuration(c.ExpiresIn)
	if err != nil { // validation has seen to that, but for a forged journal
		return time.Time{}, &Refusal{ReasonMalformed, err.Error()}
	}
	return now.Add(d), nil
}

// validateHold checks what depends on several fields of a command on a hold.
func (c *Command) validateHold() error {
	if c.HoldID != "" {
		if err := validateName("hold_id", c.HoldID); err != nil {
			return err
		}
	}
	if c.ExpiresIn != "" {
		if _, err := parseHoldDuration(c.ExpiresIn); err != nil {
			return err
		}
	}
	if err := validateTime("expires_at", c.ExpiresAt); err != nil {
		return err
	}
	switch {
	case c.ExpiresIn != "" && !c.ExpiresAt.IsZero():
		return invalid("expires_at", fieldText(&c.ExpiresAt), "command %s has both expires_in and expires_at: send one of them", quote(c.ID))
	case c.Type == TypeHold && c.Amount == (Amount{}) && c.HoldID == "":
		return invalid("amount", "", "command %s has no amount: send %s", quote(c.ID), commandFields[0].help)
	case c.Type == TypeHold && c.Amount == (Amount{}) && c.ExpiresIn == "" && c.ExpiresAt.IsZero():
		return invalid("amount", "", "command %s neither raises hold %s nor extends it: send amount, or expires_in or expires_at, or both", quote(c.ID), quote(c.HoldID))
	}
	return nil
}

// holdDuration is whole days, hours, minutes and seconds, in this order.
var holdDuration = regexp.MustCompile(`^(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?$`)

// parseHoldDuration reads "15m", "7d" or "1d12h".
func parseHoldDuration(text string) (time.Duration, error) {
	seconds := int64(0)
	if parts := holdDuration.FindStringSubmatch(text); parts != nil {
		for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
			n, _ := strconv.ParseInt(parts[1+i], 10, 64) // nothing, or at most 9 digits
			seconds += n * int64(unit/time.Second)
		}
	}
	if seconds == 0 || seconds > maxHoldDays*24*60*60 {
		return 0, invalid("expires_in", text, `expires_in %s is not a duration above 0 and of at most %d days: send one such as "90s", "15m", "24h", "7d" or "1d12h"`, quote(text), maxHoldDays)
	}
	return time.Duration(seconds) * time.Second, nil
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func expiryText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return "at " + timeText(t)
}

// HoldOf is the hold that the entries of its commands, in order, say of it. It is read off
// what they have recorded, whatever the rules are now.
func HoldOf(id string, entries []Entry) (h Hold, placed bool) {
	for _, e := range entries {
		if e.Status != StatusApplied || e.HoldState == "" || e.TargetHoldID() != id {
			continue
		}
		if !placed {
			zero := e.TotalAfter.Sub(e.TotalAfter)
			h, placed = Hold{ID: id, Amount: zero, Captured: zero, PlacedAt: e.RecordedAt}, true
		}
		if e.Type == TypeHold {
			h.Amount = h.Amount.Add(e.Amount)
		}
		h.Captured = h.Captured.Add(e.TotalBefore.Sub(e.TotalAfter))
		left := e.HoldLeft
		if e.HoldState != HoldOpen {
			left = Amount{}
		}
		h.Released = h.Amount.Sub(h.Captured).Sub(left)
		parts, _ := ParseGrantParts(e.Grants)
		switch {
		case e.HoldState != HoldOpen:
			h.Grants = nil
		case e.Type == TypeHold:
			h.Grants = h.Grants.with(parts)
		default:
			h.Grants = h.Grants.without(parts)
		}
		h.State, h.ExpiresAt, h.UpdatedAt, h.Position = e.HoldState, e.HoldExpiresAt, e.RecordedAt, e.Position
	}
	return h, placed
}

// TargetHoldID names the hold that the entry is about; empty if there is none.
func (e Entry) TargetHoldID() string { return targetHoldID(e.Type, e.CommandID, e.HoldID) }
