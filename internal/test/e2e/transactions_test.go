package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nexus-rpc/sdk-go/nexus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/walletnexus"
)

func (w *world) give(user, amount string) {
	_, err := w.wallets.Add(context.Background(), starter.Change{UserID: user, Currency: "USD", CommandID: "funds", Amount: wallet.MustAmount(amount)})
	require.NoError(w.t, err)
}

func (w *world) total(user string) string {
	asset, err := w.read.Asset(context.Background(), user, "USD")
	require.NoError(w.t, err)
	return asset.Total.String()
}

func (w *world) verified() {
	report, err := w.read.Verify(context.Background(), trail.VerifyOptions{})
	require.NoError(w.t, err)
	require.Empty(w.t, report.Findings)
}

func (w *world) transfer(id, amount string) starter.Transfer {
	return starter.Transfer{ID: w.user + id, FromUserID: w.user, ToUserID: w.user + "-shop", Currency: "USD", Amount: wallet.MustAmount(amount)}
}

func TestATransferIsOnePiece(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "10")
	first, err := w.wallets.Transfer(t.Context(), w.transfer("t-1", "4"))
	require.NoError(t, err)
	require.Equal(t, []string{"6.00", "4.00"}, []string{w.total(w.user), w.total(w.user + "-shop")})
	again, err := w.wallets.Transfer(t.Context(), w.transfer("t-1", "4"))
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, first.Results[1].Hash, again.Results[1].Hash)

	_, err = w.wallets.Transfer(t.Context(), w.transfer("t-1", "5"))
	require.ErrorIs(t, err, wallet.ReasonIDConflict)
	refused, err := w.wallets.Transfer(t.Context(), w.transfer("t-2", "99"))
	require.ErrorIs(t, err, wallet.ReasonInsufficientFunds)
	require.Equal(t, int64(1), refused.RefusedLeg)
	require.Len(t, refused.Results, 2, "each leg has its receipt")

	w.eventually("the wallet's workflow knows of it", func() bool {
		state, err := w.wallets.State(context.Background(), w.user, "USD")
		require.NoError(t, err)
		return state.Total.String() == "6.00"
	})
	next, err := w.wallets.Subtract(t.Context(), w.change("next", "6"))
	require.NoError(t, err)
	require.Equal(t, "0.00", next.TotalAfter.String())
	w.requireSound()
	w.verified()
}

// TestTwoTransactionsOfOneID begin at the same time, and one of them waits for the other's workflow.
func TestTwoTransactionsOfOneID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "100")
	for n := range 5 {
		var calls errgroup.Group
		outcomes := make([]error, 2)
		for i := range outcomes {
			calls.Go(func() error {
				_, outcomes[i] = w.wallets.Transfer(context.Background(), w.transfer(fmt.Sprint("same-", n), fmt.Sprint(i+1)))
				return nil
			})
		}
		require.NoError(t, calls.Wait())
		winner := 0
		if outcomes[0] != nil {
			winner = 1
		}
		require.NoError(t, outcomes[winner])
		require.ErrorIs(t, outcomes[1-winner], wallet.ReasonIDConflict)
	}
	w.verified()
}

// TestATransactionByAnySDK starts the workflow as other programs do: by the temporal CLI and as a
// child of a workflow.
func TestATransactionByAnySDK(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "10")
	input := func(id, amount string) string {
		return fmt.Sprintf(`{"id": %q, "must_balance": true, "description": "by hand", "commands": [
			{"user_id": %q, "currency": "USD", "type": "subtract", "amount": %q},
			{"user_id": %[4]q, "currency": "USD", "type": "add", "amount": %[3]q}]}`, id, w.user, amount, w.user+"-shop")
	}
	run := func(id, input string) (string, bool) {
		return w.cli("workflow", "execute", "--task-queue", w.queue, "--type", wallet.WorkflowTransaction, "--workflow-id", id, "--input", input)
	}
	out, ok := run(w.user+"/1", input(w.user+"cli", "1.50"))
	require.True(t, ok, out)
	contains(t, out, `"status":"applied"`)
	out, ok = run(w.user+"/2", input(w.user+"cli-2", "99"))
	require.False(t, ok)
	contains(t, out, "because of leg 1 of 2", "8.50 available")
	for bad, why := range map[string]string{
		`{"id": "x"}`:                "has 0 commands: send 2 to 100",
		`{"id": "x", "command": []}`: `has no field "command"`,
		`{"id": "x", "commands": [{"user_id": "a", "currency": "USD", "type": "add", "amount": 5}, {}]}`:                "is not a JSON string",
		`{"id": "x", "commands": [{"user_id": "a", "currency": "USD", "type": "add", "amount": "5", "id": "own"}, {}]}`: "takes no id",
	} {
		out, ok = run(w.user+"/3", bad)
		require.False(t, ok)
		contains(t, out, why)
	}

	parent := func(ctx workflow.Context) (result wallet.TransactionResult, err error) {
		ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{TaskQueue: w.queue, WorkflowID: wallet.TransactionWorkflowID(w.user + "child")})
		err = workflow.ExecuteChildWorkflow(ctx, wallet.WorkflowTransaction, json.RawMessage(input(w.user+"child", "2"))).Get(ctx, &result)
		return result, err
	}
	other := worker.New(w.temporal, w.queue+"-parents", worker.Options{})
	other.RegisterWorkflowWithOptions(parent, workflow.RegisterOptions{Name: "parent"})
	require.NoError(t, other.Start())
	defer other.Stop()
	started, err := w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: w.queue + "-parents"}, "parent")
	require.NoError(t, err)
	var result wallet.TransactionResult
	require.NoError(t, started.Get(t.Context(), &result))
	require.Equal(t, wallet.StatusApplied, result.Status)
	require.Equal(t, []string{"6.50", "3.50"}, []string{w.total(w.user), w.total(w.user + "-shop")})
	events, err := w.read.Events(t.Context(), trail.EventFilter{UserID: w.user, Currency: "USD"})
	require.NoError(t, err)
	require.Equal(t, wallet.LegRef{TransactionID: w.user + "child", Leg: 1, Legs: 2}, events[len(events)-1].LegRef, "other modules see what belongs together")
	w.verified()
}

