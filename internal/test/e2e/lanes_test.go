package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/walletnexus"
	"github.com/valueledger/wallet/workflows"
)

// laneCaller is a client with lanes.
func (w *world) laneCaller(lanes int) *starter.Client {
	c, err := starter.New(w.temporal, starter.Options{TaskQueue: w.queue, Lanes: lanes})
	require.NoError(w.t, err)
	return c
}

// answered is a result, refused or not.
func answered(t *testing.T, r wallet.Result, err error) wallet.Result {
	var unapplied *wallet.UnappliedError
	if !errors.As(err, &unapplied) {
		require.NoError(t, err)
	}
	return r
}

// recordedOf are the results that a wallet's journal has.
func (w *world) recordedOf(user string) map[string]wallet.Result {
	found := map[string]wallet.Result{}
	for _, e := range allPages(w.t, func(last *wallet.Entry) ([]wallet.Entry, error) {
		f := trail.CommandFilter{UserID: user, Currency: "USD"}
		if last != nil {
			f.AfterPosition = last.Position
		}
		return w.read.Commands(context.Background(), f)
	}) {
		found[e.CommandID] = e.Result()
	}
	return found
}

// requireNoWorkflow wants that the wallet's own workflow never ran.
func (w *world) requireNoWorkflow(user string) {
	_, err := w.temporal.DescribeWorkflowExecution(context.Background(), wallet.WorkflowID(user, "USD"), "")
	require.ErrorAs(w.t, err, new(*serviceerror.NotFound))
}

// TestLanesAnswerWithTheJournal sends 1,000 commands at once, for 100 wallets, a third of which are
// refused.
func TestLanesAnswerWithTheJournal(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 3} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			w := newWorld(t)
			c := w.laneCaller(lanes)
			users := numbered(w.user, 100)
			answers := make([]wallet.Result, 1000)
			var calls sync.WaitGroup
			for i := range answers {
				calls.Go(func() {
					command := add(fmt.Sprint("c-", i), "2.5")
					switch i % 3 {
					case 1:
						command = subtract(fmt.Sprint("c-", i), "1000")
					case 2:
						command.Type = wallet.TypeHold
						command.Amount = wallet.MustAmount("0.5")
						command.ExpiresIn = "1h"
					}
					r, err := c.Apply(context.Background(), users[i%100], "USD", command)
					answers[i] = answered(t, r, err)
				})
			}
			calls.Wait()
			for i, user := range users {
				recorded := w.recordedOf(user)
				require.Len(t, recorded, 1+10)
				for j := i; j < len(answers); j += 100 {
					require.Equal(t, recorded[fmt.Sprint("c-", j)], answers[j])
				}
				w.requireNoWorkflow(user)
			}
			w.requireVerified()
		})
	}
}

// TestALockedWalletDoesNotHoldItsLaneUp answers all others while another session has one locked.
func TestALockedWalletDoesNotHoldItsLaneUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.laneCaller(1)
	_, err := c.Add(t.Context(), w.change("funds", "1"))
	require.NoError(t, err)
	tx, err := w.owner.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, w.user)
	require.NoError(t, err)
	locked := make(chan error, 1)
	go func() {
		_, err := c.Add(context.Background(), w.change("waits", "1"))
		locked <- err
	}()
	var others errgroup.Group
	for i, user := range numbered(w.user+"-other", 50) {
		others.Go(func() error {
			for n := range 4 {
				if _, err := c.Apply(context.Background(), user, "USD", add(fmt.Sprint("c-", i, "-", n), "1")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, others.Wait())
	require.Empty(t, locked)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-locked)
	require.Len(t, w.recordedOf(w.user), 3)
}

func TestAnUnknownCurrencyInALane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, want := w.wallets.Apply(t.Context(), w.user, "NOPE", add("a", "1"))
	_, got := w.laneCaller(1).Apply(t.Context(), w.user, "NOPE", add("a", "1"))
	require.ErrorAs(t, got, new(*wallet.InvalidError))
	require.EqualError(t, got, want.Error())
}

// TestAnIDByLaneAndByWalletCountsOnce sends each id four times at once, by both ways.
func TestAnIDByLaneAndByWalletCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lanes := w.laneCaller(2)
	var calls sync.WaitGroup
	answers := make([]wallet.Result, 4*50)
	for i := range answers {
		calls.Go(func() {
			c := lanes
			if i%2 == 1 {
				c = w.wallets
			}
			r, err := c.Add(context.Background(), w.change(fmt.Sprint("c-", i/4), "1"))
			require.NoError(t, err)
			answers[i] = r
		})
	}
	calls.Wait()
	recorded := w.recordedOf(w.user)
	require.Len(t, recorded, 51)
	for i, r := range answers {
		want := recorded[fmt.Sprint("c-", i/4)]
		want.Replayed = r.Replayed
		require.Equal(t, want, r)
	}
	w.requireSound()
}

