// Package nexushandler implements the Nexus service of package walletnexus on the wallet's own
// worker, and registers its endpoint.
package nexushandler

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nexus-rpc/sdk-go/nexus"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/payloads"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/walletnexus"
)

// answerMargin is how much of Temporal's time for a request (10 s) is reserved for reporting
// what is wrong: if Temporal itself gives up on a request, the caller only learns that it was
// late.
const answerMargin = time.Second

// New makes the service. Its operations are synchronous: a command's answer takes milliseconds,
// and Temporal retries an operation that takes longer.
func New(wallets *starter.Client, db *pgxpool.Pool) *nexus.Service {
	h := handler{wallets, trail.New(db), activities.NewDryRun(db)}
	service := nexus.NewService(walletnexus.Service)
	for _, kind := range wallet.CallersKinds() {
		service.MustRegister(operation(string(kind.Type), h.change(kind.Type)))
	}
	service.MustRegister(
		operation(walletnexus.Apply.Name(), h.apply),
		operation(walletnexus.Transaction.Name(), h.transaction),
		operation(walletnexus.DryRun.Name(), h.dryRun),
		operation(walletnexus.DryRunTransaction.Name(), h.dryRunTransaction),
		operation(walletnexus.Balance.Name(), h.balance),
	)
	return service
}

type handler struct {
	wallets *starter.Client
	read    trail.Reader
	dry     activities.DryRun
}

// operation takes its input raw: the SDK's own error for unreadable input has no details.
func operation[O any](name string, do func(context.Context, []byte) (O, error)) nexus.RegisterableOperation {
	return nexus.NewSyncOperation(name, func(ctx context.Context, payload converter.RawValue, _ nexus.StartOperationOptions) (answer O, err error) {
		data, err := payloads.JSON(payload)
		if err != nil {
			return answer, encode(err)
		}
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerMargin))
			defer cancel()
		}
		answer, err = do(ctx, data)
		return answer, encode(err)
	})
}

func (h handler) change(t wallet.CommandType) func(context.Context, []byte) (wallet.Result, error) {
	return func(ctx context.Context, data []byte) (wallet.Result, error) {
		var change walletnexus.Change
		if err := wallet.DecodeInput(data, &change); err != nil {
			return wallet.Result{}, err
		}
		return h.wallets.Apply(ctx, change.UserID, change.Currency, change.Command(t))
	}
}

func (h handler) apply(ctx context.Context, data []byte) (wallet.Result, error) {
	in, err := decodeApply(data)
	if err != nil {
		return wallet.Result{}, err
	}
	return h.wallets.Apply(ctx, in.UserID, in.Currency, in.Command)
}

func decodeApply(data []byte) (wallet.ApplyCommandInput, error) {
	in, err := wallet.DecodeApplyCommand(data, "")
	if err == nil && in.Command.ReplyTo != nil {
		err = &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "reply_to", Value: in.Command.ReplyTo.WorkflowID,
			Message: "reply_to reaches workflows of the wallet's namespace only: leave it out, the operation's result is the answer"}
	}
	return in, err
}

func (h handler) transaction(ctx context.Context, data []byte) (wallet.TransactionResult, error) {
	t, err := wallet.DecodeTransaction(data, "")
	if err != nil {
		return wallet.TransactionResult{}, err
	}
	return h.wallets.Transaction(ctx, t)
}

func (h handler) dryRun(ctx context.Context, data []byte) (wallet.DryRunResult, error) {
	in, err := decodeApply(data)
	if err != nil {
		return wallet.DryRunResult{}, err
	}
	result, err := h.dry.Apply(ctx, in.UserID, in.Currency, in.Command)
	if errors.As(err, new(*wallet.UnappliedError)) {
		err = nil
	}
	return result, err
}

func (h handler) dryRunTransaction(ctx context.Context, data []byte) (wallet.DryRunTransactionResult, error) {
	t, err := wallet.DecodeTransaction(data, "")
	if err != nil {
		return wallet.DryRunTransactionResult{}, err
	}
	result, err := h.dry.Transaction(ctx, t)
	if errors.As(err, new(*wallet.TransactionRefusedError)) {
		err = nil
	}
	return result, err
}

func (h handler) balance(ctx context.Context, data []byte) (wallet.Balance, error) {
	ref, err := wallet.DecodeAssetRef(data)
	if err != nil {
		return wallet.Balance{}, err
	}
	a, err := h.read.Asset(ctx, ref.UserID, ref.Currency)
	return a.Balance(), err
}

// encode gives an error its Nexus type. Anything not known to be final is UNAVAILABLE, which
// Temporal retries; the command id makes that harmless.
func encode(err error) error {
	if err == nil {
		return nil
	}
	kind, cause := outcome.Of(err), failure.Encode(err)
	var unapplied *wallet.UnappliedError
	var invalid *wallet.InvalidError
	message := err.Error()
	if errors.As(err, &unapplied) {
		message = unapplied.Result.Message
	} else if errors.As(err, &invalid) {
		message = invalid.Message
	}
	if kind.Nexus == "" {
		return &nexus.OperationError{State: nexus.OperationStateFailed, Message: message, Cause: cause}
	}
	return &nexus.HandlerError{Type: kind.Nexus, Message: message, Cause: cause}
}
