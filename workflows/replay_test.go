package workflows_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet/internal/service/replay"
)

func startOptions(id string) client.StartWorkflowOptions { return client.StartWorkflowOptions{ID: id} }

// TestRecordedHistoriesReplay replays what earlier builds of the workflows did on a real
// server. "make record" recorded the histories. From version 1.0.0 on, histories of released
// versions must stay.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	for _, name := range []string{
		"wallet_asset", "wallet_asset_continued", "wallet_asset_auto_create", "wallet_asset_foreign", "wallet_asset_without_keys",
		"lane", "lane_continued", "run", "run_continued", "apply_command", "apply_command_scheduled", "apply_command_refused",
	} {
		require.Contains(t, files, "testdata/"+name+"_v1.json")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			history, err := replay.Load(path)
			require.NoError(t, err)
			started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
			require.NoError(t, replay.Check(nil, history, workflow.Execution{ID: started.WorkflowId, RunID: started.OriginalExecutionRunId}))
		})
	}
}