// TestAWalletKnowsWhatALaneDid has a wallet whose workflow runs, and that a lane then writes to.
func TestAWalletKnowsWhatALaneDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.laneCaller(1)
	_, err := w.wallets.Add(t.Context(), w.change("by-workflow", "10"))
	require.NoError(t, err)
	_, err = c.Hold(t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: "by-lane", Amount: wallet.MustAmount("4"), ExpiresIn: "1h"})
	require.NoError(t, err)
	state, err := w.wallets.State(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "0.00", state.Hold.String(), "it is not told")
	_, err = w.wallets.Add(t.Context(), w.change("then", "1"))
	require.NoError(t, err)
	state, err = w.wallets.State(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, []string{"11.00", "4.00"}, []string{state.Total.String(), state.Hold.String()})
	require.Equal(t, int64(1), state.OpenHolds)
	require.False(t, state.NextExpiry.IsZero())
	details := w.shown(w.workflowID())
	require.Contains(t, details, "by-lane", "among the open holds")
	require.NotContains(t, details, "has lost entries")
	require.Contains(t, w.shown(wallet.LaneWorkflowID(w.queue, 1)), "commands/s")
}

// shown is what the Web UI shows of a workflow.
func (w *world) shown(workflowID string) string {
	metadata, err := w.temporal.QueryWorkflow(context.Background(), workflowID, "", "__temporal_workflow_metadata")
	require.NoError(w.t, err)
	var shown sdkpb.WorkflowMetadata
	require.NoError(w.t, metadata.Get(&shown))
	return shown.CurrentDetails
}

// laneLoad has callers send through lanes, one command after the other, to wallets that they share.
// Each id is sent until it is answered. wait checks that each counted once.
func (w *world) laneLoad(lanes, callers, commands, wallets int) (wait func()) {
	c := w.laneCaller(lanes)
	var load sync.WaitGroup
	for caller := range callers {
		load.Go(func() {
			for n := range commands {
				user := fmt.Sprint(w.user, "-", (caller+n)%wallets)
				_, err := c.Apply(context.Background(), user, "USD", add(fmt.Sprint("c-", caller, "-", n), "1"))
				require.NoError(w.t, err)
			}
		})
	}
	return func() {
		load.Wait()
		total := 0
		for i := range wallets {
			for id := range w.recordedOf(fmt.Sprint(w.user, "-", i)) {
				if id != wallet.AutoCreate().ID {
					total++
				}
			}
		}
		require.Equal(w.t, callers*commands, total)
		w.requireVerified()
	}
}

func (w *world) laneProgress(commands int64) {
	count := func() (n int64) {
		require.NoError(w.t, w.owner.QueryRow(context.Background(), `SELECT count(*) FROM wallet_commands`).Scan(&n))
		return n
	}
	before := count()
	w.eventually("progress", func() bool { return count() >= before+commands })
}

func TestLanesTerminatedAndWorkersKilledLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker.Stop()
	kill := w.startProcess("first")
	wait := w.laneLoad(2, 40, 60, 30)
	for i := range 3 {
		w.laneProgress(200)
		_ = w.temporal.TerminateWorkflow(context.Background(), wallet.LaneWorkflowID(w.queue, 1+i%2), "", "test")
		w.laneProgress(100)
		next := w.startProcess(fmt.Sprint("worker-", i))
		kill()
		kill = next
	}
	wait()
}

