package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// collect is a caller's workflow that waits for replies, and completes on the signal "enough".
func collect(ctx workflow.Context) error {
	var replies []wallet.Result
	if err := workflow.SetQueryHandler(ctx, "replies", func() ([]wallet.Result, error) { return replies, nil }); err != nil {
		return err
	}
	enough := false
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(workflow.GetSignalChannel(ctx, "paid"), func(c workflow.ReceiveChannel, _ bool) {
		var reply wallet.Result
		c.Receive(ctx, &reply)
		replies = append(replies, reply)
	})
	selector.AddReceive(workflow.GetSignalChannel(ctx, "enough"), func(c workflow.ReceiveChannel, _ bool) {
		c.Receive(ctx, nil)
		enough = true
	})
	for !enough {
		selector.Select(ctx)
	}
	return nil
}

type collector struct {
	w   *world
	run client.WorkflowRun
}

func newCollector(w *world) collector {
	queue := testenv.Unique(w.t, "collectors")
	callers := worker.New(w.temporal, queue, worker.Options{})
	callers.RegisterWorkflow(collect)
	require.NoError(w.t, callers.Start())
	w.t.Cleanup(callers.Stop)
	run, err := w.temporal.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{TaskQueue: queue}, collect)
	require.NoError(w.t, err)
	return collector{w, run}
}

func (c collector) replyTo() *wallet.ReplyTo {
	return &wallet.ReplyTo{WorkflowID: c.run.GetID(), Signal: "paid"}
}

// replies waits for n replies.
func (c collector) replies(n int) (replies []wallet.Result) {
	c.w.eventually("replies", func() bool {
		answer, err := c.w.temporal.QueryWorkflow(context.Background(), c.run.GetID(), "", "replies")
		require.NoError(c.w.t, err)
		require.NoError(c.w.t, answer.Get(&replies))
		return len(replies) >= n
	})
	require.Len(c.w.t, replies, n)
	return replies
}

// TestRepliesComeAtLeastOnce: a reply that may have been lost is sent again, with the same
// command id and the same place in the journal.
func TestRepliesComeAtLeastOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(w)
	ctx := t.Context()
	command := add("a", "5")
	command.ReplyTo = c.replyTo()
	send := func() { require.NoError(t, w.wallets.Send(ctx, w.user, "USD", command)) }

	send()
	first := c.replies(1)[0]
	require.Equal(t, "a", first.CommandID)
	require.Equal(t, wallet.StatusApplied, first.Status)
	require.False(t, first.Replayed)

	send() // a caller that is not sure whether it sent
	c.replies(2)

	// A reset wallet handles the signals again.
	var firstTask int64
	events := w.temporal.GetWorkflowHistory(ctx, w.workflowID(), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() && firstTask == 0 {
		event, err := events.Next()
		require.NoError(t, err)
		if event.EventType == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			firstTask = event.EventId
		}
	}
	_, err := w.temporal.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &common.WorkflowExecution{WorkflowId: w.workflowID()},
		Reason: "test", WorkflowTaskFinishEventId: firstTask, RequestId: testenv.Unique(t, "reset"),
	})
	require.NoError(t, err)
	c.replies(4)

	// A wallet terminated before its reply has forgotten who asked: asking again helps.
	require.NoError(t, w.temporal.TerminateWorkflow(ctx, w.workflowID(), "", "test"))
	send()
	for i, again := range c.replies(5) {
		require.Equal(t, i > 0, again.Replayed)
		again.Replayed = false
		require.Equal(t, first, again)
	}
	_, journal := w.requireSound()
	require.Len(t, journal, 2, "created, and a once")
}

func TestRefusalsAndUpdatesReplyToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(w)
	refused, updated := subtract("a", "5"), add("b", "5")
	refused.ReplyTo, updated.ReplyTo = c.replyTo(), c.replyTo()
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", refused))
	require.Equal(t, wallet.ReasonInsufficientFunds, c.replies(1)[0].Reason)
	_, err := w.wallets.Apply(t.Context(), w.user, "USD", updated)
	require.NoError(t, err)
	require.Equal(t, "5.00", c.replies(2)[1].TotalAfter.String())
}

// TestAClosedTargetDoesNotDisturbTheWallet: the wallet logs it and continues.
func TestAClosedTargetDoesNotDisturbTheWallet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCollector(w)
	require.NoError(t, w.temporal.SignalWorkflow(t.Context(), c.run.GetID(), "", "enough", nil))
	require.NoError(t, c.run.Get(t.Context(), nil))
	for _, target := range []string{c.run.GetID(), "nobody"} { // closed, missing
		command := add("to "+target, "1")
		command.ReplyTo = &wallet.ReplyTo{WorkflowID: target, Signal: "paid"}
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", command))
	}
	result, err := w.wallets.Add(t.Context(), w.change("b", "1"))
	require.NoError(t, err)
	require.Equal(t, "3.00", result.TotalAfter.String())
	description, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
	require.NoError(t, err)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, description.WorkflowExecutionInfo.Status)
	w.requireSound()
}
