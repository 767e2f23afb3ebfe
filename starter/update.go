package starter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/heartbeat"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// update sends commands in one update-with-start and waits for their Results. A
// refusal is a Result without an error.
func (c *Client) update(ctx context.Context, ref wallet.AssetRef, commands []wallet.Command) ([]wallet.Result, error) {
	leave, err := c.acquireSlot(ctx)
	if err != nil {
		return nil, fmt.Errorf("update the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	defer leave()
	results, err := retry(ctx, c, func() ([]wallet.Result, error) {
		if len(commands) > 1 {
			return c.updateBatch(ctx, ref, commands)
		}
		var result wallet.Result
		err := c.updateOnce(ctx, c.walletOf(ref), wallet.UpdateApply, commands[0], &result)
		var unapplied *wallet.UnappliedError
		if errors.As(err, &unapplied) {
			result, err = unapplied.Result, nil
		}
		return []wallet.Result{result}, err
	})
	if err == nil && len(results) != len(commands) {
		err = fmt.Errorf("the wallet answered %d of %d commands", len(results), len(commands))
	}
	if err != nil {
		return nil, fmt.Errorf("update the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	return results, nil
}

// acquireSlot waits for a free slot among the maxUpdates. An update that is not answered soon
// gives up its slot: stuck wallets must not block the others.
func (c *Client) acquireSlot(ctx context.Context) (leave func(), err error) {
	if err := c.updates.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	release := sync.OnceFunc(func() { c.updates.Release(1) })
	late := time.AfterFunc(updateTimeout, release)
	return func() { late.Stop(); release() }, nil
}

// updateBatch asks for the answers in short form.
func (c *Client) updateBatch(ctx context.Context, ref wallet.AssetRef, commands []wallet.Command) ([]wallet.Result, error) {
	var facts wallet.Facts
	if err := c.updateOnce(ctx, c.walletOf(ref), wallet.UpdateApplyBrief, commands, &facts); err != nil {
		return nil, err
	}
	return facts.ResultsFor(commands)
}

// target is a workflow that updates are sent to, and how it is started.
type target struct {
	start    client.StartWorkflowOptions
	workflow string
	input    any
}

func (c *Client) walletOf(ref wallet.AssetRef) target {
	return target{c.startOptions(ref), wallet.WorkflowWalletAsset, c.input(ref)}
}

// updateOnce starts the workflow along with the update, unless this client knows that it was
// running: a start costs the server as much as the update.
func (c *Client) updateOnce(ctx context.Context, to target, name string, argument, result any) error {
	id := to.start.ID
	ctx = resourceid.For(ctx, id)
	options := client.UpdateWorkflowOptions{
		// No update id: Temporal would answer a known id without looking at the content, and
		// forgets it when the run ends. The command id decides.
		WorkflowID:   id,
		UpdateName:   name,
		Args:         []any{argument},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	}
	if c.running.Contains(id) {
		handle, err := c.temporal.UpdateWorkflow(ctx, options)
		if err == nil {
			err = handle.Get(ctx, result)
		}
		var ended *serviceerror.NotFound
		if !errors.As(err, &ended) {
			return failure.Decode(err)
		}
		c.running.Remove(id)
	}
	handle, err := c.updateWithStart(ctx, to, options)
	if withoutLabel(err, &to.start) {
		handle, err = c.updateWithStart(ctx, to, options)
	}
	if err == nil {
		err = handle.Get(ctx, result)
	}
	err = failure.Decode(err)
	var unapplied *wallet.UnappliedError
	if err == nil || errors.As(err, &unapplied) {
		c.running.Add(id, struct{}{})
	}
	return err
}

func (c *Client) updateWithStart(ctx context.Context, to target, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	return c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: c.temporal.NewWithStartWorkflowOperation(to.start, to.workflow, to.input),
		UpdateOptions:          options,
	})
}

// withoutLabel removes the search attributes from a start that the server has refused, and
// reports whether there were any. A namespace may lack them, and a server that has just started
// may not know them yet: a command must not fail because of that. The wallet labels itself once
// its namespace has them.
func withoutLabel(refused error, start *client.StartWorkflowOptions) bool {
	var argument *serviceerror.InvalidArgument
	if !errors.As(refused, &argument) || isSignalsLimit(refused) || start.TypedSearchAttributes.Size() == 0 {
		return false
	}
	start.TypedSearchAttributes = temporal.SearchAttributes{}
	return true
}

// retry repeats a call that is safe to repeat until it succeeds, fails for good
// or ctx ends.
func retry[T any](ctx context.Context, c *Client, call func() (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval = 10 * time.Millisecond
	pauses.MaxInterval = 2 * time.Second
	return backoff.Retry(ctx, func() (T, error) {
		value, err := call()
		if err == nil || isFinal(err) {
			c.answered.Store(true)
		}
		if err != nil && !isPassing(err) && !c.namespaceIsLate(err) {
			return value, backoff.Permanent(err)
		}
		return value, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
}

// acceptedUpdateLost is the type of Temporal's failure for an update whose workflow ended
// before the update did, because it was terminated for example.
const acceptedUpdateLost = "AcceptedUpdateCompletedWorkflow"

// isPassing reports whether another try may succeed: the workflow is between two runs, the
// server is busy, starting or gone, or a worker is late.
func isPassing(err error) bool {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return application.Type() == acceptedUpdateLost || application.Type() == wallet.FailureBusy
	}
	if errors.Is(err, wallet.ErrBusy) {
		return true
	}
	for _, passing := range []any{
		new(*serviceerror.NotFound), new(*serviceerror.Aborted), new(*serviceerror.WorkflowNotReady),
		new(*serviceerror.ResourceExhausted), new(*serviceerror.Unavailable), new(*serviceerror.DeadlineExceeded),
		new(*serviceerror.Canceled), new(*serviceerror.FailedPrecondition), // the run has had its 2,000 updates
		new(*client.WorkflowUpdateServiceTimeoutOrCanceledError),
		new(*temporal.TerminatedError), new(*temporal.TimeoutError), // of a transaction's workflow
	} {
		if errors.As(err, passing) {
			return true
		}
	}
	return isSignalsLimit(err)
}

// namespaceIsLate reports whether the namespace is missing only because the server has just started:
// for a moment it knows none. A namespace that has never answered is a mistake, and the caller is told.
func (c *Client) namespaceIsLate(err error) bool {
	var missing *serviceerror.NamespaceNotFound
	return errors.As(err, &missing) && c.answered.Load()
}

// Register registers the Client's activities: the only one of the ApplyCommand workflow, the
// one that tells the WalletAsset workflow about its namespace, and the one with which a
// transaction tells wallets' workflows about itself.
func (c *Client) Register(r worker.ActivityRegistry) {
	r.RegisterActivityWithOptions(c.sendCommand, activity.RegisterOptions{Name: wallet.ActivitySendCommand})
	r.RegisterActivityWithOptions(c.refreshWallets, activity.RegisterOptions{Name: wallet.ActivityRefreshWallets})
	r.RegisterActivityWithOptions(c.takesSearchAttributes, activity.RegisterOptions{Name: wallet.ActivityTakesSearchAttributes})
}

// sendCommand returns the Result of a refused command too.
func (c *Client) sendCommand(ctx context.Context, in wallet.ApplyCommandInput) (wallet.Result, error) {
	defer heartbeat.Keep(ctx, heartbeat.Every)()
	result, err := c.Apply(ctx, in.UserID, in.Currency, in.Command)
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		return result, nil
	}
	return result, failure.Encode(err)
}
