package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// hold gives the wallet 100 and reserves 80 of it.
func (w *world) hold(id, expiresIn string) wallet.Result {
	_, err := w.wallets.Add(context.Background(), w.change("funds for "+id, "100"))
	require.NoError(w.t, err)
	change := w.change(id, "80")
	change.ExpiresIn = expiresIn
	r, err := w.wallets.Hold(context.Background(), change)
	require.NoError(w.t, err)
	return r
}

func (w *world) capture(id, holdID, amount string, partial bool) (wallet.Reason, error) {
	change := w.change(id, amount)
	change.HoldID, change.Partial = holdID, partial
	r, err := w.wallets.Capture(context.Background(), change)
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		err = nil
	}
	return r.Reason, err
}

// awaitClock waits until Postgres's clock has come to a time.
func (w *world) awaitClock(at time.Time) {
	_, err := w.owner.Exec(context.Background(), `SELECT pg_sleep(greatest(0, extract(epoch FROM $1::timestamptz - clock_timestamp())) + 0.001)`, at)
	require.NoError(w.t, err)
}

// stateOf is what a read says of a hold.
func (w *world) stateOf(id string) wallet.HoldState {
	holds, err := w.read.Holds(context.Background(), trail.HoldFilter{UserID: w.user, Currency: "USD"})
	require.NoError(w.t, err)
	for _, h := range holds {
		if h.ID == id {
			return h.State
		}
	}
	return ""
}

// expiries are the holds that events tell of as expired, in a trail that is sound.
func (w *world) expiries() (ids []string) {
	events, _ := w.requireSound()
	for _, e := range events {
		if e.EventType == "wallet_asset.hold_expired" {
			ids = append(ids, e.CommandID)
		}
	}
	return ids
}

// aTimerFired reports whether one did in any run of the wallet's workflow.
func (w *world) aTimerFired() bool {
	list, err := w.temporal.ListWorkflow(context.Background(), listOf(w.workflowID()))
	require.NoError(w.t, err)
	for _, run := range list.Executions {
		events := w.history(workflow.Execution{ID: w.workflowID(), RunID: run.Execution.RunId}).Events
		if slices.ContainsFunc(events, func(e *historypb.HistoryEvent) bool { return e.EventType == enumspb.EVENT_TYPE_TIMER_FIRED }) {
			return true
		}
	}
	return false
}

// TestEightyOfAHundredIsHeld looks everywhere for the 20 that are left.
func TestEightyOfAHundredIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	held := w.hold("order-7", "1h")
	require.Equal(t, "20.00", held.TotalAfter.Sub(held.HoldAfter).String())
	refused := func(r wallet.Result, err error) {
		require.ErrorIs(t, err, wallet.ReasonInsufficientFunds)
		require.Contains(t, r.Message, "20.00 available (total 100.00, hold 80.00)")
		require.Equal(t, "20.00", r.TotalAfter.Sub(r.HoldAfter).String())
	}
	refused(w.wallets.Hold(t.Context(), w.change("hold 30", "30")))
	refused(w.wallets.Subtract(t.Context(), w.change("subtract 30", "30")))

	asset, err := w.read.Asset(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "20.00", asset.Available().String())
	statement, err := w.read.Statement(t.Context(), w.user, "USD", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, "20.00", statement.Closing.Available().String())
	state, err := w.wallets.State(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "20.00", state.Available.String())
	metadata, err := w.temporal.QueryWorkflow(t.Context(), w.workflowID(), "", "__temporal_workflow_metadata")
	require.NoError(t, err)
	var shown sdkpb.WorkflowMetadata
	require.NoError(t, metadata.Get(&shown))
	require.Contains(t, strings.ReplaceAll(shown.CurrentDetails, "\u00a0", " "), "20.00 USD available")
	events, _ := w.requireSound()
	last := events[len(events)-1]
	require.Equal(t, "wallet_asset.held", last.EventType)
	require.Equal(t, "20.00", last.TotalAfter.Sub(last.HoldAfter).String())
}

// TestAHoldExpiresWhileAllWorkersAreStopped has nobody there at the time of expiry.
func TestAHoldExpiresWhileAllWorkersAreStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hold("order-7", "3s")
	w.worker.Stop()
	w.awaitClock(r.HoldExpiresAt)
	asset, err := w.read.Asset(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "100.00", asset.Available().String(), "reads count it as expired")
	require.Equal(t, wallet.HoldExpired, w.stateOf("order-7"))

	w.startWorker(w.db)
	_, err = w.wallets.Subtract(t.Context(), w.change("everything", "100"))
	require.NoError(t, err, "the first command finds the funds")
	for range 2 {
		reason, err := w.capture("late", "order-7", "", false)
		require.NoError(t, err)
		require.Equal(t, wallet.ReasonHoldExpired, reason)
	}
	require.Equal(t, []string{"_expire/order-7"}, w.expiries())
	w.requireVerified()
}

