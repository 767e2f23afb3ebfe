package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/contract"
)

// TestRealPayloadsFitTheSchemas reads what Temporal has stored of a wallet's life, and the
// answers to its queries.
func TestRealPayloadsFitTheSchemas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	full := add("full", "12.5")
	full.Description, full.Actor, full.Metadata = "d", "a", map[string]string{"k": "v"}
	full.ReplyTo = &wallet.ReplyTo{WorkflowID: "nobody", Signal: "s"}
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", full))
	_, err = w.wallets.Subtract(t.Context(), w.change("too-much", "500"))
	require.Error(t, err)
	_, err = w.wallets.ApplyBatch(t.Context(), w.user, "USD", []wallet.Command{subtract("b-1", "500"), add("b-2", "0.001"), add("full", "1")})
	require.NoError(t, err)
	// The reply to an unreadable command has an empty type.
	unreadable := map[string]any{"id": "bad", "type": 7, "reply_to": full.ReplyTo}
	require.NoError(t, w.temporal.SignalWorkflow(t.Context(), w.workflowID(), "", wallet.SignalCommand, unreadable))
	batch, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApplyBatch, WaitForStage: client.WorkflowUpdateStageCompleted,
		Args: []any{[]wallet.Command{add("r-1", "1"), add("full", "12.5"), {ID: "r-2", Type: wallet.TypeCreate}}},
	})
	require.NoError(t, err)
	require.NoError(t, batch.Get(t.Context(), nil))

	carriers := []string{w.workflowID()}
	for _, c := range []struct {
		currency string
		command  any
	}{
		{"USD", add("carried", "1")},
		{"USD", subtract("carried-too-much", "500")},
		{"NOSUCH", add("of-no-currency", "1")},
	} {
		id := wallet.ApplyCommandWorkflowID(w.user, c.currency, c.command.(wallet.Command).ID)
		run, err := w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: w.queue}, wallet.WorkflowApplyCommand,
			map[string]any{"user_id": w.user, "currency": c.currency, "command": c.command})
		require.NoError(t, err)
		_ = run.Get(t.Context(), nil) // the failures are checked below
		carriers = append(carriers, id)
	}

	c, err := contract.NewChecker("../../../docs/schemas")
	require.NoError(t, err)
	for _, id := range carriers {
		require.NoError(t, c.History(w.history(workflow.Execution{ID: id}).Events), id)
	}
	for query, schema := range map[string]string{wallet.QueryState: contract.State, wallet.QueryResult: contract.Result} {
		args := map[string][]any{wallet.QueryResult: {"b-1"}}[query]
		answer, err := w.temporal.QueryWorkflow(t.Context(), w.workflowID(), "", query, args...)
		require.NoError(t, err)
		var raw converter.RawValue
		require.NoError(t, answer.Get(&raw))
		require.NoError(t, c.JSON(schema, raw.Payload().Data))
	}
	for _, schema := range []string{contract.Command, contract.Commands, contract.Result, contract.Results, contract.State, contract.Invalid, contract.WalletInput, contract.ApplyInput} {
		require.Positive(t, c.Checked[schema], schema)
	}
}
