package torture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
)

// Inflicted is a fault as it happened.
type Inflicted struct {
	Fault
	Begun  time.Time
	Missed string // why it could not be inflicted, for example because a workflow was not running; empty if it was
	Expiry expiry // that a kill was aimed at
	// Snapshots are how long each snapshot of a long one lasted: an outage of Postgres ends it.
	Snapshots []time.Duration
	// Inconsistent says what one snapshot contradicts itself in; empty if it does not.
	Inconsistent string
	// Succeeded lists tampering statements that nothing stopped.
	Succeeded []string
}

// inflict runs faults at their time until ctx ends, and removes those that are still active.
func (w *world) inflict(ctx context.Context, h *history, faults []Fault) (all []Inflicted) {
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		start   = time.Now()
	)
	for _, f := range faults {
		if !sleep(ctx, time.Until(start.Add(f.At))) {
			break
		}
		running.Go(func() {
			done := w.inflictOne(ctx, h, f)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, done)
		})
	}
	<-ctx.Done()
	running.Wait()
	return all
}

// sleep waits and reports whether ctx is still active.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (w *world) inflictOne(ctx context.Context, h *history, f Fault) Inflicted {
	done := Inflicted{Fault: f, Begun: time.Now()}
	var err error
	switch {
	case f.Kind == Terminate:
		err = untilHit(ctx, func() error { return w.terminate(ctx, w.plan.Wallets[f.Wallet]) })
	case f.Kind == Rewind:
		err = untilHit(ctx, func() error { return w.rewind(ctx, w.plan.Wallets[f.Wallet], f.Strength) })
	case f.Kind == Overfill:
		err = untilHit(ctx, func() error { return w.overfill(ctx, h, f) })
	case f.Kind == KillAtExpiry:
		done.Expiry, err = w.killAtExpiry(ctx, f)
	case f.Kind == Promote:
		if err = untilHit(ctx, func() error { return w.promote(ctx, f) }); err == nil {
			err = w.replaceStandby(context.WithoutCancel(ctx)) // without one, nothing is ever committed
		}
	case f.Kind == Snapshot:
		err = w.snapshot(ctx, f, &done)
	case f.Kind == Tamper:
		err = untilHit(ctx, func() error {
			succeeded, err := w.tamper(ctx)
			done.Succeeded = append(done.Succeeded, succeeded...)
			return err
		})
	case f.Kind == Jump:
		if err = untilHit(ctx, func() error { return w.clock.set(ctx, f.Ahead) }); err == nil {
			sleep(ctx, f.For)
			err = untilHit(ctx, func() error { return w.clock.set(ctx, 0) })
		}
		if ctx.Err() != nil { // it is set right when the servers are back
			err = nil
		}
	case w.servers[f.Target] != nil:
		s := w.servers[f.Target]
		s.begin(f.Kind)
		sleep(ctx, f.For)
		s.end()
	default:
		l := w.links[f.Target]
		if err = l.begin(f); err == nil {
			sleep(ctx, f.For)
			err = l.end(f)
		}
	}
	if err != nil {
		done.Missed = err.Error()
	}
	return done
}

// untilHit retries while there is nothing to hit: the workflow has not started, or its server
// is down.
func untilHit(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || !sleep(ctx, superviseEvery) {
			return err
		}
	}
}

func (w *world) terminate(ctx context.Context, of Wallet) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return w.direct.TerminateWorkflow(ctx, wallet.WorkflowID(of.UserID, of.Currency), "", "torture")
}

// rewind resets a workflow to one of its completed workflow tasks, an earlier one for a smaller
// place. Signals and updates from after it are applied again.
func (w *world) rewind(ctx context.Context, of Wallet, place float64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	id := wallet.WorkflowID(of.UserID, of.Currency)
	description, err := w.direct.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return err
	}
	run := description.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	var tasks []int64
	events := w.direct.GetWorkflowHistory(ctx, id, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return err
		}
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			tasks = append(tasks, event.GetEventId())
		}
	}
	if len(tasks) == 0 {
		return errors.New("the workflow has finished no task yet")
	}
	_, err = w.direct.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:         client.DefaultNamespace,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: run},
		Reason:            "torture", RequestId: fmt.Sprint(id, time.Now().UnixNano()),
		WorkflowTaskFinishEventId: tasks[int(place*float64(len(tasks)))],
	})
	return err
}

// awaitServers waits until the servers answer, once all faults are over.
func (w *world) awaitServers(ctx context.Context) error {
	for name, ready := range map[string]func(context.Context) error{
		postgresTarget: w.stack.Postgres.Ready, temporalTarget: w.stack.Temporal.Ready,
	} {
		if err := w.eventually(ctx, startPatience*2, name, ready); err != nil {
			return err
		}
	}
	return nil
}
