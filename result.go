package wallet

import "time"

// Status is what became of a command.
type Status string

// The two fates of a command. Both are recorded.
const (
	StatusApplied   Status = "applied"
	StatusUnapplied Status = "unapplied"
)

// Reason says, for machines, why a command was refused.
type Reason string

// Reasons of unapplied commands, and of input that can have no record at all.
const (
	ReasonInsufficientFunds Reason = "insufficient_funds" // subtract of more than is available
	ReasonAlreadyExists     Reason = "already_exists"     // create of an existing wallet asset
	ReasonScaleExceeded     Reason = "scale_exceeded"     // more decimals than the currency has
	ReasonHoldNotFound      Reason = "hold_not_found"     // the wallet has no such hold
	ReasonHoldClosed        Reason = "hold_closed"        // captured or released already
	ReasonHoldExpired       Reason = "hold_expired"       // its time is over
	ReasonHoldExceeded      Reason = "hold_exceeded"      // more than is left of it
	ReasonExpiryNotLater    Reason = "expiry_not_later"   // an expiry is only moved to a later time
	ReasonTooManyHolds      Reason = "too_many_holds"     // more than MaxOpenHolds would be open
	ReasonIDConflict        Reason = "id_conflict"        // the id was used with other content
	ReasonMalformed         Reason = "malformed"          // cannot be understood

	// ReasonUnknownCurrency belongs to InvalidError: a currency that is not
	// registered can have no wallet to record the refusal in.
	ReasonUnknownCurrency Reason = "unknown_currency"
)

// Result is the answer to a command, and the caller's receipt: position and hash
// are the place of its journal entry in the wallet asset's hash chain, also when
// it was refused.
type Result struct {
	CommandID string `json:"command_id"`
	// SentID is the id of a malformed command as it was sent, if it could be read. Its entry
	// is under an id of its own, so that the corrected command can go under this one.
	SentID      string      `json:"sent_id,omitempty"`
	Type        CommandType `json:"type"` // empty if it could not be read
	Status      Status      `json:"status"`
	Reason      Reason      `json:"reason,omitempty"`  // why unapplied
	Message     string      `json:"message,omitempty"` // the same for people
	Amount      Amount      `json:"amount,omitzero"`
	TotalBefore Amount      `json:"total_before"`
	TotalAfter  Amount      `json:"total_after"`
	HoldBefore  Amount      `json:"hold_before"`
	HoldAfter   Amount      `json:"hold_after"`
	// HoldID, HoldState, HoldLeft and HoldExpiresAt are of the hold that the command has
	// placed or changed: what is still reserved of it, and until when.
	HoldID        string    `json:"hold_id,omitempty"`
	HoldState     HoldState `json:"hold_state,omitempty"`
	HoldLeft      Amount    `json:"hold_left,omitzero"`
	HoldExpiresAt time.Time `json:"hold_expires_at,omitzero"`
	// Version counts applied commands, from 1, without gaps; absent if unapplied.
	Version int64 `json:"version,omitempty"`
	// Position counts all recorded commands, from 1; absent for an id_conflict,
	// which leaves no entry since the id is taken.
	Position   int64     `json:"position,omitempty"`
	Hash       Hash      `json:"hash,omitzero"`
	RecordedAt time.Time `json:"recorded_at"` // Postgres's clock, microseconds, UTC
	// Replayed is true when the id had been answered before: nothing changed now.
	Replayed bool `json:"replayed"`
}
