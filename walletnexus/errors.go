package walletnexus

import (
	"errors"

	"github.com/valueledger/wallet"
)

// failure is what Temporal's application errors have. They are found by their
// methods, so that a caller's version of the SDK is its own.
type failure interface {
	Type() string
	Details(valuePtrs ...any) error
}

// Decode finds in the error of an operation the *wallet.UnappliedError of a refusal
// or the *wallet.InvalidError of bad input. Other errors come back as they are.
func Decode(err error) error {
	// A server may put an application error around the service's own.
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		found, ok := cause.(failure)
		if !ok {
			continue
		}
		switch found.Type() {
		case wallet.FailureUnappliedCommand:
			unapplied := &wallet.UnappliedError{}
			if detailsErr := found.Details(&unapplied.Result); detailsErr != nil {
				return errors.Join(err, detailsErr)
			}
			return unapplied
		case wallet.FailureInvalidCommand:
			invalid := &wallet.InvalidError{}
			if detailsErr := found.Details(invalid); detailsErr != nil {
				return errors.Join(err, detailsErr)
			}
			return invalid
		}
	}
	return err
}
