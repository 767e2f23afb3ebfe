package workflows

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/failure"
	"github.com/valueledger/wallet/internal/markdown"
)

// ApplyCommand carries one command to its wallet and returns the Result. It is
// for those who can start a workflow but not update another one: parent workflows
// in any SDK, schedules, the CLI's "workflow execute", the Web UI's Start button.
// A refused command fails it with UnappliedCommand, bad input with
// InvalidCommand. Input: wallet.ApplyCommandInput.
func ApplyCommand(ctx workflow.Context, payload converter.RawValue) (wallet.Result, error) {
	data, err := jsonOf(payload)
	if err != nil {
		return wallet.Result{}, failure.Encode(err)
	}
	input, err := wallet.DecodeApplyCommand(data)
	if err != nil {
		return wallet.Result{}, failure.Encode(err)
	}
	var result wallet.Result
	options := sendOptions()
	options.Summary = change(input.Command.Type, input.Command.Amount) + " " + markdown.Escape(input.Currency)
	ctx = workflow.WithActivityOptions(ctx, options)
	if err := workflow.ExecuteActivity(ctx, wallet.ActivitySendCommand, input).Get(ctx, &result); err != nil {
		return wallet.Result{}, failure.Encode(failure.Decode(err))
	}
	return result, failure.Encode(result.Err())
}
