package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/payloads"
)

// maxRefreshLegs is up to how many legs a transaction signals refresh to its wallets' workflows.
// Those of a larger one notice at their next command.
const maxRefreshLegs = 10

// Transaction applies a transaction: commands for several wallet assets, all or none. It fails
// with UnappliedCommand, with the TransactionResult as its details, if the transaction is
// refused, and with InvalidCommand on bad input. Once it has begun it is applied, even if it is
// cancelled. Input: wallet.Transaction. If a schedule starts it, it needs no id: the id is made
// from the scheduled time.
func Transaction(ctx workflow.Context, payload converter.RawValue) (wallet.TransactionResult, error) {
	panicIfEncrypted(payload)
	input, err := transactionInput(ctx, payload)
	if err != nil {
		return wallet.TransactionResult{}, failure.Encode(err)
	}
	t := &transaction{Transaction: input, stepper: stepper{log: log.With(workflow.GetLogger(ctx), "transaction_id", input.ID)}}
	t.of = t
	work, _ := workflow.NewDisconnectedContext(ctx)
	result, err := t.run(work, workflow.GetMetricsHandler(ctx))
	if err == nil {
		err = result.Err()
	}
	return result, failure.EncodeTransaction(err, input.RequestHash())
}

// transaction is the state of a Transaction workflow.
type transaction struct {
	stepper
	wallet.Transaction
}

func (t *transaction) run(ctx workflow.Context, metrics client.MetricsHandler) (wallet.TransactionResult, error) {
	var out wallet.ApplyTransactionOutput
	if err := t.step(ctx, wallet.StepApplyTransaction, fmt.Sprintf("apply %d legs", len(t.Commands)), t.Transaction, &out); err != nil {
		return out.Result, err
	}
	results := make([]wallet.Result, len(out.Result.Results))
	for i, leg := range out.Result.Results {
		results[i] = leg.Result
	}
	counts.Results(metrics, results)
	counts.Expired(metrics, out.Expired)
	counts.ExpiredGrants(metrics, out.ExpiredGrants)
	refs := t.Wallets()
	if !out.Recorded {
		if err := t.step(ctx, wallet.StepRecordTransaction, "record events", refs, nil); err != nil {
			return out.Result, err
		}
	}
	if out.Result.Status == wallet.StatusApplied && len(t.Commands) <= maxRefreshLegs {
		t.refreshWallets(ctx, refs)
	}
	return out.Result, nil
}

// refreshWallets tells the wallets' workflows, if they run, that others have changed their rows. It is
// tried once: a wallet that is not told knows it at its next command.
func (t *transaction) refreshWallets(ctx workflow.Context, refs []wallet.AssetRef) {
	options := workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 2 * time.Second, Summary: "tell the wallets' workflows", RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	}
	if err := workflow.ExecuteLocalActivity(workflow.WithLocalActivityOptions(ctx, options), wallet.ActivityRefreshWallets, refs).Get(ctx, nil); err != nil {
		t.log.Debug("wallets' workflows were not told", "error", err)
	}
}

// waiting counts the commands without an answer.
func (t *transaction) waiting() int { return len(t.Commands) }

// showDetails says in the Web UI what the transaction waits for.
func (t *transaction) showDetails(ctx workflow.Context) {
	var b strings.Builder
	if t.trouble != nil {
		t.trouble.writeStep(&b, t.waiting())
	}
	workflow.SetCurrentDetails(ctx, b.String())
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
	for _, leg := range t.Legs() {
		if err := leg.ValidateScheduled(); err != nil {
			return t, err
		}
	}
	scheduled, err := scheduledTime(ctx, run)
	t.ID = scheduled.CommandID()
	return t, err
}