// TestACallerWhoGaveUpOnATransaction gets its answer later, under the same id.
func TestACallerWhoGaveUpOnATransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "10")
	w.worker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := w.wallets.Transfer(ctx, w.transfer("late", "4"))
	var missing *starter.NoAnswerError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "transaction \""+w.user+"late\" has no answer yet")
	require.NoError(t, w.temporal.TerminateWorkflow(t.Context(), wallet.TransactionWorkflowID(w.user+"late"), "", "by hand"))
	w.startWorker(w.db)
	r, err := w.wallets.Transfer(t.Context(), w.transfer("late", "4"))
	require.NoError(t, err)
	require.Equal(t, wallet.StatusApplied, r.Status)
	require.Equal(t, "6.00", w.total(w.user))
}

// TestATerminatedTransactionIsStartedAgain has somebody terminate its workflow while its caller waits.
func TestATerminatedTransactionIsStartedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "10")
	w.worker.Stop()
	var calls errgroup.Group
	calls.Go(func() error { _, err := w.wallets.Transfer(context.Background(), w.transfer("t", "4")); return err })
	w.eventually("the workflow is terminated", func() bool {
		return w.temporal.TerminateWorkflow(context.Background(), wallet.TransactionWorkflowID(w.user+"t"), "", "by hand") == nil
	})
	w.startWorker(w.db)
	require.NoError(t, calls.Wait())
	require.Equal(t, "6.00", w.total(w.user))
}

func TestATransactionByNexus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newNexusCaller(w)
	w.give(w.user, "10")
	transaction := func(id, amount string) wallet.Transaction {
		leg := func(user string, kind wallet.CommandType) wallet.Leg {
			return wallet.Leg{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"}, Command: wallet.Command{Type: kind, Amount: wallet.MustAmount(amount)}}
		}
		return wallet.Transaction{ID: w.user + id, MustBalance: true, Commands: []wallet.Leg{leg(w.user, wallet.TypeSubtract), leg(w.user+"-shop", wallet.TypeAdd)}}
	}
	answer, err := c.do(walletnexus.Transaction.Name(), transaction("1", "4"))
	require.NoError(t, err)
	require.Equal(t, "applied", answer["status"])
	_, err = c.do(walletnexus.Transaction.Name(), transaction("2", "7"))
	require.ErrorContains(t, err, "because of leg 1 of 2: cannot subtract 7.00 USD: 6.00 available")
	_, err = c.do(walletnexus.Transaction.Name(), map[string]any{"id": "x", "commands": []any{}})
	var bad *nexus.HandlerError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, nexus.HandlerErrorTypeBadRequest, bad.Type)
	require.Equal(t, "4.00", w.total(w.user+"-shop"))
}

// TestAnotherTransactionsMistakeIsNotMine attaches to the running workflow of an invalid transaction
// that has the same id.
func TestAnotherTransactionsMistakeIsNotMine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(w.user, "10")
	w.worker.Stop()
	wrong := w.transfer("t", "4")
	wrong.Currency = "NOPE"
	var calls errgroup.Group
	calls.Go(func() error {
		_, err := w.wallets.Transfer(context.Background(), wrong)
		var invalid *wallet.InvalidError
		if errors.As(err, &invalid) || errors.Is(err, wallet.ReasonIDConflict) { // whichever is looked at first
			return nil
		}
		return fmt.Errorf("the wrong one got %w", err)
	})
	id := wallet.TransactionWorkflowID(w.user + "t")
	w.eventually("the wrong one is running", func() bool {
		_, err := w.temporal.DescribeWorkflowExecution(context.Background(), id, "")
		return err == nil
	})
	calls.Go(func() error { _, err := w.wallets.Transfer(context.Background(), w.transfer("t", "4")); return err })
	time.Sleep(200 * time.Millisecond) // it attaches; if it comes later the test says less, and passes
	w.startWorker(w.db)
	require.NoError(t, calls.Wait())
	require.Equal(t, "6.00", w.total(w.user))
}
