package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

// lane runs the workflow Lane with a step that answers each item with the item.
type lane struct {
	*environment
	batches []int
	fail    func(attempt int) error
	tries   int
	updates int
}

func newLane(t *testing.T) *lane {
	l := &lane{environment: newEnvironment(t)}
	l.RegisterActivityWithOptions(l.apply, activity.RegisterOptions{Name: wallet.StepApplyLane})
	return l
}

func (l *lane) apply(_ context.Context, in wallet.ApplyLaneInput) (out []byte, err error) {
	l.tries++
	if l.fail != nil {
		if err := l.fail(l.tries); err != nil {
			return nil, err
		}
	}
	l.batches = append(l.batches, len(in.Items))
	for _, item := range in.Items {
		answer := wallet.LaneAnswer{Facts: wallet.Facts(item)}
		if string(item) == `"return"` {
			answer = wallet.LaneAnswer{}
		}
		out = answer.AppendTo(out)
	}
	return out, nil
}

func (l *lane) send(items ...string) *answers {
	var list []json.RawMessage
	for _, item := range items {
		encoded, err := json.Marshal(item)
		require.NoError(l.t, err)
		list = append(list, encoded)
	}
	return l.sendAny(list)
}

func (l *lane) sendAny(argument any) *answers {
	l.updates++
	a := &answers{}
	l.UpdateWorkflow(wallet.UpdateApplyLane, fmt.Sprint("update-", l.updates), &testsuite.TestUpdateCallback{
		OnAccept:   func() { a.accepted = true },
		OnReject:   func(err error) { a.rejected = err },
		OnComplete: func(value any, err error) { a.value, a.err, a.done = value, err, true },
	}, argument)
	return a
}

func (l *lane) requireAnswers(a *answers, items ...string) {
	require.True(l.t, a.done)
	require.NoError(l.t, a.err)
	split, err := wallet.SplitLaneAnswers(a.value.([]byte), len(items))
	require.NoError(l.t, err)
	for i, b := range split {
		read, err := wallet.ReadLaneAnswer(b)
		require.NoError(l.t, err)
		if items[i] != "return" {
			require.Equal(l.t, fmt.Sprintf("%q", items[i]), string(read.Facts))
		}
	}
}

func (l *lane) runLane(input any) error {
	l.ExecuteWorkflow(wallet.WorkflowLane, input)
	require.True(l.t, l.IsWorkflowCompleted())
	return l.GetWorkflowError()
}

func TestALaneAnswersEachUpdateWithItsOwn(t *testing.T) {
	l := newLane(t)
	many := make([]string, 400)
	for i := range many {
		many[i] = fmt.Sprint("item-", i)
	}
	var first, second, third *answers
	var details string
	l.at(time.Second, func() {
		first, second, third = l.send("a", "return", "b"), l.send(many...), l.send(many...)
	})
	l.at(time.Minute, func() { details = l.details() })
	require.NoError(t, l.runLane(nil), "it completes once it is idle")
	l.requireAnswers(first, "a", "return", "b")
	l.requireAnswers(second, many...)
	l.requireAnswers(third, many...)
	require.LessOrEqual(t, len(l.batches), 3)
	for _, n := range l.batches {
		require.LessOrEqual(t, n, wallet.MaxBatch)
	}
	require.Contains(t, details, "| 803\u2003 |")
	require.Contains(t, details, "| 1\u2003 |\n", "one was returned")
}

func TestALaneRefusesWhatIsNoList(t *testing.T) {
	l := newLane(t)
	var refused []*answers
	l.at(time.Second, func() {
		for _, argument := range []any{nil, "text", 3, []any{}, make([]int, wallet.MaxBatch+1), map[string]int{"a": 1}, []byte("binary"), make([]byte, 3_000_000)} {
			refused = append(refused, l.sendAny(argument))
		}
	})
	require.NoError(t, l.runLane(map[string]any{"counts": "not of a run before", "any": 1}))
	for i, a := range refused {
		var application *temporal.ApplicationError
		require.ErrorAs(t, a.rejected, &application, "%d", i)
		require.Equal(t, wallet.FailureInvalidCommand, application.Type())
	}
}

