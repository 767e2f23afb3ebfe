package starter

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/valueledger/wallet"
)

// standsStill is a client for whose wallets no worker answers, with their runs on a queue.
func standsStill(t *testing.T, queue string, status enumspb.WorkflowExecutionStatus) (c *Client, looks *atomic.Int64) {
	temporal := mocks.NewClient(t)
	temporal.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(
		func(ctx context.Context, _ client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	looks = &atomic.Int64{}
	temporal.On("DescribeWorkflowExecution", mock.Anything, mock.Anything, "").Return(
		func(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
			looks.Add(1)
			time.Sleep(time.Second) // others come meanwhile
			return &workflowservice.DescribeWorkflowExecutionResponse{
				ExecutionConfig:       &workflow.WorkflowExecutionConfig{TaskQueue: &taskqueuepb.TaskQueue{Name: queue}},
				WorkflowExecutionInfo: &workflow.WorkflowExecutionInfo{Status: status},
			}, nil
		}).Maybe()
	c, err := New(temporal, Options{})
	require.NoError(t, err)
	return c, looks
}

func (c *Client) createWithin(t *testing.T, user string, patience time.Duration) error {
	c.running.Add(wallet.WorkflowID(user, "USD"), struct{}{})
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("too late"))
	defer cancel()
	_, err := c.Create(ctx, Change{UserID: user, Currency: "USD", CommandID: "a"})
	return err
}

func TestACallWithoutAnAnswerNamesTheTaskQueueOfItsWallet(t *testing.T) {
	const prefix = `command "a" has no answer yet, it may still be applied: send it again with the same id: too late `
	for name, row := range map[string]struct {
		queue  string
		status enumspb.WorkflowExecutionStatus
		hint   string
	}{
		"another": {"old", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, `(the wallet's workflow "wallet-asset/USD/u1" runs on task queue "old", this client uses "wallet": start a worker on "old", or terminate the workflow, which is safe, and send the command again)`},
		"ours":    {"wallet", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, `(is a worker running on task queue "wallet"?)`},
		"ended":   {"old", enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, `(is a worker running on task queue "wallet"?)`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := standsStill(t, row.queue, row.status)
				before := time.Now()
				err := c.createWithin(t, "u1", 10*time.Second)
				require.Equal(t, 10*time.Second, time.Since(before), "the caller's time is kept to")
				require.EqualError(t, err, prefix+row.hint)
				var noAnswer *NoAnswerError
				require.ErrorAs(t, err, &noAnswer)
				require.True(t, noAnswer.TimedOut)
				synctest.Wait()
			})
		})
	}
}

func TestManyCallsWithoutAnAnswerLookOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, looks := standsStill(t, "old", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
		for i := range 100 {
			go func() { _ = c.createWithin(t, fmt.Sprint(i), 10*time.Second) }()
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, looks.Load())
	})
}

func TestABatchWithoutAnAnswerSaysHowManyCommandsLackIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := standsStill(t, "old", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
		c.running.Add(wallet.WorkflowID("u1", "USD"), struct{}{})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too late"))
		defer cancel()
		commands := []wallet.Command{{ID: "a", Type: wallet.TypeCreate}, {ID: "b", Type: wallet.TypeCreate}, {ID: "c", Type: wallet.TypeCreate}}
		_, err := c.ApplyBatch(ctx, "u1", "USD", commands)
		var noAnswer *NoAnswerError
		require.ErrorAs(t, err, &noAnswer)
		require.Equal(t, "a", noAnswer.CommandID)
		require.Equal(t, 2, noAnswer.Following)
		require.Equal(t, "old", noAnswer.RunsOn)
		require.ErrorContains(t, err, `command "a" and the 2 after it in the batch have no answer yet, they may still be applied: send them again with the same ids: too late (the wallet's workflow "wallet-asset/USD/u1" runs on task queue "old"`)
		synctest.Wait()
	})
}

func TestASignalThatIsNotConfirmedIsSentAgain(t *testing.T) {
	command := wallet.Command{ID: "a", Type: wallet.TypeCreate}
	temporal := mocks.NewClient(t)
	temporal.On("SignalWithStartWorkflow", mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(
		nil, func(ctx context.Context, _, _ string, _ any, _ client.StartWorkflowOptions, _ any, _ ...any) error {
			<-ctx.Done()
			return ctx.Err()
		})
	c, err := New(temporal, Options{})
	require.NoError(t, err)
	for name, end := range map[string]struct {
		after time.Duration
		cause error
	}{"in time": {time.Second, errors.New("too late")}, "at once": {0, errors.New("given up")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), end.after, end.cause)
				defer cancel()
				err := c.Send(ctx, "u1", "USD", command)
				require.EqualError(t, err, `the signal of command "a" was not confirmed, it may still be applied: send it again with the same id: `+end.cause.Error())
				var noAnswer *NoAnswerError
				require.ErrorAs(t, err, &noAnswer)
				require.True(t, noAnswer.Signal)
			})
		})
	}
}
