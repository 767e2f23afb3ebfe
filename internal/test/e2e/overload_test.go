package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

var full = flag.Bool("full", false, "overload with the sizes of docs/reliability.md (make limits)")

// size returns how much of something a test does: in full, normally, and with -short, which is how the race
// detector has it.
func size(inFull, normal, short int) int {
	switch {
	case *full:
		return inFull
	case testing.Short():
		return short
	default:
		return normal
	}
}

// TestAFloodOfSignalsWhilePostgresIsSlow sends like a Go program: 16 goroutines through one
// starter.Client.
func TestAFloodOfSignalsWhilePostgresIsSlow(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	w.flood(numbered("s", size(20_000, 2000, 500)), func(ctx context.Context, c wallet.Command) error {
		return w.wallets.Send(ctx, w.user, "USD", c)
	})
}

// TestAForeignFloodOfSignalsWhilePostgresIsSlow sends like programs without starter.Send: 16 at
// a time, each on its own.
func TestAForeignFloodOfSignalsWhilePostgresIsSlow(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	var refused atomic.Int64
	w.flood(numbered("s", size(20_000, 2000, 500)), func(ctx context.Context, c wallet.Command) error {
		for {
			_, err := w.temporal.SignalWithStartWorkflow(ctx, w.workflowID(), wallet.SignalCommand, c,
				client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: w.user, Currency: "USD"})
			var full *serviceerror.InvalidArgument
			if !errors.As(err, &full) {
				return err
			}
			if refused.Add(1) == 1 {
				t.Log("the caller sees:", err)
			}
			require.ErrorContains(t, err, "exceeded workflow execution limit for signal events")
			time.Sleep(time.Second)
		}
	})
	t.Log(refused.Load(), "signals were refused and sent again")
}

func (w *ownWorld) flood(ids []string, send func(context.Context, wallet.Command) error) {
	_, err := w.wallets.Add(w.t.Context(), w.change("before", "1"))
	require.NoError(w.t, err)
	w.slow()
	began := time.Now()
	group, ctx := errgroup.WithContext(w.t.Context())
	group.SetLimit(16)
	for _, id := range ids {
		group.Go(func() error { return send(ctx, add(id, "0.01")) })
	}
	require.NoError(w.t, group.Wait())
	sent := time.Since(began)
	handled := w.position()
	w.settled(int64(2 + len(ids)))
	w.t.Log(len(ids), "signals sent in", sent, ", handled by then:", handled, ", all after", time.Since(began))
	w.fast()
	w.requireUnharmed(append(ids, "before")...)
	w.logTaskFailures()
}

