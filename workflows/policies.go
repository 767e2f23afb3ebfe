package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/heartbeat"
)

// localOptions are for a step's first try, inside the workflow task. It is short: meanwhile the
// server buffers what arrives, and a workflow task with more than 100 buffered events fails.
func localOptions(summary string) workflow.LocalActivityOptions {
	return workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 2 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    50 * time.Millisecond,
			BackoffCoefficient: 2,
			MaximumInterval:    500 * time.Millisecond,
		},
		Summary: summary,
	}
}

// regularOptions are for a step that did not succeed quickly: it is retried until it does. The
// Web UI shows it as pending with its last failure.
func regularOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		HeartbeatTimeout:    heartbeat.Timeout,
		RetryPolicy:         untilItWorks(),
		Summary:             summary,
	}
}

// sendOptions are for ApplyCommand's one activity. A try that takes too long is repeated with
// the same command id, which is harmless. So is a try whose worker stops sending heartbeats,
// which it does every few seconds (starter.sendCommand).
func sendOptions() workflow.ActivityOptions {
	return workflow.ActivityOptions{StartToCloseTimeout: time.Minute, HeartbeatTimeout: heartbeat.Timeout, RetryPolicy: untilItWorks()}
}

// lookupOptions are for a few questions to Temporal. If they are not answered, they are simply
// asked again, so there is no heartbeat.
func lookupOptions() workflow.ActivityOptions {
	return workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second, RetryPolicy: untilItWorks()}
}

func untilItWorks() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval:    200 * time.Millisecond,
		BackoffCoefficient: 2,
		MaximumInterval:    5 * time.Second, // the longest delay after Postgres is back
	}
}

// stepper runs the steps of a workflow.
type stepper struct {
	bounds
	log     log.Logger
	trouble *trouble // what keeps the current step from succeeding
	of      shown
}

// shown is a workflow that the Web UI shows details of.
type shown interface {
	showDetails(workflow.Context)
	waiting() int // commands without an answer
}

// step runs one step to completion: quickly if possible, patiently if not. The only errors it
// returns are the rules' own (*wallet.InvalidError).
func (s *stepper) step(ctx workflow.Context, name, summary string, input, output any) error {
	began := workflow.Now(ctx)
	quick := workflow.WithLocalActivityOptions(ctx, localOptions(summary))
	err := workflow.ExecuteLocalActivity(quick, name, input).Get(ctx, output)
	if err == nil || isFinal(err) {
		s.thisTask(ctx).hasRunStep = true
		return failure.Decode(err)
	}
	panicIfUnreadable(name, err)
	s.log.Warn("step is slow to succeed, going on as a regular activity", "step", name, "error", err)
	s.trouble = &trouble{since: began, step: summary, cause: err}
	patient := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, regularOptions(summary)), name, input)
	if err := s.showUntil(ctx, patient); err != nil {
		return err
	}
	s.trouble = nil
	err = patient.Get(ctx, output)
	if err != nil && !isFinal(err) {
		// It was retried until it succeeded, so this is a result that cannot be read. A panic
		// fails the workflow task, visibly, and keeps the queue for a worker that can read it.
		// The step itself is done only once.
		panic(fmt.Errorf("step %s: %w", name, err))
	}
	return failure.Decode(err)
}

// panicIfUnreadable fails the workflow task if this worker replays a step whose result it has
// no key for. Treating the step as failed would not match the history.
func panicIfUnreadable(name string, err error) {
	var unreadable *codec.UnreadableError
	if errors.As(failure.Decode(err), &unreadable) {
		panic(fmt.Errorf("step %s: %w", name, err))
	}
}

func isFinal(err error) bool {
	var invalid *wallet.InvalidError
	return errors.As(failure.Decode(err), &invalid)
}

// applySummary returns "apply 3 commands", or for a single command also what it does. It is
// stored in the history with each step, so it is short.
func applySummary(commands []wallet.Received) string {
	if len(commands) == 0 {
		return "expire holds"
	}
	text := "apply " + count(len(commands), "command", "commands")
	if c := commands[0]; len(commands) == 1 && c.Malformed == "" {
		text += ": " + change(c.Command.Type, c.Command.Amount)
	}
	return text
}

// count formats a number with the singular or the plural.
func count(n int, one, others string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, others)
}
