package starter

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/valueledger/wallet"
)

// Temporal terminates a run whose history reaches 50 MB, with all signals in it. With workers a
// run ends long before; without any, it grows with each signal.
const (
	// maxHistoryBytes leaves room for what other clients send before they look.
	maxHistoryBytes = 40_000_000
	// A client checks a wallet's history each time it has sent this many bytes of signals to it.
	lookAfterBytes = 1 << 20
)

// checkHistory returns wallet.ErrBusy if a wallet's history has no room for a signal of this size.
// Only the holder of the wallet's gate calls it.
func (c *Client) checkHistory(ctx context.Context, ref wallet.AssetRef, size int) error {
	signalled, _ := c.signalled.Get(ref)
	if signalled += size; signalled < lookAfterBytes {
		c.signalled.Add(ref, signalled)
		return nil
	}
	id := wallet.WorkflowID(ref.UserID, ref.Currency)
	// If there is no such run, or this client may not look, the signal is sent.
	described, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	var denied *serviceerror.PermissionDenied
	var missing *serviceerror.NotFound
	if err != nil && !errors.As(err, &missing) && !errors.As(err, &denied) {
		return err
	}
	run := described.GetWorkflowExecutionInfo()
	if history := run.GetHistorySizeBytes(); run.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING && history > maxHistoryBytes {
		return fmt.Errorf("%w: the history of %s has %d bytes, and Temporal terminates it at 50 MB: start a worker on task queue %q, then send the command again",
			wallet.ErrBusy, id, history, c.options.TaskQueue)
	}
	c.signalled.Add(ref, size)
	return nil
}
