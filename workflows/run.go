package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/markdown"
	"github.com/valueledger/wallet/internal/service/payloads"
)

const (
	// defaultParallel keeps two connections to Postgres busy while the others read or commit.
	defaultParallel = 4
	// blockedPause is how long a blocked part rests: no line of it can be applied now.
	blockedPause = 10 * time.Second
)

// Run applies the lines of a run. Postgres has the lines, their outcomes and the progress; the
// workflow only decides which parts are applied, and when. So continue-as-new carries only its input,
// and it can be started again whatever ended it.
//
// Updates pause, resume and cancel it. They are answered once the state is reached: when it is
// paused or cancelled, no step is active. A cancelled run completes and returns its status.
//
// Input: wallet.RunInput. It fails with InvalidCommand if no such run is staged.
func Run(ctx workflow.Context, payload converter.RawValue) (wallet.RunStatus, error) {
	panicIfEncrypted(payload)
	data, err := payloads.JSON(payload)
	if err != nil {
		return wallet.RunStatus{}, failure.Encode(err)
	}
	input, err := wallet.DecodeRunInput(data)
	if err != nil {
		return wallet.RunStatus{}, failure.Encode(err)
	}
	if err := checkRunWorkflowID(ctx, input.RunID); err != nil {
		return wallet.RunStatus{}, failure.Encode(err)
	}
	r := &run{input: input, stepper: stepper{log: log.With(workflow.GetLogger(ctx), "run_id", input.RunID)}}
	r.of = r
	if err := r.handleUpdates(ctx); err != nil {
		return wallet.RunStatus{}, err
	}
	status, err := r.run(ctx)
	work, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(work, func() bool { return workflow.AllHandlersFinished(ctx) })
	return status, failure.Encode(err)
}

// checkRunWorkflowID refuses a workflow whose id is not that of its run: two would set each other's
// states.
func checkRunWorkflowID(ctx workflow.Context, runID string) error {
	want, got := wallet.RunWorkflowID(runID), workflow.GetInfo(ctx).WorkflowExecution.ID
	if got == want {
		return nil
	}
	return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "workflow_id", Value: got,
		Message: fmt.Sprintf("workflow id %q is not the one of this run: start it as %q", got, want)}
}

// run is the state of a Run workflow.
type run struct {
	stepper
	input    wallet.RunInput
	status   wallet.RunStatus
	begun    bool
	wanted   wallet.RunState // what the last update, or a cancellation, asks for
	setting  bool            // a state is being set
	sets     int             // states that were set
	strayed  bool            // Postgres has another state than the one that was set last
	parts    []int           // unfinished parts that no coroutine has taken
	underWay int             // parts that a coroutine has taken, resting ones included
	resting  int             // taken parts that are blocked and rest
	ending   bool            // before continue-as-new: no part is taken any more
	failed   error           // a step's final error
	cause    string          // why one of the waiting lines waits
	rate     rate
}

// rate is the number of lines per second over the last window.
type rate struct {
	since     time.Time
	from      int64
	perSecond float64
}

func (r *rate) note(now time.Time, done int64) {
	switch past := now.Sub(r.since); {
	case r.since.IsZero():
		r.since, r.from = now, done
	case past >= rateWindow:
		r.perSecond = float64(done-r.from) / past.Seconds()
		r.since, r.from = now, done
	}
}

func (r *run) handleUpdates(ctx workflow.Context) error {
	for _, u := range []struct {
		name, description string
		state             wallet.RunState
	}{
		{wallet.UpdatePause, "Stop after the lines in progress", wallet.RunPaused},
		{wallet.UpdateResume, "Continue after a pause", wallet.RunRunning},
		{wallet.UpdateCancel, "Stop after the lines in progress, and complete", wallet.RunCancelled},
	} {
		err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, func(ctx workflow.Context) (wallet.RunStatus, error) {
			if r.wanted != wallet.RunCancelled {
				r.wanted = u.state
			}
			err := workflow.Await(ctx, func() bool { return r.failed != nil || r.reached(u.state) || r.wanted != u.state })
			if err == nil && r.failed == nil && !r.reached(u.state) {
				err = r.overtaken(u.name)
			}
			return r.status, failure.Encode(errors.Join(err, r.failed))
		}, workflow.UpdateHandlerOptions{Description: u.description})
		if err != nil {
			return err
		}
	}
	return workflow.SetQueryHandler(ctx, wallet.QueryState, func() (wallet.RunStatus, error) { return r.status, nil })
}

