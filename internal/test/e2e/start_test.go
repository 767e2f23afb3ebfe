package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// startWith signals commands to a new wallet, whose workflow the first of them starts.
func (w *world) startWith(options client.StartWorkflowOptions, input any, commands ...wallet.Command) {
	options.ID, options.TaskQueue = w.workflowID(), w.queue
	for _, c := range commands {
		_, err := w.temporal.SignalWithStartWorkflow(w.t.Context(), options.ID, wallet.SignalCommand, c, options, wallet.WorkflowWalletAsset, input)
		require.NoError(w.t, err)
	}
}

// TestATimeoutOfTheStarterLosesNoCommand has runs that the server would end after some seconds,
// with the signals in them.
func TestATimeoutOfTheStarterLosesNoCommand(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]client.StartWorkflowOptions{
		"execution": {WorkflowExecutionTimeout: 4 * time.Second},
		"run":       {WorkflowRunTimeout: 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ref := wallet.AssetRef{UserID: w.user, Currency: "USD"}
			var commands []wallet.Command
			for i := range 5 {
				commands = append(commands, add(fmt.Sprint("a", i), "1"))
			}
			w.startWith(options, ref, commands...)
			w.settled(6)
			_, err := w.wallets.Add(t.Context(), w.change("after", "1"))
			require.NoError(t, err)
			description, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
			require.NoError(t, err)
			require.Zero(t, description.ExecutionConfig.GetWorkflowExecutionTimeout().AsDuration(), "the next run has no timeout")
			w.requireSound()
		})
	}
}

// TestAStartInputThatCannotBeUsedLosesNoCommand has what people and programs wrote for a duration,
// and state that a caller made up.
func TestAStartInputThatCannotBeUsedLosesNoCommand(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]map[string]any{
		"days": {"idle_timeout": "1d"}, "number": {"idle_timeout": 86400}, "empty": {"idle_timeout": ""}, "negative": {"idle_timeout": "-5s"},
		"forged": {"carried": map[string]any{
			"asset": map[string]any{"scale": 2, "total_amount": "1000000.00", "hold_amount": "0.00", "version": 7, "position": 7},
			"queue": []any{map[string]any{"command": map[string]any{"id": "_expire/a", "type": "add", "amount": "0"}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			more["user_id"], more["currency"] = w.user, "USD"
			w.startWith(client.StartWorkflowOptions{}, more, add("a", "1"))
			w.settled(2)
			_, journal := w.requireSound()
			require.Equal(t, "a", journal[1].CommandID)
			require.Equal(t, "1.00", journal[1].TotalAfter.String())
		})
	}
}

// TestLongRepliesFitTheServersMessages has refusals of 1,600 signals with long ids and targets,
// handled in as few workflow tasks as the worker can.
func TestLongRepliesFitTheServersMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker.Stop()
	target := strings.Repeat("t", 990)
	const signals = 1600
	for i := range signals {
		c := subtract(fmt.Sprintf("%s%04d", strings.Repeat("<", 120), i), "1000")
		c.ReplyTo = &wallet.ReplyTo{WorkflowID: target, Signal: "answer"}
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", c))
	}
	w.startWorker(w.db)
	w.settled(1 + signals)
	_, err := w.wallets.Add(t.Context(), w.change("after", "1"))
	require.NoError(t, err)
}

// TestAReplyToAWalletIsRefused: the wallet would take the result for a command.
func TestAReplyToAWalletIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, to := range []wallet.ReplyTo{
		{WorkflowID: wallet.WorkflowID("other", "USD"), Signal: wallet.SignalCommand},
		{WorkflowID: wallet.WorkflowID(strings.Repeat("€", 100), "USD"), Signal: wallet.SignalCommand},
		{WorkflowID: "w\x00", Signal: "s"},
		{WorkflowID: "w", Signal: "s\n"},
	} {
		c := add("a", "1")
		c.ReplyTo = &to
		_, err := w.wallets.Apply(t.Context(), w.user, "USD", c)
		require.ErrorAs(t, failure.Decode(err), new(*wallet.InvalidError))
		require.ErrorContains(t, err, "reply_to")
	}
	_, err := w.wallets.Add(t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: "a", Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
}

// startWaiting starts a workflow on which nobody works, as one that waits for replies.
func (w *world) startWaiting() (id string) {
	run, err := w.temporal.ExecuteWorkflow(w.t.Context(), client.StartWorkflowOptions{ID: testenv.Unique(w.t, "waiting"), TaskQueue: "no-workers"}, "Waiting")
	require.NoError(w.t, err)
	return run.GetID()
}

// signalsOf returns the payloads of the signals that a workflow has got.
func (w *world) signalsOf(workflowID string) (payloads []string) {
	history := w.temporal.GetWorkflowHistory(w.t.Context(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(w.t, err)
		for _, payload := range event.GetWorkflowExecutionSignaledEventAttributes().GetInput().GetPayloads() {
			payloads = append(payloads, string(payload.GetData()))
		}
	}
	return payloads
}
