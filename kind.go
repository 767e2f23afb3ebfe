package wallet

import (
	"slices"
	"strings"
	"time"
)

// CommandType says what a command does.
type CommandType string

// The command types.
const (
	TypeCreate      CommandType = "create"       // open the wallet asset with zero amounts
	TypeAdd         CommandType = "add"          // total grows by amount
	TypeSubtract    CommandType = "subtract"     // total shrinks by amount, if that much is available
	TypeHold        CommandType = "hold"         // amount is reserved, if that much is available
	TypeCapture     CommandType = "capture"      // total shrinks by what was reserved, or a part of it
	TypeRelease     CommandType = "release"      // what was reserved, or a part of it, is available again
	TypeExpire      CommandType = "expire"       // by the service: a hold's time is over
	TypeExpireGrant CommandType = "expire_grant" // by the service: a grant's time is over
	TypeFreeze      CommandType = "freeze"       // debits, credits or both are refused
	TypeUnfreeze    CommandType = "unfreeze"     // every freeze ends
	TypeClose       CommandType = "close"        // everything is refused until it is opened again
	// TypeSetCreditLimit lets the total fall to minus the amount.
	TypeSetCreditLimit CommandType = "set_credit_limit"
	TypeReverse        CommandType = "reverse" // what an earlier command did to the total is undone, or a part of it
	// Entries that change the available amount say which thresholds they crossed.
	TypeSetThreshold    CommandType = "set_threshold"
	TypeRemoveThreshold CommandType = "remove_threshold"
)

// Kind describes a command type. Every other list of types is derived from the table kinds or
// checked against it.
type Kind struct {
	Type     CommandType
	Event    string   // the event_type of an applied one
	Required []string // required fields, out of those that only some types take
	Optional []string // optional fields, out of the same
	// Refuses lists the type's own reasons for a refusal.
	Refuses []Reason
	// direction is what must not be frozen, debits or credits. That of a reverse depends on what its
	// original did.
	direction Frozen
	// Service types are recorded only by the service itself.
	Service bool
	// apply is the rule: it returns the account after the command, or a refusal. Amounts have
	// the currency's decimals. now is when the entry is recorded.
	apply func(before Account, c Command, now time.Time) (Account, *Refusal)
}

// kinds is the only list of the command types.
var kinds = []Kind{
	{
		Type: TypeCreate, Event: "wallet_asset.created", Refuses: []Reason{ReasonAlreadyExists},
		apply: func(a Account, _ Command, _ time.Time) (Account, *Refusal) {
			if a.Exists() && !a.Closed {
				return a, refuse(ReasonAlreadyExists, "the %s wallet of user %s exists already", a.Currency, quote(a.UserID))
			}
			a.Closed = false
			return a, nil
		},
	},
	{
		Type: TypeAdd, Event: "wallet_asset.added", direction: FrozenCredits, Required: []string{"amount"}, Optional: []string{"expires_in", "expires_at", "priority"}, apply: add,
		Refuses: []Reason{ReasonGrantExpired, ReasonTooManyGrants},
	},
	{
		Type: TypeSubtract, Event: "wallet_asset.subtracted", direction: FrozenDebits, Required: []string{"amount"}, Refuses: []Reason{ReasonInsufficientFunds}, apply: subtract,
	},
	{
		Type: TypeHold, Event: "wallet_asset.held", direction: FrozenDebits, Optional: []string{"amount", "hold_id", "expires_in", "expires_at"}, apply: place,
		Refuses: []Reason{ReasonInsufficientFunds, ReasonTooManyHolds, ReasonHoldNotFound, ReasonHoldClosed, ReasonHoldExpired, ReasonExpiryNotLater},
	},
	{
		Type: TypeCapture, Event: "wallet_asset.captured", Required: []string{"hold_id"}, Optional: []string{"amount", "partial"}, apply: capture,
		Refuses: []Reason{ReasonHoldNotFound, ReasonHoldClosed, ReasonHoldExpired, ReasonHoldExceeded},
	},
	{
		Type: TypeRelease, Event: "wallet_asset.released", Required: []string{"hold_id"}, Optional: []string{"amount"}, apply: release,
		Refuses: []Reason{ReasonHoldNotFound, ReasonHoldClosed, ReasonHoldExpired, ReasonHoldExceeded},
	},
	{
		Type: TypeReverse, Event: "wallet_asset.reversed", Required: []string{"original_id"}, Optional: []string{"amount", "return_expired"}, apply: reverse,
		Refuses: []Reason{ReasonOriginalNotFound, ReasonOriginalUnapplied, ReasonOriginalIsReversal, ReasonNotReversible, ReasonReversalExceeded, ReasonInsufficientFunds, ReasonGrantExpired, ReasonTooManyGrants},
	},
	{
		Type: TypeFreeze, Event: "wallet_asset.frozen", Required: []string{"what"}, Optional: []string{"expires_in", "expires_at"}, apply: freeze,
		Refuses: []Reason{ReasonFreezeExpired},
	},
	{Type: TypeUnfreeze, Event: "wallet_asset.unfrozen", apply: unfreeze},
	{Type: TypeClose, Event: "wallet_asset.closed", apply: closeAsset, Refuses: []Reason{ReasonNotEmpty}},
	{Type: TypeSetCreditLimit, Event: "wallet_asset.credit_limit_set", Optional: []string{"amount"}, apply: setCreditLimit, Refuses: []Reason{ReasonCreditLimitExceeded}},
	{
		Type: TypeSetThreshold, Event: "wallet_asset.threshold_set", Required: []string{"threshold", "amount"}, apply: setThreshold,
		Refuses: []Reason{ReasonTooManyThresholds},
	},
	{
		Type: TypeRemoveThreshold, Event: "wallet_asset.threshold_removed", Required: []string{"threshold"}, apply: removeThreshold,
		Refuses: []Reason{ReasonThresholdNotFound},
	},
	{Type: TypeExpire, Event: "wallet_asset.hold_expired", Required: []string{"hold_id"}, apply: expire, Service: true},
	{Type: TypeExpireGrant, Event: "wallet_asset.grant_expired", Required: []string{"amount"}, apply: expireGrant, Service: true},
}

// Kinds returns all command types, including the service's own.
func Kinds() []Kind { return slices.Clone(kinds) }

// CallersKinds returns the types that callers may send. Every way to send commands supports all
// of them.
func CallersKinds() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k.Service })
}

// KindOf looks a command type up.
func KindOf(t CommandType) (Kind, bool) {
	for _, k := range kinds {
		if k.Type == t {
			return k, true
		}
	}
	return Kind{}, false
}

// RecordedReasons returns the reasons that a journal entry can have: those that apply to any
// command, and those of the types.
func RecordedReasons() []Reason {
	all := []Reason{ReasonMalformed, ReasonTooLate, ReasonScaleExceeded, ReasonVersionMismatch, ReasonClosed, ReasonFrozen, ReasonTransactionRefused}
	for _, k := range kinds {
		for _, reason := range k.Refuses {
			if !slices.Contains(all, reason) {
				all = append(all, reason)
			}
		}
	}
	return all
}

func (k Kind) allows(field string) bool {
	return slices.Contains(k.Required, field) || slices.Contains(k.Optional, field) || slices.Contains(conditions, field)
}

// callersTypes lists the types that callers may send: "create, add, subtract".
func callersTypes() string {
	var names []string
	for _, k := range CallersKinds() {
		names = append(names, string(k.Type))
	}
	return strings.Join(names, ", ")
}