// reached reports whether a state that was asked for is there and stays, or the run is done.
func (r *run) reached(state wallet.RunState) bool {
	if !r.begun || r.setting {
		return false
	}
	if r.status.State == wallet.RunDone {
		return r.idle()
	}
	return r.status.State == state && r.wanted == state && (state == wallet.RunRunning || r.idle())
}

// overtaken is the answer to an update after which, or before which, another state was asked for.
func (r *run) overtaken(update string) error {
	message := fmt.Sprintf("%s of run %q was followed by a request to set it to %s: ask for what you want once more", update, r.input.RunID, r.wanted)
	if r.wanted == wallet.RunCancelled {
		message = fmt.Sprintf("run %q is being cancelled: once it is, \"wallet run resume %s\" goes on with its other lines", r.input.RunID, r.input.RunID)
	}
	return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "update", Value: update, Message: message}
}

// idle reports whether no step is active.
func (r *run) idle() bool { return r.underWay == r.resting }

func (r *run) run(ctx workflow.Context) (wallet.RunStatus, error) {
	work, stop := workflow.NewDisconnectedContext(ctx)
	defer stop() // wakes the coroutines whose part rests
	if err := r.begin(work); err != nil {
		r.failed = err
		return r.status, err
	}
	r.showDetails(ctx)
	if r.status.State != wallet.RunDone {
		for range min(cmp.Or(r.input.Parallel, defaultParallel), len(r.parts)) {
			workflow.Go(work, r.applyParts)
		}
		if err := r.supervise(ctx, work); err != nil {
			return r.status, err
		}
	}
	if r.status.State == wallet.RunCancelled && ctx.Err() != nil {
		return r.status, temporal.NewCanceledError(r.status)
	}
	return r.status, nil
}

func (r *run) begin(ctx workflow.Context) error {
	var out wallet.BeginRunOutput
	if err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, runOptions("count the lines", 10*time.Minute)), wallet.StepBeginRun, r.input).Get(ctx, &out); err != nil {
		return failure.Decode(err)
	}
	r.status, r.parts, r.begun = out.Status, out.Parts, true
	if r.wanted == "" {
		r.wanted = r.status.State
	}
	r.rate.note(workflow.Now(ctx), r.status.Done())
	return nil
}

// supervise handles what applyParts does not: updates, cancellation, a full history, the end.
func (r *run) supervise(ctx, work workflow.Context) error {
	for {
		_ = workflow.Await(work, func() bool {
			return r.failed != nil || ctx.Err() != nil && r.wanted != wallet.RunCancelled || r.wanted != r.status.State || r.strayed ||
				r.allDone() || workflow.GetInfo(ctx).GetContinueAsNewSuggested() && !r.ending || r.ending && r.idle()
		})
		switch {
		case r.failed != nil:
			return r.failed
		case ctx.Err() != nil && r.wanted != wallet.RunCancelled:
			r.wanted = wallet.RunCancelled
		case r.allDone(): // too late to cancel it
			return r.setState(work, wallet.RunDone)
		case r.wanted != r.status.State || r.strayed:
			if ended, err := r.setWanted(work); ended || err != nil {
				return err
			}
		case !r.ending:
			r.ending = true
		default:
			if err := r.continueAsNew(ctx, work); err != nil {
				return err
			}
		}
	}
}

// setWanted sets the wanted state, and waits until no step is active, unless the run is to go on. It
// reports whether the run has ended.
func (r *run) setWanted(ctx workflow.Context) (ended bool, err error) {
	wanted := r.wanted
	if err := r.setState(ctx, wanted); err != nil {
		return false, err
	}
	if wanted != wallet.RunRunning || r.status.State == wallet.RunDone {
		_ = workflow.Await(ctx, func() bool { return r.idle() || r.failed != nil })
		if err := r.setState(ctx, wanted); err != nil { // again, for the final status
			return false, err
		}
	}
	return wanted == wallet.RunCancelled || r.status.State == wallet.RunDone, r.failed
}

// continueAsNew ends the workflow's run once nobody waits for an update, unless something is asked of
// it meanwhile.
func (r *run) continueAsNew(ctx, work workflow.Context) error {
	_ = workflow.Await(work, func() bool {
		return workflow.AllHandlersFinished(ctx) || r.wanted != r.status.State || ctx.Err() != nil
	})
	if !workflow.AllHandlersFinished(ctx) || ctx.Err() != nil { // it would lose a cancellation
		return nil
	}
	next := r.input
	next.Resume = false
	return workflow.NewContinueAsNewError(ctx, wallet.WorkflowRun, next)
}

func (r *run) allDone() bool { return len(r.parts) == 0 && r.underWay == 0 }

