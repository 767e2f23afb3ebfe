package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// runs counts the runs of the wallet's workflow, including those from continue-as-new.
func (w *world) runs() int {
	list, err := w.temporal.ListWorkflow(context.Background(), listOf(w.workflowID()))
	require.NoError(w.t, err)
	return len(list.Executions)
}

func listOf(workflowID string) *workflowservice.ListWorkflowExecutionsRequest {
	return &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = %q", workflowID)}
}

func TestThousandsOfUpdatesAndSignalsOverContinueAsNew(t *testing.T) {
	w := newWorld(t)
	updates, signals, runs := size(2500, 600, 200), size(12_000, 4_000, 2_500), size(6, 3, 2)
	var group sync.WaitGroup
	var nextUpdate, nextSignal atomic.Int64
	for range 8 { // one update per command, not coalesced by the starter, so that there are as many
		alone, err := starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
		require.NoError(t, err)
		group.Go(func() {
			for i := nextUpdate.Add(1); i <= int64(updates); i = nextUpdate.Add(1) {
				_, err := alone.Add(context.Background(), w.change(fmt.Sprint("u-", i), "1"))
				require.NoError(t, err)
			}
		})
	}
	for range 8 {
		group.Go(func() {
			for i := nextSignal.Add(1); i <= int64(signals); i = nextSignal.Add(1) {
				require.NoError(t, w.wallets.Send(context.Background(), w.user, "USD", add(fmt.Sprint("s-", i), "0.01")))
			}
		})
	}
	group.Wait()
	w.settled(int64(1 + updates + signals))
	_, err := w.wallets.Add(t.Context(), w.change("last", "1"))
	require.NoError(t, err)
	events, _ := w.requireSound()
	require.Len(t, events, 2+updates+signals)
	require.Equal(t, fmt.Sprintf("%d.%02d", updates+1+signals/100, signals%100), events[len(events)-1].TotalAfter.String())
	w.eventually("the runs in the list", func() bool { return w.runs() >= runs })
	w.eventually("all of them by their user", func() bool { return w.found() == int64(w.runs()) })
	state, err := w.wallets.State(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, int64(1+updates+signals), state.Counts.Applied+state.Counts.Replayed, "counts go along")
}

// TestCrashBetweenBalanceAndEventHeals changes the balance without recording the event, like a
// worker that dies between the two, deletes the workflow and its history, and checks that the
// next command completes the trail.
func TestCrashBetweenBalanceAndEventHeals(t *testing.T) {
	w := newWorld(t)
	_, err := w.wallets.Add(t.Context(), w.change("a", "1"))
	require.NoError(t, err)
	_, err = activities.New(w.db).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
		AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"},
		Commands: []wallet.Received{{Command: add("lost", "5")}},
	})
	require.NoError(t, err)
	require.NoError(t, w.temporal.TerminateWorkflow(t.Context(), w.workflowID(), "", "test"))
	_, err = w.temporal.WorkflowService().DeleteWorkflowExecution(t.Context(), &workflowservice.DeleteWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: w.workflowID()},
	})
	require.NoError(t, err)
	w.eventually("the history's end", func() bool {
		_, err := w.temporal.DescribeWorkflowExecution(context.Background(), w.workflowID(), "")
		return err != nil
	})

	// Even a refused command completes the trail.
	_, err = w.wallets.Subtract(t.Context(), w.change("b", "100"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	events, _ := w.requireSound()
	require.Equal(t, "lost", events[2].CommandID)
	r, err := w.wallets.Add(t.Context(), w.change("lost", "5"))
	require.NoError(t, err)
	require.True(t, r.Replayed, "the lost command's caller tries again and is told")
	require.Equal(t, "6.00", r.TotalAfter.String())
}

func TestTerminatedUnderLoadLosesAndDoublesNothing(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 25 {
				_, err := w.wallets.Add(context.Background(), w.change(fmt.Sprint("c-", i, "-", j), "1"))
				require.NoError(t, err)
			}
		})
	}
	for range 5 {
		before := w.position()
		w.eventually("progress", func() bool { p := w.position(); return p > before || p > 200 })
		_ = w.temporal.TerminateWorkflow(context.Background(), w.workflowID(), "", "test") // it may be between two runs, so ignore the error
	}
	group.Wait()
	events, _ := w.requireSound()
	require.Len(t, events, 201)
	require.Equal(t, "200.00", events[200].TotalAfter.String())
}

func TestAnotherWorkerGoesOn(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", add(fmt.Sprint("s-", i), "1")))
		if i == 10 {
			w.worker.Stop()
		}
	}
	w.startWorker(w.db)
	w.settled(31)
	events, _ := w.requireSound()
	for i := range 30 {
		require.Equal(t, fmt.Sprint("s-", i), events[i+1].CommandID)
	}
}

// TestPostgresIsDownForAWhile uses its own servers, because it stops one.
func TestPostgresIsDownForAWhile(t *testing.T) {
	dir := t.TempDir()
	stack, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, PostgresSettings: []string{"fsync=off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	url := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)

	require.NoError(t, migrations.AllowLogin(t.Context(), url, migrations.RoleApp, testenv.AppPassword))

	w := &world{t: t, temporal: testenv.Temporal(t), queue: testenv.Unique(t, "queue"), user: testenv.Unique(t, "u"), db: testenv.Pool(t, testenv.AppURL(t, url))}
	w.wallets, err = starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)
	w.read = trail.New(w.db)
	w.startWorker(w.db)
	t.Cleanup(func() { w.worker.Stop() })
	_, err = w.wallets.Add(t.Context(), w.change("before", "1"))
	require.NoError(t, err)

	require.NoError(t, stack.Postgres.Stop())
	for i := range 40 {
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", add(fmt.Sprint("s-", i), "1")))
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := w.wallets.Subtract(context.Background(), w.change("update", "41"))
		waiting <- err
	}()
	w.eventually("a pending activity with its failure", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
		require.NoError(t, err)
		for _, pending := range d.PendingActivities {
			if pending.ActivityType.Name == wallet.StepApplyCommands && pending.LastFailure != nil {
				require.Contains(t, pending.LastFailure.Message, "apply")
				return pending.State == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED || pending.State == enumspb.PENDING_ACTIVITY_STATE_STARTED
			}
		}
		return false
	})
	require.NoError(t, stack.Postgres.Start(t.Context()))
	require.NoError(t, <-waiting)
	events, _ := w.requireSound()
	require.Len(t, events, 2+40+1)
	for i := range 40 {
		require.Equal(t, fmt.Sprint("s-", i), events[i+2].CommandID)
	}
	require.Equal(t, "update", events[42].CommandID)
}

// TestAClientThatKnewAWalletStartsItAgain ends the workflow without the client knowing.
func TestAClientThatKnewAWalletStartsItAgain(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		for j := range 2 { // the second is sent without a start
			_, err := w.wallets.Add(t.Context(), w.change(fmt.Sprint("c-", i, "-", j), "1"))
			require.NoError(t, err)
		}
		require.NoError(t, w.temporal.TerminateWorkflow(t.Context(), w.workflowID(), "", "test"))
	}
	r, err := w.wallets.Add(t.Context(), w.change("last", "1"))
	require.NoError(t, err)
	require.Equal(t, "7.00", r.TotalAfter.String())
	w.requireSound()
}
