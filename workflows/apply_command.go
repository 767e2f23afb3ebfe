package workflows

import (
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/markdown"
	"github.com/valueledger/wallet/internal/service/payloads"
)

// ApplyCommand sends one command to its wallet and returns the Result. It is for callers that
// can start a workflow but not update another one: parent workflows in any SDK, schedules, the
// CLI's "workflow execute", the Web UI's Start button. It fails with UnappliedCommand if the
// command is refused and with InvalidCommand on bad input. Input: wallet.ApplyCommandInput. If
// a schedule starts it, the command needs no id: the id is made from the scheduled time.
func ApplyCommand(ctx workflow.Context, payload converter.RawValue) (wallet.Result, error) {
	panicIfEncrypted(payload)
	input, err := applyCommandInput(ctx, payload)
	if err != nil {
		return wallet.Result{}, failure.Encode(err)
	}
	var result wallet.Result
	options := sendOptions()
	options.Summary = change(input.Command.Type, input.Command.Amount) + " " + markdown.Escape(input.Currency)
	ctx = workflow.WithActivityOptions(ctx, options)
	if err := workflow.ExecuteActivity(ctx, wallet.ActivitySendCommand, input).Get(ctx, &result); err != nil {
		panicIfUnreadable(wallet.ActivitySendCommand, err)
		return wallet.Result{}, failure.Encode(failure.Decode(err))
	}
	return result, failure.Encode(result.Err())
}

func applyCommandInput(ctx workflow.Context, payload converter.RawValue) (wallet.ApplyCommandInput, error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return wallet.ApplyCommandInput{}, err
	}
	run := scheduledRun(ctx)
	input, err := wallet.DecodeApplyCommand(data, run.CommandID())
	if err != nil || run.ScheduleID == "" || input.Command.ID != run.CommandID() {
		return input, err
	}
	if err := input.Command.ValidateScheduled(); err != nil {
		return input, err
	}
	run.WithNext = input.ExpiresAtNext
	scheduled, err := scheduledTime(ctx, run)
	if err != nil {
		return input, err
	}
	return input.At(scheduled)
}

// scheduledTime finds the scheduled time of a run: one that was triggered by hand has the time
// of the click.
func scheduledTime(ctx workflow.Context, run wallet.ScheduledRun) (scheduled wallet.ScheduledRun, err error) {
	ctx = workflow.WithActivityOptions(ctx, lookupOptions())
	err = workflow.ExecuteActivity(ctx, wallet.ActivityScheduledTime, run).Get(ctx, &scheduled)
	return scheduled, failure.Decode(err)
}

// scheduledRun says which schedule started this run, and for what time; it is zero if no
// schedule did.
func scheduledRun(ctx workflow.Context) (run wallet.ScheduledRun) {
	//lint:ignore SA1019 GetTypedSearchAttributes leaves these out: it wants a type with each, and the server sets none
	attributes := workflow.GetInfo(ctx).SearchAttributes.GetIndexedFields()
	fromPayload := converter.GetDefaultDataConverter().FromPayload
	var at time.Time
	if fromPayload(attributes["TemporalScheduledById"], &run.ScheduleID) != nil || fromPayload(attributes["TemporalScheduledStartTime"], &at) != nil {
		return wallet.ScheduledRun{}
	}
	run.At = at.UTC()
	return run
}
