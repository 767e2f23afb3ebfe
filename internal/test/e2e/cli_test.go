package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// TestTheTemporalCLIIsAClient does what a person can do with only the temporal CLI.
func TestTheTemporalCLIIsAClient(t *testing.T) {
	w := newWorld(t)
	signal := func(id string) {
		out, ok := w.cli("workflow", "signal-with-start", "--workflow-id", w.workflowID(), "--type", wallet.WorkflowWalletAsset, "--task-queue", w.queue,
			"--input", w.startInput(), "--signal-name", wallet.SignalCommand, "--signal-input", fmt.Sprintf(`{"id":%q,"type":"add","amount":"1.50"}`, id))
		require.True(t, ok, out)
	}
	for i := range 100 {
		signal(fmt.Sprintf("cli-%03d", i))
	}
	update := func(input string) (string, bool) {
		return w.cli("workflow", "update", "execute", "--workflow-id", w.workflowID(), "--name", wallet.UpdateApply, "--input", input, "-o", "json")
	}
	out, ok := update(`{"id":"u-1","type":"subtract","amount":"50"}`)
	require.True(t, ok, out)
	contains(t, out, `"total_after": "100.00"`, `"status": "applied"`)
	out, ok = update(`{"id":"u-2","type":"subtract","amount":"5000"}`)
	require.False(t, ok)
	contains(t, out, wallet.FailureUnappliedCommand, "cannot subtract 5000.00 USD: 100.00 available")
	out, ok = update(`{"id":"u-3","type":"subtract","amount":5}`)
	require.False(t, ok)
	contains(t, out, wallet.FailureInvalidCommand, "amount 5 is not a JSON string")
	out, ok = update(`{id: "u-4", type: "add", amount: "5"}`) // the CLI does not send it
	require.False(t, ok)
	contains(t, out, "input #1 is not valid JSON")

	out, ok = w.cli("workflow", "query", "--workflow-id", w.workflowID(), "--type", wallet.QueryState)
	require.True(t, ok, out)
	contains(t, out, `"available":"100.00"`)

	out, ok = w.cli("workflow", "execute", "--workflow-id", wallet.ApplyCommandWorkflowID(w.user, "USD", "x-1"), "--type", wallet.WorkflowApplyCommand, "--task-queue", w.queue,
		"--input", fmt.Sprintf(`{"user_id":%q,"currency":"USD","command":{"id":"x-1","type":"add","amount":"1"}}`, w.user))
	require.True(t, ok, out)
	contains(t, out, `"total_after":"101.00"`)

	events, _ := w.requireSound()
	require.Len(t, events, 1+100+1+1)
	for i := range 100 {
		require.Equal(t, fmt.Sprintf("cli-%03d", i), events[i+1].CommandID)
	}
}
