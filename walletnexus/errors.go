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
	unapplied := &wallet.UnappliedError{}
	return decode(err, unapplied, &unapplied.Result)
}

// DecodeTransaction is Decode for the operation Transaction: a refusal is a
// *wallet.TransactionRefusedError.
func DecodeTransaction(err error) error {
	refused := &wallet.TransactionRefusedError{}
	return decode(err, refused, &refused.Result)
}

// decode returns refusal for a refusal, whose details it reads into result.
func decode(err, refusal error, result any) error {
	// A server may wrap the service's application error in its own.
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		found, ok := cause.(failure)
		if !ok {
			continue
		}
		switch found.Type() {
		case wallet.FailureUnappliedCommand:
			if detailsErr := found.Details(result); detailsErr != nil {
				return errors.Join(err, detailsErr)
			}
			return refusal
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
