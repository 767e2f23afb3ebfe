package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/heartbeat"
)

// quickOptions are for the first try of a step, inside the workflow task. It is
// short: while it lasts the server buffers what arrives, and a workflow task with
// more than 100 buffered events fails.
func quickOptions(summary string) workflow.LocalActivityOptions {
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

// patientOptions are for a step that could not be done quickly: it is retried
// until it succeeds, in sight of the Web UI, which shows it as pending with its
// last failure.
func patientOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		HeartbeatTimeout:    heartbeat.Timeout,
		RetryPolicy:         untilItWorks(),
		Summary:             summary,
	}
}

// sendOptions are for ApplyCommand's one activity. A try that takes longer is
// repeated with the same command id, which is harmless; so is one whose worker is heard
// of no more, which says so every few seconds (starter.sendCommand).
func sendOptions() workflow.ActivityOptions {
	return workflow.ActivityOptions{StartToCloseTimeout: time.Minute, HeartbeatTimeout: heartbeat.Timeout, RetryPolicy: untilItWorks()}
}

// lookupOptions are for a few questions to Temporal, which are asked again from the start
// if they are not answered. There is nothing to be heard of between them.
func lookupOptions() workflow.ActivityOptions {
	return workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second, RetryPolicy: untilItWorks()}
}

func untilItWorks() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval:    200 * time.Millisecond,
		BackoffCoefficient: 2,
		MaximumInterval:    5 * time.Second, // at most so long after Postgres is back
	}
}

// step runs one step to its end: quickly if possible, patiently if not. It
// returns only errors of the rules (*wallet.InvalidError).
func (w *walletAsset) step(ctx workflow.Context, name, summary string, input, output any) error {
	began := workflow.Now(ctx)
	quick := workflow.WithLocalActivityOptions(ctx, quickOptions(summary))
	err := workflow.ExecuteLocalActivity(quick, name, input).Get(ctx, output)
	if err == nil || isFinal(err) {
		return failure.Decode(err)
	}
	panicIfUnreadable(name, err)
	w.log.Warn("step is slow to succeed, going on as a regular activity", "step", name, "error", err)
	w.trouble = &trouble{since: began, step: summary, cause: err}
	patient := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, patientOptions(summary)), name, input)
	if err := w.showUntil(ctx, patient); err != nil {
		return err
	}
	w.trouble = nil
	err = patient.Get(ctx, output)
	if err != nil && !isFinal(err) {
		// It was retried until it worked, so this is a result that cannot be read.
		// A panic fails the workflow task, in sight, and keeps the queue for a
		// worker that can; the step itself is done only once.
		panic(fmt.Errorf("step %s: %w", name, err))
	}
	return failure.Decode(err)
}

// panicIfUnreadable fails the workflow task of a worker that replays a step whose result
// it has no key for. As a step that failed it would not fit the history.
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

// applySummary is "apply 3 commands", and of one what it is. It goes into the history with
// each step, so it stays short.
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

// count says how many, with the word for one or for another number.
func count(n int, one, others string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, others)
}
