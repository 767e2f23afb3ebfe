package wallet

import (
	"errors"
	"fmt"
	"time"
)

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

// Names of the failures that Temporal clients see.
const (
	FailureUnappliedCommand = "UnappliedCommand" // details: a Result
	FailureInvalidCommand   = "InvalidCommand"   // details: an InvalidError
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

// Err is nil for an applied command and an *UnappliedError for a refused one.
func (r Result) Err() error {
	if r.Status == StatusApplied {
		return nil
	}
	return &UnappliedError{Result: r}
}

// UnappliedError is a refusal: a recorded fact, final for its command id.
type UnappliedError struct{ Result Result }

func (e *UnappliedError) Error() string {
	return fmt.Sprintf("command %s was not applied: %s (%s)", quote(e.Result.CommandID), e.Result.Message, e.Result.Reason)
}

// InvalidError is input that no wallet takes: it names the field, the value and
// the remedy. Its JSON is the details of the InvalidCommand failure.
type InvalidError struct {
	Reason  Reason `json:"reason"` // malformed or unknown_currency
	Field   string `json:"field"`
	Value   string `json:"value"` // shortened to 60 characters
	Message string `json:"message"`
}

func (e *InvalidError) Error() string { return e.Message }

// ErrBusy says that a wallet has too much under way to take another update now.
var ErrBusy = errors.New("the wallet is busy")

func invalid(field, value, format string, args ...any) error {
	return &InvalidError{Reason: ReasonMalformed, Field: field, Value: shorten(value, 60), Message: shorten(fmt.Sprintf(format, args...), 1000)}
}

// shorten bounds a caller's text and makes it storable, for messages travel in
// protobuf, which refuses broken UTF-8.
func shorten(text string, characters int) string {
	runes := []rune(storable(text[:min(len(text), 4*characters+4)]))
	if len(runes) > characters {
		return string(runes[:characters]) + "…"
	}
	return string(runes)
}

// InvalidEncoding is the error for a payload that is not in the encoding wanted.
func InvalidEncoding(got, want string) error {
	return invalid("encoding", got, "payload encoding %s is not supported: send %s", quote(got), want)
}

// UnknownCurrency is the error for a currency that nobody registered.
func UnknownCurrency(currency string) error {
	return &InvalidError{Reason: ReasonUnknownCurrency, Field: "currency", Value: currency,
		Message: fmt.Sprintf("currency %s is not registered: use one that is, or have it added with \"wallet currency add %s --scale N\" (N decimals)", quote(currency), currency)}
}
