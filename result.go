package wallet

import "time"

// Status says whether a command was applied.
type Status string

// The journal records both.
const (
	StatusApplied   Status = "applied"
	StatusUnapplied Status = "unapplied"
)

// Reason is the machine-readable reason for a refusal.
type Reason string

// Reasons of unapplied commands, and of input that cannot be recorded at all.
const (
	ReasonInsufficientFunds   Reason = "insufficient_funds"    // subtract of more than is available
	ReasonAlreadyExists       Reason = "already_exists"        // create of an existing wallet asset
	ReasonTooLate             Reason = "too_late"              // it would be recorded after its not_after
	ReasonScaleExceeded       Reason = "scale_exceeded"        // more decimals than the currency has
	ReasonVersionMismatch     Reason = "version_mismatch"      // the wallet does not have the expected_version
	ReasonHoldNotFound        Reason = "hold_not_found"        // the wallet has no such hold
	ReasonHoldClosed          Reason = "hold_closed"           // captured or released already
	ReasonHoldExpired         Reason = "hold_expired"          // it has expired
	ReasonHoldExceeded        Reason = "hold_exceeded"         // more than is left of it
	ReasonExpiryNotLater      Reason = "expiry_not_later"      // an expiry is only moved to a later time
	ReasonTooManyHolds        Reason = "too_many_holds"        // more than MaxOpenHolds would be open
	ReasonGrantExpired        Reason = "grant_expired"         // it has expired
	ReasonTooManyGrants       Reason = "too_many_grants"       // more than MaxOpenGrants would be open
	ReasonFrozen              Reason = "frozen"                // its debits or credits are
	ReasonFreezeExpired       Reason = "freeze_expired"        // the freeze would have ended already
	ReasonClosed              Reason = "closed"                // and not opened again
	ReasonNotEmpty            Reason = "not_empty"             // only an empty wallet is closed
	ReasonCreditLimitExceeded Reason = "credit_limit_exceeded" // more of it is used than it would be
	ReasonOriginalNotFound    Reason = "original_not_found"    // the wallet has no such command to reverse
	ReasonOriginalUnapplied   Reason = "original_unapplied"    // it was refused
	ReasonOriginalIsReversal  Reason = "original_is_reversal"  // a reversal is not reversed
	ReasonNotReversible       Reason = "not_reversible"        // of a type that does not change the total
	ReasonReversalExceeded    Reason = "reversal_exceeded"     // more than is left of it
	ReasonTooManyThresholds   Reason = "too_many_thresholds"   // more than MaxThresholds
	ReasonThresholdNotFound   Reason = "threshold_not_found"   // the wallet has no such threshold to remove
	ReasonIDConflict          Reason = "id_conflict"           // the id was used before with different content
	ReasonMalformed           Reason = "malformed"             // cannot be understood
	// ReasonTransactionRefused is the reason of the legs of a refused transaction, but for the
	// one that is the cause: that has its own.
	ReasonTransactionRefused Reason = "transaction_refused"

	// ReasonUnknownCurrency only occurs in an InvalidError: a currency that is not registered
	// has no wallet to record the refusal in.
	ReasonUnknownCurrency Reason = "unknown_currency"
)

// Result is the answer to a command, and the caller's receipt. Position and hash are the place
// of its journal entry in the wallet asset's hash chain, for refused commands too.
type Result struct {
	CommandID string `json:"command_id"`
	LegRef           // of a transaction
	// SentID is the id of a malformed command as it was sent, if it could be read. Its entry
	// is under an id of its own, so that the corrected command can go under this one.
	SentID      string      `json:"sent_id,omitempty"`
	Type        CommandType `json:"type"` // empty if it could not be read
	Status      Status      `json:"status"`
	Reason      Reason      `json:"reason,omitempty"`  // why unapplied
	Message     string      `json:"message,omitempty"` // the same in words
	Amount      Amount      `json:"amount,omitzero"`
	TotalBefore Amount      `json:"total_before"`
	TotalAfter  Amount      `json:"total_after"`
	HoldBefore  Amount      `json:"hold_before"`
	HoldAfter   Amount      `json:"hold_after"`
	// HoldID, HoldState, HoldLeft and HoldExpiresAt describe the hold that the command placed
	// or changed: what is still reserved, and until when.
	HoldID        string    `json:"hold_id,omitempty"`
	HoldState     HoldState `json:"hold_state,omitempty"`
	HoldLeft      Amount    `json:"hold_left,omitzero"`
	HoldExpiresAt time.Time `json:"hold_expires_at,omitzero"`
	// OriginalID is the command that a reversal is of, and OriginalLeft what can still be reversed
	// of it; absent if nothing.
	OriginalID   string `json:"original_id,omitempty"`
	OriginalLeft Amount `json:"original_left,omitzero"`
	// GrantExpiresAt is when the grant expires that the command made.
	GrantExpiresAt time.Time `json:"grant_expires_at,omitzero"`
	// Grants is for the entry alone: there may be a thousand.
	Grants string `json:"-"`
	// Frozen and Closed are the wallet's after the command.
	Frozen Frozen `json:"frozen,omitempty"`
	FreezeEnds
	Closed bool `json:"closed,omitempty"`
	// CreditLimit is by how much the total may be below 0 after the command; absent if it may not.
	CreditLimit Amount `json:"credit_limit,omitzero"`
	// Threshold is the name of the one that the command sets or removes, and Thresholds are those
	// that the wallet has after that, by name.
	Threshold  string     `json:"threshold,omitempty"`
	Thresholds Thresholds `json:"thresholds,omitempty"`
	// Crossed are the thresholds that the change of the available amount crossed, by name.
	Crossed Crossed `json:"crossed,omitempty"`
	// Version counts applied commands, from 1, without gaps; absent if unapplied.
	Version int64 `json:"version,omitempty"`
	// Position counts all recorded commands, from 1. It is absent for an id_conflict, which has
	// no entry because the id is already used.
	Position   int64     `json:"position,omitempty"`
	Hash       Hash      `json:"hash,omitzero"`
	RecordedAt time.Time `json:"recorded_at"` // Postgres's clock, microseconds, UTC
	// Replayed is true if the id had been answered before: this time nothing changed.
	Replayed bool `json:"replayed"`
}
