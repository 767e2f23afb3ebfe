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
	CommandID   string      `json:"command_id"`
	Type        CommandType `json:"type"` // empty if it could not be read
	Status      Status      `json:"status"`
	Reason      Reason      `json:"reason,omitempty"`  // why unapplied
	Message     string      `json:"message,omitempty"` // the same for people
	Amount      Amount      `json:"amount,omitzero"`
	TotalBefore Amount      `json:"total_before"`
	TotalAfter  Amount      `json:"total_after"`
	HoldBefore  Amount      `json:"hold_before"`
	HoldAfter   Amount      `json:"hold_after"`
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
