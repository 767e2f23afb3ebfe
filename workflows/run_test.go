package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// fakeRun is the workflow Run over steps that only count: each of a part does 10 lines, and takes a
// second.
type fakeRun struct {
	*environment
	mu      sync.Mutex
	state   wallet.RunState
	left    map[int]int // lines
	done    int64
	lines   int64
	atOnce  int
	most    int
	blocked map[int]bool // parts of which the last lines wait
	fail    error        // of the steps that apply
	states  []wallet.RunState
	setting func(wallet.RunState) // called before one is set
}

func newFakeRun(t *testing.T, parts, linesPerPart int) *fakeRun {
	r := &fakeRun{environment: newEnvironment(t), state: wallet.RunStaged, left: map[int]int{}, lines: int64(parts * linesPerPart), blocked: map[int]bool{}}
	r.SetStartWorkflowOptions(startOptions("run/march"))
	for part := range parts {
		r.left[part] = linesPerPart
	}
	r.RegisterActivityWithOptions(r.begin, activity.RegisterOptions{Name: wallet.StepBeginRun})
	r.RegisterActivityWithOptions(r.apply, activity.RegisterOptions{Name: wallet.StepApplyRunLines})
	r.RegisterActivityWithOptions(r.set, activity.RegisterOptions{Name: wallet.StepSetRunState})
	return r
}

func (r *fakeRun) status() wallet.RunStatus {
	return wallet.RunStatus{RunID: "march", State: r.state, Lines: r.lines, Applied: r.done}
}

func (r *fakeRun) begin(_ context.Context, in wallet.RunInput) (out wallet.BeginRunOutput, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.RunID != "march" {
		return out, failure.Encode(&wallet.InvalidError{Reason: wallet.ReasonMalformed, Message: "no such run"})
	}
	if r.state == wallet.RunStaged {
		r.state = wallet.RunRunning
	}
	for part := range len(r.left) {
		out.Parts = append(out.Parts, part)
	}
	out.Status = r.status()
	return out, nil
}

func (r *fakeRun) apply(_ context.Context, in wallet.ApplyRunLinesInput) (out wallet.ApplyRunLinesOutput, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return out, r.fail
	}
	r.atOnce++
	r.most = max(r.most, r.atOnce)
	r.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	r.mu.Lock()
	r.atOnce--
	if r.state == wallet.RunRunning && !r.blocked[in.Part] {
		n := min(10, r.left[in.Part])
		r.left[in.Part] -= n
		r.done += int64(n)
	}
	out = wallet.ApplyRunLinesOutput{Status: r.status(), Done: r.left[in.Part] == 0, Blocked: r.blocked[in.Part]}
	if out.Blocked {
		out.Cause, out.Status.Waiting = "the USD wallet of *anna* is locked", int64(r.left[in.Part])
	}
	return out, nil
}

func (r *fakeRun) set(_ context.Context, in wallet.SetRunStateInput) (wallet.RunStatus, error) {
	if r.setting != nil {
		r.setting(in.State)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != wallet.RunDone {
		r.state = in.State
	}
	r.states = append(r.states, in.State)
	return r.status(), nil
}

func (r *fakeRun) update(name string) *answers {
	a := &answers{}
	r.UpdateWorkflow(name, fmt.Sprint(name, time.Now().UnixNano()), &testsuite.TestUpdateCallback{
		OnAccept:   func() { a.accepted = true },
		OnReject:   func(err error) { a.rejected = err },
		OnComplete: func(value any, err error) { a.value, a.err, a.done = value, err, true },
	})
	return a
}

func (r *fakeRun) execute(input any) (status wallet.RunStatus, err error) {
	r.ExecuteWorkflow(wallet.WorkflowRun, input)
	require.True(r.t, r.IsWorkflowCompleted())
	if err := r.GetWorkflowError(); err != nil {
		return status, err
	}
	return status, r.GetWorkflowResult(&status)
}

func TestARunWorksAtSeveralPartsAtOnce(t *testing.T) {
	for parallel, most := range map[int]int{0: 4, 1: 1, 16: 7} {
		r := newFakeRun(t, 7, 95)
		status, err := r.execute(wallet.RunInput{RunID: "march", Parallel: parallel})
		require.NoError(t, err)
		require.Equal(t, []any{int64(7 * 95), wallet.RunDone}, []any{status.Done(), status.State})
		require.LessOrEqual(t, r.most, most)
		require.Contains(t, r.details(), "## 665 of 665 lines, done")
	}
}

func TestARunWithoutLinesIsDone(t *testing.T) {
	status, err := newFakeRun(t, 0, 0).execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	require.Equal(t, wallet.RunDone, status.State)
}

func TestARunThatIsNotStagedFails(t *testing.T) {
	for _, input := range []any{nil, "march", map[string]any{"run_id": ""}, map[string]any{"run_id": "march", "lanse": 3}, wallet.RunInput{RunID: "april"}, wallet.RunInput{RunID: "march", Parallel: 99}} {
		_, err := newFakeRun(t, 1, 1).execute(input)
		var application *temporal.ApplicationError
		require.ErrorAs(t, err, &application, "%v", input)
		require.Equal(t, wallet.FailureInvalidCommand, application.Type())
	}
}

func TestARunRestsUntilItsWalletsAreFree(t *testing.T) {
	r := newFakeRun(t, 3, 30)
	r.blocked[1] = true
	var details string
	r.at(time.Minute, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		require.EqualValues(t, 60, r.done)
		details = r.details()
		r.blocked[1] = false
	})
	status, err := r.execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	require.EqualValues(t, 90, status.Done())
	require.Contains(t, details, "30 lines wait for wallets that are locked or cannot be read")
	require.Contains(t, details, "&#42;anna&#42;")
}

