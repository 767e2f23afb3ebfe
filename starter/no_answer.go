package starter

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// NoAnswerError says that a command has no answer yet: it may have been applied, may still be,
// or may not have arrived. Sending exactly the same again, with the same id, is always safe.
type NoAnswerError struct {
	wallet.AssetRef
	CommandID string
	TaskQueue string // of this client
	// RunsOn is the task queue of the wallet's workflow, if it runs and that could be found out.
	// The workers of another one do not see it: the wallet is stuck unless RunsOn has workers.
	RunsOn   string
	TimedOut bool  // or else the caller gave up
	Cause    error // why the context ended
}

func (e *NoAnswerError) Error() string {
	text := fmt.Sprintf("command %q has no answer yet, it may still be applied: send it again with the same id: %v", e.CommandID, e.Cause)
	switch {
	case e.RunsOn != "" && e.RunsOn != e.TaskQueue:
		text += fmt.Sprintf(" (the wallet's workflow %q runs on task queue %q, this client uses %q: start a worker on %[2]q, or terminate the workflow, which is safe, and send the command again)",
			wallet.WorkflowID(e.UserID, e.Currency), e.RunsOn, e.TaskQueue)
	case e.TimedOut:
		text += fmt.Sprintf(" (is a worker running on task queue %q?)", e.TaskQueue)
	}
	return text
}

func (e *NoAnswerError) Unwrap() error { return e.Cause }

// look finds out where a wallet runs while its caller still waits, so that the error of a call
// that times out can tell, without taking longer than the caller allows.
type look struct {
	timer  *time.Timer
	runsOn atomic.Pointer[string]
}

// lookLater looks when half of the caller's time is over. Calls without an answer often come
// many together, as in an outage: one of a client looks at a time, the others go without.
func (c *Client) lookLater(ctx context.Context, ref wallet.AssetRef) *look {
	l := &look{}
	deadline, limited := ctx.Deadline()
	if !limited {
		return l
	}
	l.timer = time.AfterFunc(time.Until(deadline)/2, func() {
		if !c.looking.TryLock() {
			return
		}
		defer c.looking.Unlock()
		id := wallet.WorkflowID(ref.UserID, ref.Currency)
		described, err := c.temporal.DescribeWorkflowExecution(resourceid.For(ctx, id), id, "")
		if err == nil && described.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			queue := described.GetExecutionConfig().GetTaskQueue().GetName()
			l.runsOn.Store(&queue)
		}
	})
	return l
}

func (l *look) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// noAnswer is the error of a call whose context ended.
func (c *Client) noAnswer(ctx context.Context, ref wallet.AssetRef, commandID string, l *look) error {
	e := &NoAnswerError{AssetRef: ref, CommandID: commandID, TaskQueue: c.options.TaskQueue, TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded), Cause: context.Cause(ctx)}
	if queue := l.runsOn.Load(); queue != nil {
		e.RunsOn = *queue
	}
	return e
}

// isFinal tells an answer that another try would get again.
func isFinal(err error) bool {
	var unapplied *wallet.UnappliedError
	var invalid *wallet.InvalidError
	return errors.As(err, &unapplied) || errors.As(err, &invalid)
}