// TestALaneWaitsForPostgres has the step fail for longer than a workflow task may last.
func TestALaneWaitsForPostgres(t *testing.T) {
	l := newLane(t)
	l.fail = func(attempt int) error {
		if attempt < 14 {
			return errors.New("no answer from <Postgres>")
		}
		return nil
	}
	var first, second *answers
	var details string
	l.at(time.Second, func() { first = l.send("a") })
	l.at(4*time.Second, func() { second = l.send("b") })
	l.at(4*time.Second+time.Millisecond, func() { details = l.details() })
	require.NoError(t, l.runLane(nil))
	l.requireAnswers(first, "a")
	l.requireAnswers(second, "b")
	require.Contains(t, details, "In trouble since")
	require.Contains(t, details, "2 commands wait")
}

func TestACancelledLaneAnswersWhatHasArrived(t *testing.T) {
	l := newLane(t)
	var last *answers
	l.at(time.Millisecond, func() { last = l.send("a"); l.CancelWorkflow() })
	require.ErrorAs(t, l.runLane(nil), new(*temporal.CanceledError))
	l.requireAnswers(last, "a")
}

func TestALaneContinuesAsNewWithItsCounts(t *testing.T) {
	l := newLane(t)
	var waiting []*answers
	for i := range 50 {
		l.at(time.Millisecond*time.Duration(i+1), func() { waiting = append(waiting, l.send(fmt.Sprint(i))) })
	}
	l.at(26*time.Millisecond+time.Microsecond, func() { l.SetContinueAsNewSuggested(true) })
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, l.runLane(nil), &next)
	accepted := 0
	for _, a := range waiting { // Temporal tells the other callers to try again
		if a.accepted {
			accepted++
			require.True(t, a.done)
			require.NoError(t, a.err)
		}
	}
	require.GreaterOrEqual(t, accepted, 26)
	var input workflows.LaneInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
	require.Equal(t, int64(accepted), input.Counts.Commands)

	second := newLane(t)
	second.SetContinuedExecutionRunID("the-run-before")
	second.at(time.Second, func() { second.send("a") })
	var details string
	second.at(time.Minute, func() { details = second.details() })
	require.NoError(t, second.runLane(input))
	require.Contains(t, details, fmt.Sprintf("| %d\u2003 |", accepted+1))
}

// TestSteadyUpdatesDoNotKeepALaneFromItsEnd sends another while one is in flight.
func TestSteadyUpdatesDoNotKeepALaneFromItsEnd(t *testing.T) {
	l := newLane(t)
	l.fail = func(attempt int) error { // the first batch takes long
		if attempt < 14 {
			return errors.New("no answer")
		}
		return nil
	}
	var late *answers
	l.at(time.Millisecond, func() { l.send("a") })
	l.at(2500*time.Millisecond, func() { l.send("b"); l.SetContinueAsNewSuggested(true) })
	l.at(3*time.Second, func() { late = l.send("c") })
	require.ErrorAs(t, l.runLane(nil), new(*workflow.ContinueAsNewError))
	var application *temporal.ApplicationError
	require.ErrorAs(t, late.rejected, &application)
	require.Equal(t, wallet.FailureBusy, application.Type())
}

// TestALaneEndsAfterSoManyUpdates long before the server suggests it.
func TestALaneEndsAfterSoManyUpdates(t *testing.T) {
	l := newLane(t)
	for i := range 250 {
		l.at(time.Millisecond*time.Duration(i+1), func() { l.send(fmt.Sprint(i)) })
	}
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, l.runLane(nil), &next)
	var input workflows.LaneInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
	require.Equal(t, int64(200), input.Counts.Commands)
}