// TestLanesContinueAsNewUnderLoad has a server that suggests it often.
func TestLanesContinueAsNewUnderLoad(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{TemporalSettings: []string{"limit.historyCount.suggestContinueAsNew=100"}})
	w.laneLoad(1, 60, 50, 40)()
	w.eventually("several runs", func() bool {
		list, err := w.temporal.ListWorkflow(context.Background(), listOf(wallet.LaneWorkflowID(w.queue, 1)))
		require.NoError(t, err)
		return len(list.Executions) >= 3
	})
	require.Contains(t, w.shown(wallet.LaneWorkflowID(w.queue, 1)), "3000", "counts go along")
}

// TestWorkersWithoutLanesAnswerAllTheSame has workers of a version before lanes.
func TestWorkersWithoutLanesAnswerAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker.Stop()
	old := worker.New(w.temporal, w.queue, worker.Options{})
	old.RegisterWorkflowWithOptions(workflows.WalletAsset, workflow.RegisterOptions{Name: wallet.WorkflowWalletAsset})
	old.RegisterWorkflowWithOptions(workflows.Transaction, workflow.RegisterOptions{Name: wallet.WorkflowTransaction})
	activities.New(w.db).Register(old)
	w.wallets.Register(old)
	require.NoError(t, old.Start())
	defer old.Stop()
	c := w.laneCaller(1)
	var calls errgroup.Group
	for i, user := range numbered(w.user, 20) {
		calls.Go(func() error {
			_, err := c.Apply(context.Background(), user, "USD", add(fmt.Sprint("c-", i), "1"))
			return err
		})
	}
	require.NoError(t, calls.Wait())
	r, err := c.Transfer(t.Context(), starter.Transfer{ID: w.user, FromUserID: w.user + "-1", ToUserID: w.user + "-2", Currency: "USD", Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
	require.Equal(t, wallet.StatusApplied, r.Status)
}

// TestHostileItemsDoNotStopALane sends what no starter sends.
func TestHostileItemsDoNotStopALane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.laneCaller(1)
	_, err := c.Add(t.Context(), w.change("a", "1"))
	require.NoError(t, err)
	id := wallet.LaneWorkflowID(w.queue, 1)
	for _, argument := range []any{nil, "text", 3, []any{}, make([]int, wallet.MaxBatch+1), map[string]int{"a": 1}, []byte("binary")} {
		handle, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: id, UpdateName: wallet.UpdateApplyLane, Args: []any{argument}, WaitForStage: client.WorkflowUpdateStageCompleted})
		if err == nil {
			err = handle.Get(t.Context(), nil)
		}
		require.Error(t, err, "%v", argument)
	}
	handle, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: wallet.UpdateApplyLane, WaitForStage: client.WorkflowUpdateStageCompleted,
		Args: []any{[]any{nil, "text", 3, []int{}, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: add("b", "1")}}}})
	require.NoError(t, err)
	var answers []byte
	require.NoError(t, handle.Get(t.Context(), &answers))
	split, err := wallet.SplitLaneAnswers(answers, 5)
	require.NoError(t, err)
	for i, b := range split {
		answer, err := wallet.ReadLaneAnswer(b)
		require.NoError(t, err)
		require.Equal(t, i < 4, answer.Invalid != nil)
	}
	require.NoError(t, w.temporal.SignalWorkflow(t.Context(), id, "", "any", "thing"))
	r, err := c.Add(t.Context(), w.change("c", "1"))
	require.NoError(t, err)
	require.Equal(t, "3.00", r.TotalAfter.String())
}

func TestNexusOperationsInALane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker.Stop()
	var err error
	w.worker, err = service.Start(t.Context(), service.Options{
		Temporal: w.temporal, Namespace: client.DefaultNamespace, Pool: w.db, TaskQueue: w.queue, Logger: zap.NewNop(), NexusLanes: 1,
	})
	require.NoError(t, err)
	caller := newNexusCaller(w)
	var answer wallet.Result
	run := caller.start(walletnexus.Add.Name(), walletnexus.Change{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, ID: "a", Amount: wallet.MustAmount("2")}, time.Minute)
	require.NoError(t, run.Get(t.Context(), &answer))
	require.Equal(t, w.recordedOf(w.user)["a"], answer)
	w.requireNoWorkflow(w.user)
}
