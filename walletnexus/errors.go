package walletnexus

import (
	"errors"

	"github.com/valueledger/wallet"
)

// failure has the methods of Temporal's application errors. Finding errors by their methods
// lets callers use any version of the SDK.
type failure interface {
	Type() string
	Details(valuePtrs ...any) error
}

// Decode finds the *wallet.UnappliedError of a refusal, or the *wallet.InvalidError of bad
// input, in an operation's error. It returns other errors unchanged.
func Decode(err error) error {
	// A server may wrap the service's application error in its own.
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