// TestEachExpiryComesOnceWhateverBecomesOfTheWorkflow has the timer where a workflow is
// there, and the sweep of the workers where it is not.
func TestEachExpiryComesOnceWhateverBecomesOfTheWorkflow(t *testing.T) {
	t.Parallel()
	servers := newOwnWorld(t, devstack.Options{TemporalSettings: []string{"limit.historyCount.suggestContinueAsNew=60"}})
	fates := []struct {
		name  string
		timer bool
		meet  func(w *world)
	}{
		{"untouched", true, func(*world) {}},
		{"terminated", false, func(w *world) {
			require.NoError(t, w.temporal.TerminateWorkflow(t.Context(), w.workflowID(), "", "test"))
		}},
		{"reset", true, (*world).resetToItsFirstTask},
		{"continued", true, func(w *world) {
			first := w.currentRun()
			for i := 0; w.currentRun() == first; i++ {
				_, err := w.wallets.Add(context.Background(), w.change(fmt.Sprint("more-", i), "1"))
				require.NoError(t, err)
			}
		}},
	}
	wallets := map[string]*world{}
	var group sync.WaitGroup
	for _, fate := range fates {
		w := *servers.world
		w.user += "-" + fate.name
		wallets[fate.name] = &w
		group.Go(func() {
			w.hold("order-7", "5s")
			fate.meet(&w)
		})
	}
	group.Wait()
	for _, fate := range fates {
		w := wallets[fate.name]
		w.eventually("the expiry of "+fate.name, func() bool {
			asset, err := w.read.Asset(t.Context(), w.user, "USD")
			require.NoError(t, err)
			return asset.Hold.IsZero()
		})
		w.eventually("its event", func() bool {
			e, err := w.read.Events(t.Context(), trail.EventFilter{UserID: w.user, Currency: "USD"})
			require.NoError(t, err)
			return len(e) > 0 && e[len(e)-1].EventType == "wallet_asset.hold_expired"
		})
		if fate.timer {
			w.eventually("a timer of "+fate.name, w.aTimerFired)
		}
	}
	for _, fate := range fates {
		w := wallets[fate.name]
		_, err := w.wallets.Add(t.Context(), w.change("afterwards", "1"))
		require.NoError(t, err)
		require.Equal(t, []string{"_expire/order-7"}, w.expiries(), fate.name)
	}
	servers.requireVerified()
}

// resetToItsFirstTask lets the workflow begin again; what it was sent comes once more.
func (w *world) resetToItsFirstTask() {
	var task int64
	for _, event := range w.history(workflow.Execution{ID: w.workflowID()}).Events {
		if event.EventType == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			task = event.EventId
			break
		}
	}
	_, err := w.temporal.ResetWorkflowExecution(context.Background(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: w.workflowID()},
		Reason: "test", WorkflowTaskFinishEventId: task, RequestId: testenv.Unique(w.t, "reset"),
	})
	require.NoError(w.t, err)
}

// TestAHundredCapturesAtOnceThroughTheWorkflow come from ten programs.
func TestAHundredCapturesAtOnceThroughTheWorkflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for id, amount := range map[string]string{"whole": "50", "parts": "50"} {
		_, err := w.wallets.Add(t.Context(), w.change("funds for "+id, amount))
		require.NoError(t, err)
		_, err = w.wallets.Hold(t.Context(), w.change(id, amount))
		require.NoError(t, err)
	}
	var mu sync.Mutex
	outcomes := map[string]int{}
	var group sync.WaitGroup
	for program := range 10 {
		caller := *w
		var err error
		caller.wallets, err = starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
		require.NoError(t, err)
		for i := range 10 {
			for hold, amount := range map[string]string{"whole": "50", "parts": "1"} {
				group.Go(func() {
					reason, err := caller.capture(fmt.Sprint(hold, "-", program, "-", i), hold, amount, hold == "parts")
					require.NoError(t, err)
					mu.Lock()
					defer mu.Unlock()
					outcomes[hold+" "+string(reason)]++
				})
			}
		}
	}
	group.Wait()
	require.Equal(t, map[string]int{"whole ": 1, "whole hold_closed": 99, "parts ": 50, "parts hold_closed": 50}, outcomes)
	_, journal := w.requireSound()
	require.Equal(t, "0.00", journal[len(journal)-1].TotalAfter.String())
	w.requireVerified()
}

// TestAHoldThatIsExtendedDoesNotExpireAtTheOldTime extends it when it is about to expire: the
// timer of the old time is under way.
func TestAHoldThatIsExtendedDoesNotExpireAtTheOldTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var id string
	var old time.Time
	for attempt := time.Duration(1); ; attempt++ { // a slow machine may come too late
		id = fmt.Sprint("order-", int(attempt))
		r := w.hold(id, "3s")
		old = r.HoldExpiresAt
		w.awaitClock(old.Add(-attempt * 200 * time.Millisecond))
		change := w.change("extend "+id, "5")
		change.HoldID, change.ExpiresIn = id, "1h"
		extended, err := w.wallets.Hold(t.Context(), change)
		if extended.Reason == wallet.ReasonHoldExpired {
			continue
		}
		require.NoError(t, err)
		require.True(t, extended.HoldExpiresAt.After(old))
		break
	}
	w.awaitClock(old)
	w.eventually("the timer of the old time", w.aTimerFired)
	_, err := w.wallets.Add(t.Context(), w.change("afterwards", "1"))
	require.NoError(t, err)
	require.Equal(t, wallet.HoldOpen, w.stateOf(id))
	require.NotContains(t, w.expiries(), "_expire/"+id)
	reason, err := w.capture("in time", id, "85", false)
	require.NoError(t, err)
	require.Empty(t, reason)
	w.requireVerified()
}