func (r *run) setState(ctx workflow.Context, state wallet.RunState) error {
	var status wallet.RunStatus
	r.setting = true
	defer func() { r.setting, r.sets = false, r.sets+1 }()
	if err := r.step(ctx, wallet.StepSetRunState, "set the state to "+string(state), wallet.SetRunStateInput{RunID: r.input.RunID, State: state}, &status); err != nil {
		r.failed = err
		return err
	}
	r.status, r.strayed = status, false
	r.showDetails(ctx)
	return nil
}

// applyParts applies one part after another, one step of some seconds each, until all are done.
func (r *run) applyParts(ctx workflow.Context) {
	for {
		err := workflow.Await(ctx, func() bool {
			return r.failed != nil || r.allDone() || len(r.parts) > 0 && r.status.State == wallet.RunRunning && !r.ending && !r.strayed
		})
		if err != nil || r.failed != nil || r.allDone() {
			return
		}
		part := r.parts[0]
		r.parts = slices.Clone(r.parts[1:])
		r.underWay++
		sets := r.sets
		var out wallet.ApplyRunLinesOutput
		options := workflow.WithActivityOptions(ctx, runOptions(fmt.Sprintf("apply lines of part %d", part), time.Minute))
		err = workflow.ExecuteActivity(options, wallet.StepApplyRunLines, wallet.ApplyRunLinesInput{RunID: r.input.RunID, Part: part}).Get(ctx, &out)
		if err != nil {
			r.failed = failure.Decode(err)
			r.underWay--
			return
		}
		if out.Status.State != r.status.State && !r.setting && r.sets == sets { // nobody has set it but another
			r.strayed = true
			r.log.Warn("the run's state was changed in Postgres, setting it again", "found", out.Status.State, "wanted", r.wanted)
		}
		r.note(ctx, out)
		if out.Blocked {
			r.resting++
			_, _ = workflow.AwaitWithTimeout(ctx, blockedPause, func() bool { return r.status.State != wallet.RunRunning || r.ending || r.strayed || r.failed != nil })
			r.resting--
		}
		r.underWay--
		if !out.Done {
			r.parts = append(r.parts, part)
		}
	}
}

// note keeps the newest status: steps of several parts end in any order.
func (r *run) note(ctx workflow.Context, out wallet.ApplyRunLinesOutput) {
	state := r.status.State
	if out.Status.Done() >= r.status.Done() {
		r.status = out.Status
		r.status.State = state // only setState changes it
	}
	if r.cause = ""; r.status.Waiting > 0 {
		r.cause = out.Cause
	}
	r.rate.note(workflow.Now(ctx), r.status.Done())
	r.showDetails(ctx)
}

// runOptions are for long steps. If their worker dies, the heartbeats stop and another worker takes
// over.
func runOptions(summary string, most time.Duration) workflow.ActivityOptions {
	options := regularOptions(summary)
	options.StartToCloseTimeout = most
	return options
}

// waiting counts the lines that are not done, blocked or not.
func (r *run) waiting() int { return int(r.status.Lines - r.status.Done()) }

func (r *run) showDetails(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, r.details())
}

func (r *run) details() string {
	var b strings.Builder
	if r.trouble != nil {
		r.trouble.writeStep(&b, r.waiting())
	}
	if r.cause != "" {
		fmt.Fprintf(&b, "> ⚠ **%s for wallets that are locked or cannot be read.** They are retried until they are done. One of them: %s\n\n",
			count(int(r.status.Waiting), "line waits", "lines wait"), markdown.Escape(markdown.Shorten(r.cause, maxShownCause)))
	}
	s := r.status
	fmt.Fprintf(&b, "## %d of %d lines, %s\n\n", s.Done(), s.Lines, s.State)
	writeTable(&b, []column{{"applied", right}, {"refused", right}, {"invalid", right}, {oneLine("answered before"), right}, {"waiting", right}, {"lines/s", right}, {oneLine("time left"), right}},
		[]string{fmt.Sprint(s.Applied), fmt.Sprint(s.Refused), fmt.Sprint(s.Invalid), fmt.Sprint(s.Replayed), fmt.Sprint(s.Waiting), fmt.Sprintf("%.0f", r.rate.perSecond), r.timeLeft()})
	if s.File != "" {
		fmt.Fprintf(&b, "File %s. ", markdown.Escape(markdown.Shorten(s.File, maxShownID)))
	}
	b.WriteString("`wallet run failures` lists the refused and invalid lines.\n\n\u00a0\n")
	return b.String()
}

func (r *run) timeLeft() string {
	if r.rate.perSecond <= 0 || r.status.State != wallet.RunRunning {
		return ""
	}
	return oneLine((time.Duration(float64(r.waiting())/r.rate.perSecond) * time.Second).String())
}
