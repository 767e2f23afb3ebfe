package workflows_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/replay"
)

func startOptions(id string) client.StartWorkflowOptions { return client.StartWorkflowOptions{ID: id} }

// TestRecordedHistoriesReplay replays what released versions of the workflows did
// on a real server. "make record" recorded them.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Subset(t, files, []string{
		"testdata/wallet_asset_v1.json", "testdata/apply_command_v1.json", "testdata/wallet_asset_v2.json", "testdata/apply_command_v2.json",
	}, "what was released stays")
	for _, name := range []string{
		"wallet_asset", "wallet_asset_continued", "wallet_asset_auto_create", "wallet_asset_foreign",
		"apply_command", "apply_command_scheduled", "apply_command_refused",
	} {
		require.Subset(t, files, []string{"testdata/" + name + "_v3.json", "testdata/" + name + "_v4.json"}, "what was released stays")
	}
	require.Contains(t, files, "testdata/wallet_asset_without_keys_v4.json")
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			history, err := replay.Load(path)
			require.NoError(t, err)
			started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
			var ref wallet.AssetRef // of the input: a wallet checks that it runs under its own id
			require.NoError(t, json.Unmarshal(started.Input.Payloads[0].Data, &ref))
			require.NoError(t, replay.Check(nil, history, workflow.Execution{
				ID: wallet.WorkflowID(ref.UserID, ref.Currency), RunID: started.OriginalExecutionRunId,
			}))
		})
	}
}
