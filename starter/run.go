package starter

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// StartRun starts the workflow of a run whose lines are staged in Postgres, by package runs or by
// SQL, or uses the one that is running. One that was interrupted goes on; one that is done
// completes at once.
func (c *Client) StartRun(ctx context.Context, in wallet.RunInput) error {
	if err := in.Validate(); err != nil {
		return err
	}
	id := wallet.RunWorkflowID(in.RunID)
	_, err := retry(ctx, c, func() (client.WorkflowRun, error) {
		return c.temporal.ExecuteWorkflow(resourceid.For(ctx, id), client.StartWorkflowOptions{
			ID:                       id,
			TaskQueue:                c.options.TaskQueue,
			WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		}, wallet.WorkflowRun, in)
	})
	if err != nil {
		return fmt.Errorf("start run %q: %w", in.RunID, err)
	}
	return nil
}

// AwaitRun waits until the workflow of a run has completed: the run is done, or cancelled. A refused
// line is no error: the status counts them.
func (c *Client) AwaitRun(ctx context.Context, runID string) (status wallet.RunStatus, err error) {
	id := wallet.RunWorkflowID(runID)
	if err := c.temporal.GetWorkflow(resourceid.For(ctx, id), id, "").Get(ctx, &status); err != nil {
		return status, fmt.Errorf("run %q: %w", runID, failure.Decode(err))
	}
	return status, nil
}

// PauseRun stops a run after the lines that are under way, and waits until they are done.
func (c *Client) PauseRun(ctx context.Context, runID string) (wallet.RunStatus, error) {
	return c.updateRun(ctx, runID, wallet.UpdatePause)
}

// ResumeRun goes on with a run that is paused. One that was cancelled is started again by StartRun
// with RunInput.Resume; while it is being cancelled, this returns a *wallet.InvalidError.
func (c *Client) ResumeRun(ctx context.Context, runID string) (wallet.RunStatus, error) {
	return c.updateRun(ctx, runID, wallet.UpdateResume)
}

// CancelRun stops a run and ends its workflow, after the lines in progress. What is applied stays;
// only StartRun with RunInput.Resume continues it.
func (c *Client) CancelRun(ctx context.Context, runID string) (wallet.RunStatus, error) {
	return c.updateRun(ctx, runID, wallet.UpdateCancel)
}

// ErrRunNotRunning says that a run has no running workflow: it has not been started, or is done, or
// was cancelled or terminated.
var ErrRunNotRunning = errors.New("its workflow is not running")

// isRunning reports whether a workflow runs, or may. Between two runs an update finds none.
func (c *Client) isRunning(ctx context.Context, id string) bool {
	d, err := c.temporal.DescribeWorkflowExecution(resourceid.For(ctx, id), id, "")
	if err != nil {
		return !errors.As(err, new(*serviceerror.NotFound))
	}
	return d.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
}

func (c *Client) updateRun(ctx context.Context, runID, name string) (wallet.RunStatus, error) {
	if err := wallet.ValidateRunID(runID); err != nil {
		return wallet.RunStatus{}, err
	}
	id := wallet.RunWorkflowID(runID)
	status, err := retry(ctx, c, func() (status wallet.RunStatus, err error) {
		handle, err := c.temporal.UpdateWorkflow(resourceid.For(ctx, id), client.UpdateWorkflowOptions{
			WorkflowID: id, UpdateName: name, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err == nil {
			err = handle.Get(ctx, &status)
		}
		if errors.As(err, new(*serviceerror.NotFound)) && !c.isRunning(ctx, id) {
			err = ErrRunNotRunning
		}
		return status, failure.Decode(err)
	})
	if err != nil {
		return status, fmt.Errorf("%s run %q: %w", name, runID, err)
	}
	return status, nil
}
