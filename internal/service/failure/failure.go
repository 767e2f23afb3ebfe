// Package failure is the only place that converts errors of the rules to Temporal failures and
// back.
package failure

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

// Encode gives an error its Temporal type: UnappliedCommand with the Result (of a transaction
// the TransactionResult), or InvalidCommand
// with the InvalidError. These are final; Busy is not. Any other error comes from Postgres or
// the network, stays as it is, and is retried until it succeeds.
func Encode(err error) error {
	var unapplied *wallet.UnappliedError
	var refused *wallet.TransactionRefusedError
	var invalid *wallet.InvalidError
	switch {
	case errors.As(err, &unapplied):
		return refusal(unapplied.Result.Message, unapplied.Result)
	case errors.As(err, &refused):
		return refusal(refused.Error(), refused.Result)
	case errors.As(err, &invalid):
		return temporal.NewNonRetryableApplicationError(invalid.Message, wallet.FailureInvalidCommand, nil, *invalid)
	case errors.Is(err, wallet.ErrBusy):
		return temporal.NewApplicationError(err.Error(), wallet.FailureBusy)
	default:
		return err
	}
}

func refusal(message string, result any) error {
	return temporal.NewApplicationErrorWithOptions(message, wallet.FailureUnappliedCommand, temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Category:     temporal.ApplicationErrorCategoryBenign, // a normal outcome, nothing to alert on
		Details:      []any{result},
	})
}

// EncodeTransaction is Encode for a transaction: bad input is InvalidCommand with the request hash
// as a second detail, because a caller may wait for the workflow of another transaction that has
// the same id.
func EncodeTransaction(err error, requestHash wallet.Hash) error {
	var invalid *wallet.InvalidError
	if errors.As(err, &invalid) {
		return temporal.NewNonRetryableApplicationError(invalid.Message, wallet.FailureInvalidCommand, nil, *invalid, requestHash)
	}
	return Encode(err)
}

// IsOfAnother reports whether a transaction's InvalidCommand is about another request.
func IsOfAnother(err error, requestHash wallet.Hash) bool {
	var application *temporal.ApplicationError
	var of wallet.Hash
	return errors.As(err, &application) && application.Type() == wallet.FailureInvalidCommand &&
		application.Details(&wallet.InvalidError{}, &of) == nil && !of.IsZero() && of != requestHash
}

// DecodeTransaction is Decode for what a transaction returned: a refusal is a
// *wallet.TransactionRefusedError.
func DecodeTransaction(err error) error {
	var application *temporal.ApplicationError
	if !errors.As(err, &application) || application.Type() != wallet.FailureUnappliedCommand {
		return Decode(err)
	}
	refused := &wallet.TransactionRefusedError{}
	if detailsErr := application.Details(&refused.Result); detailsErr != nil {
		return errors.Join(err, detailsErr)
	}
	return refused
}

// Decode finds the error of the rules in what a Temporal call returned: a
// *wallet.UnappliedError or a *wallet.InvalidError. It returns other errors unchanged.
func Decode(err error) error {
	var application *temporal.ApplicationError
	if !errors.As(err, &application) {
		return err
	}
	switch application.Type() {
	case wallet.FailureUnappliedCommand:
		unapplied := &wallet.UnappliedError{}
		if detailsErr := application.Details(&unapplied.Result); detailsErr != nil {
			return errors.Join(err, detailsErr)
		}
		return unapplied
	case wallet.FailureInvalidCommand:
		invalid := &wallet.InvalidError{}
		if detailsErr := application.Details(invalid); detailsErr != nil {
			return errors.Join(err, detailsErr)
		}
		return invalid
	default:
		return err
	}
}
