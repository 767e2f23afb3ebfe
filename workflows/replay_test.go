package workflows_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

func startOptions(id string) client.StartWorkflowOptions { return client.StartWorkflowOptions{ID: id} }

// TestRecordedHistoriesReplay replays what released versions of the workflows did
// on a real server. "make record" recorded them.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.Open(path)
			require.NoError(t, err)
			defer file.Close()
			history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
			require.NoError(t, err)
			started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
			var ref wallet.AssetRef // of the input: a wallet checks that it runs under its own id
			require.NoError(t, json.Unmarshal(started.Input.Payloads[0].Data, &ref))

			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{
				OriginalExecution: workflow.Execution{ID: wallet.WorkflowID(ref.UserID, ref.Currency), RunID: started.OriginalExecutionRunId},
			}))
		})
	}
}
