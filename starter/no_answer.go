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
	CommandID string // in a batch the first one without an answer
	Following int    // commands after it in the batch, which have no answer either
	// Transaction says that CommandID is a transaction's id, which is about several wallets.
	Transaction bool
	// Signal is true if it was sent with Send and Temporal did not confirm it. Workers play no
	// part in that.
	Signal    bool
	TaskQueue string // of this client
	// RunsOn is the task queue of the wallet's workflow, if it runs and could be looked up. Only
	// workers on that queue see it: without any, the wallet is stuck.
	RunsOn   string
	TimedOut bool  // otherwise the caller gave up
	Cause    error // why the context ended
}

func (e *NoAnswerError) Error() string {
	var text string
	switch {
	case e.Signal:
		text = fmt.Sprintf("the signal of command %q was not confirmed, it may still be applied: send it again with the same id: %v", e.CommandID, e.Cause)
	case e.Transaction:
		text = fmt.Sprintf("transaction %q has no answer yet, it may still be applied: send it again with the same id: %v", e.CommandID, e.Cause)
	case e.Following > 0:
		text = fmt.Sprintf("command %q and the %d after it in the batch have no answer yet, they may still be applied: send them again with the same ids: %v", e.CommandID, e.Following, e.Cause)
	default:
		text = fmt.Sprintf("command %q has no answer yet, it may still be applied: send it again with the same id: %v", e.CommandID, e.Cause)
	}
	switch {
	case e.Signal:
	case e.RunsOn != "" && e.RunsOn != e.TaskQueue:
		text += fmt.Sprintf(" (the wallet's workflow %q runs on task queue %q, this client uses %q: start a worker on %[2]q, or terminate the workflow, which is safe, and send the command again)",
			wallet.WorkflowID(e.UserID, e.Currency), e.RunsOn, e.TaskQueue)
	case e.TimedOut:
		text += fmt.Sprintf(" (is a worker running on task queue %q?)", e.TaskQueue)
	}
	return text
}

func (e *NoAnswerError) Unwrap() error { return e.Cause }

// look finds out, while the caller still waits, where a wallet runs. So the error of a call that
// times out can say it without exceeding the caller's deadline.
type look struct {
	timer  *time.Timer
	runsOn atomic.Pointer[string]
}

// lookLater looks when half of the caller's time is over. In an outage many calls get no answer
// at once: only one per client looks at a time, and the others do without.
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
func (c *Client) noAnswer(ctx context.Context, ref wallet.AssetRef, commandID string) *NoAnswerError {
	return &NoAnswerError{AssetRef: ref, CommandID: commandID, TaskQueue: c.options.TaskQueue, TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded), Cause: context.Cause(ctx)}
}

// seen adds where the wallet runs, if it is known.
func (e *NoAnswerError) seen(l *look) *NoAnswerError {
	if queue := l.runsOn.Load(); queue != nil {
		e.RunsOn = *queue
	}
	return e
}

// gaveUp reports whether a call has no answer because its context ended.
func gaveUp(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && !isFinal(err)
}

// isFinal reports whether another try would get the same answer.
func isFinal(err error) bool {
	var unapplied *wallet.UnappliedError
	var refused *wallet.TransactionRefusedError
	var invalid *wallet.InvalidError
	return errors.As(err, &unapplied) || errors.As(err, &refused) || errors.As(err, &invalid)
}
