package workflows

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// Wallets that cannot exist: their currency is not registered, or their start is wrong.

// giveUp ends a wallet that cannot exist: every command gets the error, then the workflow
// completes. The details say why.
func (w *walletAsset) giveUp(ctx workflow.Context, cause error) error {
	w.trouble = &trouble{cause: cause, impossible: true}
	w.showDetails(ctx)
	for {
		w.receiveSignals(ctx)
		switch {
		case len(w.queue) > 0:
			if err := w.awaitReplies(ctx, maxReplies-wallet.MaxBatch); err != nil {
				return err
			}
			for _, q := range w.takeBatch() {
				w.refuse(ctx, q, cause)
			}
		case !workflow.AllHandlersFinished(ctx):
			if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) || w.hasQueued() }); err != nil {
				return err
			}
		case w.isAwaited(ctx):
			if err := w.awaitReplies(ctx, 0); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// refuse answers a command with the reason why its wallet cannot exist.
func (w *walletAsset) refuse(ctx workflow.Context, q queued, cause error) {
	command := q.received.Command
	q.fail(cause)
	w.log.Warn("command refused", "command_id", command.ID, "error", cause)
	refusal := wallet.Result{
		CommandID: command.ID, Type: command.Type, Amount: command.Amount, RecordedAt: workflow.Now(ctx).UTC(),
		Status: wallet.StatusUnapplied, Reason: wallet.ReasonUnknownCurrency, Message: cause.Error(),
	}
	w.countResults([]wallet.Result{refusal})
	w.reply(ctx, command.ReplyTo, &refusal)
}

// checkWorkflowID refuses a run whose id does not fit its input: it would be a second lock for
// the same wallet asset.
func checkWorkflowID(ctx workflow.Context, ref wallet.AssetRef) error {
	want, got := wallet.WorkflowID(ref.UserID, ref.Currency), workflow.GetInfo(ctx).WorkflowExecution.ID
	if got == want {
		return nil
	}
	return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "workflow_id", Value: got,
		Message: "workflow id \"" + got + "\" is not the one of this wallet: start it as \"" + want + "\""}
}

// refuseToRun fails the workflow, and an update that came with its start, with
// the same error.
func refuseToRun(ctx workflow.Context, cause error) error {
	refused := failure.Encode(cause)
	reject := func(converter.RawValue) error { return refused }
	for _, name := range []string{wallet.UpdateApply, wallet.UpdateApplyBatch, wallet.UpdateApplyBrief} {
		err := workflow.SetUpdateHandlerWithOptions(ctx, name,
			func(workflow.Context, converter.RawValue) error { return refused },
			workflow.UpdateHandlerOptions{Validator: reject})
		if err != nil {
			return err
		}
	}
	return refused
}
