package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
)

var record = flag.String("record", "", "version under whose name to write the histories that workflows/replay_test.go replays")

// TestRecordHistories makes one history of each workflow with something of
// everything in it. With -record v2, say, it writes them to workflows/testdata
// under that name, beside those of earlier versions, which stay.
func TestRecordHistories(t *testing.T) {
	w := newWorld(t)
	if *record != "" {
		w.user = "u1" // it is in the files
	}
	ctx := t.Context()
	_, err := w.wallets.Create(ctx, w.change("open", ""))
	require.NoError(t, err)
	_, err = w.wallets.ApplyBatch(ctx, w.user, "USD", []wallet.Command{add("a", "5"), subtract("b", "9"), add("a", "5.00"), add("c", "1.005")})
	require.NoError(t, err)
	_, err = w.wallets.Subtract(ctx, w.change("d", "100"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.NoError(t, w.temporal.SignalWorkflow(ctx, w.workflowID(), "", wallet.SignalCommand, "malformed"))
	reply := add("e", "1")
	reply.ReplyTo = &wallet.ReplyTo{WorkflowID: "nobody", Signal: "x"}
	require.NoError(t, w.wallets.Send(ctx, w.user, "USD", reply))
	run, err := w.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: wallet.ApplyCommandWorkflowID(w.user, "USD", "f"), TaskQueue: w.queue,
	}, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: subtract("f", "2")})
	require.NoError(t, err)
	require.NoError(t, run.Get(ctx, nil))
	w.requireSound()

	for name, id := range map[string]string{"wallet_asset": w.workflowID(), "apply_command": run.GetID()} {
		history := &historypb.History{}
		events := w.temporal.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			require.NoError(t, err)
			history.Events = append(history.Events, event)
		}
		require.Greater(t, len(history.Events), 4)
		if *record != "" {
			data, err := temporalproto.CustomJSONMarshalOptions{Indent: "  "}.Marshal(history)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join("..", "..", "workflows", "testdata", name+"_"+*record+".json"), data, 0o644))
		}
	}
}
