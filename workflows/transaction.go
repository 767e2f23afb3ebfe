package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/payloads"
)

// maxToldLegs is up to how many legs a transaction tells its wallets' workflows of itself.
const maxToldLegs = 10

// Transaction applies a transaction: commands for several wallet assets, all or none. It fails
// with UnappliedCommand, with the TransactionResult as its details, if the transaction is
// refused, and with InvalidCommand on bad input. Once it has begun it is applied, even if it is
// cancelled. Input: wallet.Transaction. If a schedule starts it, it needs no id: the id is made
// from the scheduled time.
func Transaction(ctx workflow.Context, payload converter.RawValue) (wallet.TransactionResult, error) {
	panicIfEncrypted(payload)
	t, err := transactionInput(ctx, payload)
	if err != nil {
		return wallet.TransactionResult{}, failure.Encode(err)
	}
	work, _ := workflow.NewDisconnectedContext(ctx)
	var out wallet.ApplyTransactionOutput
	summary := fmt.Sprintf("apply %d legs", len(t.Commands))
	if err := runStep(work, wallet.StepApplyTransaction, summary, t, &out); err != nil {
		return wallet.TransactionResult{}, failure.Encode(err)
	}
	refs := distinctWallets(t)
	metrics := workflow.GetMetricsHandler(ctx)
	CountExpired(metrics, out.Expired)
	countLegs(metrics, out.Result.Results)
	if !out.Recorded {
		if err := runStep(work, wallet.StepRecordTransaction, "record events", refs, nil); err != nil {
			return wallet.TransactionResult{}, failure.Encode(err)
		}
	}
	if out.Result.Status == wallet.StatusApplied && len(t.Commands) <= maxToldLegs {
		refresh(work, refs)
	}
	return out.Result, failure.Encode(out.Result.Err())
}

func transactionInput(ctx workflow.Context, payload converter.RawValue) (t wallet.Transaction, err error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return t, err
	}
	run := scheduledRun(ctx)
	if t, err = wallet.DecodeTransaction(data, run.CommandID()); err != nil || run.ScheduleID == "" || t.ID != run.CommandID() {
		return t, err
	}
	scheduled, err := scheduledTime(ctx, run)
	t.ID = scheduled.CommandID()
	return t, err
}

// runStep runs a step to completion: quickly if possible, patiently if not. The only errors it
// returns are the rules' own (*wallet.InvalidError).
func runStep(ctx workflow.Context, name, summary string, input, output any) error {
	quick := workflow.WithLocalActivityOptions(ctx, localOptions(summary))
	err := workflow.ExecuteLocalActivity(quick, name, input).Get(ctx, output)
	if err == nil || isFinal(err) {
		return failure.Decode(err)
	}
	panicIfUnreadable(name, err)
	workflow.GetLogger(ctx).Warn("step is slow to succeed, going on as a regular activity", "step", name, "error", err)
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, regularOptions(summary)), name, input).Get(ctx, output)
	if err != nil && !isFinal(err) {
		panic(fmt.Errorf("step %s: %w", name, err)) // a result that cannot be read: see walletAsset.step
	}
	return failure.Decode(err)
}

// refresh tells the wallets' workflows, if they run, that others have changed their rows. It is
// tried once: a wallet that is not told knows it at its next command.
func refresh(ctx workflow.Context, refs []wallet.AssetRef) {
	options := workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 2 * time.Second, Summary: "tell the wallets' workflows", RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	}
	if err := workflow.ExecuteLocalActivity(workflow.WithLocalActivityOptions(ctx, options), wallet.ActivityRefreshWallets, refs).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Debug("wallets' workflows were not told of a transaction", "error", err)
	}
}

func distinctWallets(t wallet.Transaction) (refs []wallet.AssetRef) {
	seen := map[wallet.AssetRef]bool{}
	for _, leg := range t.Commands {
		if !seen[leg.AssetRef] {
			refs, seen[leg.AssetRef] = append(refs, leg.AssetRef), true
		}
	}
	return refs
}