// TestSteadyUpdatesDoNotKeepARunFromItsEnd has a server with limits a twentieth of the usual ones, a
// slow Postgres and callers that leave no moment without an update in flight. A run that went on
// would be terminated by the server, with the signals in it.
func TestSteadyUpdatesDoNotKeepARunFromItsEnd(t *testing.T) {
	t.Parallel()
	const suggested, fatal = 200_000, 2_500_000
	w := newOwnWorld(t, devstack.Options{TemporalSettings: []string{
		fmt.Sprint("limit.historySize.suggestContinueAsNew=", suggested), fmt.Sprint("limit.historySize.error=", fatal),
	}})
	_, err := w.wallets.Add(t.Context(), w.change("before", "1"))
	require.NoError(t, err)
	_, err = w.link.Toxics.AddToxicJson(strings.NewReader(`{"type": "latency", "attributes": {"latency": 30}}`))
	require.NoError(t, err)
	const callers, calls, perCall = 7, 30, 50
	ids := []string{"before"}
	var busy atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for caller := range callers {
		for call := range calls {
			for i := range perCall {
				ids = append(ids, fmt.Sprintf("c-%d-%d-%d", caller, call, i))
			}
			ids = append(ids, fmt.Sprintf("s-%d-%d", caller, call))
		}
		group.Go(func() error {
			for call := range calls {
				commands := make([]wallet.Command, perCall)
				for i := range commands {
					commands[i] = add(fmt.Sprintf("c-%d-%d-%d", caller, call, i), "0.01")
					commands[i].Description = strings.Repeat("d", 200)
				}
				if err := w.wallets.Send(ctx, w.user, "USD", add(fmt.Sprintf("s-%d-%d", caller, call), "0.01")); err != nil {
					return err
				}
				for w.update(wallet.UpdateApplyBatch, commands) != nil { // not through starter, which sends it again itself
					if busy.Add(1); ctx.Err() != nil {
						return ctx.Err()
					}
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	w.settled(int64(1 + len(ids)))
	w.requireUnharmed(ids...)
	list, err := w.temporal.ListWorkflow(t.Context(), listOf(w.workflowID()))
	require.NoError(t, err)
	total := int64(0)
	for _, run := range list.Executions {
		require.Contains(t, []enumspb.WorkflowExecutionStatus{enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING}, run.Status)
		require.Less(t, run.HistorySizeBytes, int64(fatal/2))
		total += run.HistorySizeBytes
	}
	require.Greater(t, total, int64(fatal), "all of it in one run would have been too much")
	t.Log("runs:", len(list.Executions), ", bytes:", total, ", updates sent again:", busy.Load())
}

// logTaskFailures logs how many workflow tasks failed in the retained runs.
func (w *ownWorld) logTaskFailures() {
	causes := map[string]int{}
	list, err := w.temporal.ListWorkflow(context.Background(), listOf(w.workflowID()))
	require.NoError(w.t, err)
	for _, run := range list.Executions {
		history := w.temporal.GetWorkflowHistory(context.Background(), w.workflowID(), run.Execution.RunId, false, 0)
		for history.HasNext() {
			event, err := history.Next()
			require.NoError(w.t, err)
			if failed := event.GetWorkflowTaskFailedEventAttributes(); failed != nil {
				causes[failed.Cause.String()]++
			}
			if event.GetWorkflowTaskTimedOutEventAttributes() != nil {
				causes["timed out"]++
			}
			if event.GetActivityTaskScheduledEventAttributes() != nil {
				causes["regular activities"]++
			}
			if event.GetMarkerRecordedEventAttributes() != nil {
				causes["local activities"]++
			}
		}
	}
	w.t.Log("runs:", len(list.Executions), causes)
}

// TestThousandsOfNewWalletsAtOnce opens each with its first command, through one
// starter.Client, which has at most 256 in flight.
func TestThousandsOfNewWalletsAtOnce(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	w.openAtOnce(func(user string) error {
		r, err := w.wallets.Add(context.Background(), starter.Change{UserID: user, Currency: "USD", CommandID: "first", Amount: wallet.MustAmount("1")})
		if err == nil && r.Version != 2 {
			err = fmt.Errorf("version %d", r.Version)
		}
		return err
	})
}

// TestThousandsOfNewWalletsAtOnceBySignals sends them all at the same time, like programs
// without package starter, and repeats each with the same id until it is accepted.
func TestThousandsOfNewWalletsAtOnceBySignals(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	var again atomic.Int64
	w.openAtOnce(func(user string) error {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, err := w.temporal.SignalWithStartWorkflow(ctx, wallet.WorkflowID(user, "USD"), wallet.SignalCommand, add("first", "1"),
				client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: user, Currency: "USD"})
			cancel()
			if err == nil {
				return nil
			}
			again.Add(1)
		}
	})
	t.Log(again.Load(), "were sent again")
}

// openAtOnce opens thousands of wallets with the command "first", and waits until each has it.
func (w *ownWorld) openAtOnce(open func(user string) error) {
	users := numbered(w.user, size(5000, 300, 100))
	began := time.Now()
	var group errgroup.Group
	for _, user := range users {
		group.Go(func() error { return open(user) })
	}
	require.NoError(w.t, group.Wait())
	w.t.Log(len(users), "wallets after", time.Since(began))
	for _, user := range users {
		var journal []wallet.Entry
		w.eventually(user+"'s first command", func() (done bool) {
			var err error
			journal, err = w.read.Commands(w.t.Context(), trail.CommandFilter{UserID: user, Currency: "USD"})
			require.NoError(w.t, err)
			return len(journal) == 2
		})
		require.Equal(w.t, "first", journal[1].CommandID)
		w.requireHealthy(wallet.WorkflowID(user, "USD"))
	}
	w.t.Log("all are done after", time.Since(began))
	w.requireUnharmed()
}

// TestSendEndsNoRunWithoutWorkers has a history that others have filled while no worker runs.
func TestSendEndsNoRunWithoutWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", add("first", "1")))
	w.settled(2)
	w.worker.Stop()
	for range 21 {
		require.NoError(t, w.signal(strings.Repeat("x", 1_900_000)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// A signal that is not confirmed in time may be in the history or not: it is sent again.
	var sent int64
	send := func(patience time.Duration) error {
		ctx, done := context.WithTimeout(ctx, patience)
		defer done()
		return w.wallets.Send(ctx, w.user, "USD", sized(fmt.Sprint("s", sent), 4000))
	}
	for {
		err := send(time.Second)
		if errors.Is(err, wallet.ErrBusy) {
			break
		}
		require.NoError(t, ctx.Err(), "not confirmed: %v", err)
		if err == nil {
			sent++
		}
		require.Less(t, sent, int64(1000))
	}
	w.startWorker(w.db)
	require.NoError(t, send(time.Minute))
	w.settled(2 + 1 + sent + 1) // what others sent is the same text: one entry
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", add("last", "1")))
	w.settled(2 + 1 + sent + 1 + 1)
	w.requireSound()
}
