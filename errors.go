package wallet

import (
	"errors"
	"fmt"
)

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

// Unwrap makes errors.Is(err, ReasonHoldExpired) true of a refusal for that reason.
func (e *UnappliedError) Unwrap() error { return e.Result.Reason }

// Error makes a Reason something that errors.Is can look for.
func (r Reason) Error() string { return string(r) }

// InvalidError is input that no wallet accepts. It gives the field, the value and what to send
// instead. Its JSON is the details of the InvalidCommand failure.
type InvalidError struct {
	Reason  Reason `json:"reason"` // malformed or unknown_currency
	Field   string `json:"field"`
	Value   string `json:"value"` // shortened to 60 characters
	Message string `json:"message"`
}

func (e *InvalidError) Error() string { return e.Message }

// ErrBusy says that a wallet has too much in progress to accept another update now.
var ErrBusy = errors.New("the wallet is busy")

// UnknownFormatError says that a journal has entries in a format that this build does not know.
// A newer worker can continue the wallet.
type UnknownFormatError struct{ Format int64 }

func (e *UnknownFormatError) Error() string {
	return fmt.Sprintf("the journal has entries of format %d, this build knows those up to %d: run a newer version of the service", e.Format, CurrentFormat)
}

// InconsistentError says that the rows of a wallet asset contradict each other, so that no
// command of it can be decided. Somebody changed them behind the service's back. It passes
// when they are mended.
type InconsistentError struct{ UserID, Currency, Problem string }

func (e *InconsistentError) Error() string {
	return fmt.Sprintf("the rows of the %s wallet of user %s contradict each other: %s: run \"wallet verify\" for it, and mend the row that it names",
		e.Currency, quote(e.UserID), e.Problem)
}

func (a Asset) inconsistent(format string, args ...any) error {
	return &InconsistentError{a.UserID, a.Currency, fmt.Sprintf(format, args...)}
}

func invalid(field, value, format string, args ...any) error {
	return &InvalidError{Reason: ReasonMalformed, Field: field, Value: shorten(value, 60), Message: shorten(fmt.Sprintf(format, args...), 1000)}
}

// shorten cuts a caller's text and makes it storable: messages travel in protobuf, which
// refuses invalid UTF-8.
func shorten(text string, characters int) string {
	runes := []rune(storable(text[:min(len(text), 4*characters+4)]))
	if len(runes) > characters {
		return string(runes[:characters]) + "…"
	}
	return string(runes)
}

// InvalidEncoding is the error for a payload in an encoding that is not supported.
func InvalidEncoding(got, want string) error {
	return invalid("encoding", got, "payload encoding %s is not supported: send %s", quote(got), want)
}

// UnknownCurrency is the error for a currency that nobody registered.
func UnknownCurrency(currency string) error {
	return &InvalidError{Reason: ReasonUnknownCurrency, Field: "currency", Value: currency,
		Message: fmt.Sprintf("currency %s is not registered: use one that is, or have it added with \"wallet currency add %s --scale N\" (N decimals)", quote(currency), currency)}
}