// TestUpdatesOfARun sends them while a part rests, so that the run does not end.
func TestUpdatesOfARun(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	var paused, again, resumed, cancelled *answers
	r.at(time.Minute, func() { paused, again = r.update(wallet.UpdatePause), r.update(wallet.UpdatePause) })
	r.at(2*time.Minute, func() { resumed = r.update(wallet.UpdateResume) })
	r.at(3*time.Minute, func() { cancelled = r.update(wallet.UpdateCancel) })
	status, err := r.execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	for _, a := range []*answers{paused, again, resumed, cancelled} {
		require.True(t, a.done)
		require.NoError(t, a.err)
	}
	require.Equal(t, wallet.RunPaused, paused.value.(wallet.RunStatus).State)
	require.Equal(t, wallet.RunRunning, resumed.value.(wallet.RunStatus).State)
	require.Equal(t, wallet.RunCancelled, cancelled.value.(wallet.RunStatus).State)
	require.Equal(t, []any{int64(30), wallet.RunCancelled}, []any{status.Done(), status.State}, "it says how far it came")
	require.Equal(t, []wallet.RunState{"paused", "paused", "running", "cancelled", "cancelled"}, r.states)
}

func TestACancelledWorkflowCancelsItsRun(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	r.at(time.Minute, func() { r.CancelWorkflow() })
	_, err := r.execute(wallet.RunInput{RunID: "march"})
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
	require.Equal(t, wallet.RunCancelled, r.state)
}

func TestARunWhoseStepFailsForGoodAnswersItsUpdates(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[0], r.blocked[1] = true, true
	r.at(time.Minute, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fail = failure.Encode(&wallet.InvalidError{Reason: wallet.ReasonMalformed, Message: "the run is gone"})
	})
	_, err := r.execute(wallet.RunInput{RunID: "march"})
	require.ErrorContains(t, err, "the run is gone")
}

func TestARunHandsItsInputToTheNext(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	r.at(time.Minute, func() { r.SetContinueAsNewSuggested(true); r.update(wallet.UpdatePause) })
	_, err := r.execute(wallet.RunInput{RunID: "march", Parallel: 2, Resume: true})
	var next *workflow.ContinueAsNewError
	require.True(t, errors.As(err, &next), "%v", err)
	require.Equal(t, wallet.WorkflowRun, next.WorkflowType.Name)
	require.Contains(t, next.Input.Payloads[0].String(), `{\"run_id\":\"march\",\"parallel\":2}`)
}

func TestARunUnderAnotherWorkflowIDIsRefused(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.SetStartWorkflowOptions(startOptions("run/april"))
	_, err := r.execute(wallet.RunInput{RunID: "march"})
	require.ErrorContains(t, err, `workflow id "run/april" is not the one of this run: start it as "run/march"`)
	require.Zero(t, r.done)
}

// TestARunSetsItsStateAgain has somebody change it in Postgres.
func TestARunSetsItsStateAgain(t *testing.T) {
	for _, strange := range []wallet.RunState{wallet.RunPaused, wallet.RunCancelled} {
		r := newFakeRun(t, 2, 30)
		r.blocked[1] = true
		steps := 0
		r.at(time.Minute, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.state, r.blocked[1] = strange, false
		})
		r.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			if steps++; steps > 100 { // it would never end
				panic("the run spins")
			}
		})
		status, err := r.execute(wallet.RunInput{RunID: "march"})
		require.NoError(t, err)
		require.Equal(t, []any{int64(60), wallet.RunDone}, []any{status.Done(), status.State})
		require.Equal(t, []wallet.RunState{"running", "done"}, r.states)
	}
}

func TestARunThatIsDoneInPostgresEnds(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	r.at(time.Minute, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.state = wallet.RunDone
	})
	status, err := r.execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	require.Equal(t, wallet.RunDone, status.State)
	require.LessOrEqual(t, len(r.states), 2)
}

// TestAPauseIsAnsweredAfterTheResumeBeforeIt asks for it while the resume is being set.
func TestAPauseIsAnsweredAfterTheResumeBeforeIt(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	var resumed, paused *answers
	r.setting = func(state wallet.RunState) {
		if state == wallet.RunRunning {
			paused = r.update(wallet.UpdatePause)
			time.Sleep(50 * time.Millisecond) // the update arrives
			require.False(t, paused.done, "it is answered when the run is about to go on")
		}
	}
	r.at(time.Minute, func() { r.update(wallet.UpdatePause) })
	r.at(2*time.Minute, func() { resumed = r.update(wallet.UpdateResume) })
	r.at(3*time.Minute, func() { r.update(wallet.UpdateCancel) })
	_, err := r.execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	require.NoError(t, paused.err)
	require.Equal(t, wallet.RunPaused, paused.value.(wallet.RunStatus).State)
	require.Equal(t, []wallet.RunState{"paused", "paused", "running", "paused", "paused", "cancelled", "cancelled"}, r.states)
	require.ErrorContains(t, resumed.err, `resume of run "march" was followed by a request to set it to paused: ask for what you want once more`)
}

func TestAResumeDuringACancelIsRefused(t *testing.T) {
	r := newFakeRun(t, 2, 30)
	r.blocked[1] = true
	var cancelled, resumed *answers
	r.at(time.Minute, func() { cancelled, resumed = r.update(wallet.UpdateCancel), r.update(wallet.UpdateResume) })
	_, err := r.execute(wallet.RunInput{RunID: "march"})
	require.NoError(t, err)
	require.NoError(t, cancelled.err)
	require.ErrorContains(t, resumed.err, `run "march" is being cancelled: once it is, "wallet run resume march" goes on with its other lines`)
}
