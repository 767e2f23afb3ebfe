package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestReplayTellsWhetherThisBuildCanGoOn has two wallets run: one of this program's
// worker, and one of a worker whose workflow did something else.
func TestReplayTellsWhetherThisBuildCanGoOn(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	good, other := testenv.Unique(t, "good"), testenv.Unique(t, "o/ther")
	defer s.startWorker()()
	for _, args := range [][]string{{"create", good, "USD", "--id", "a"}, {"add", good, "USD", "1", "--id", "b"}} {
		_, errs, code := s.run(args...)
		require.Equal(t, exitDone, code, errs)
	}
	_, _, code := s.run("subtract", good, "USD", "5", "--id", "c")
	require.Equal(t, exitRefused, code)

	saved := filepath.Join(t.TempDir(), "histories")
	query := `WorkflowId = "` + wallet.WorkflowID(good, "USD") + `"`
	var out, errs string
	require.Eventually(t, func() bool { // the list is behind
		out, errs, code = s.run("replay", "--query", query, "--save", saved)
		require.Equal(t, 0, code, errs)
		return !strings.Contains(out, "replayed 0")
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, "replayed 1 running workflows: 0 broken\n", out)
	files, err := filepath.Glob(filepath.Join(saved, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	history, err := replay.Load(files[0])
	require.NoError(t, err)
	require.Equal(t, wallet.WorkflowWalletAsset, history.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowType.Name)

	temporal, queue := testenv.Temporal(t), testenv.Unique(t, "queue")
	w := worker.New(temporal, queue, worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ wallet.AssetRef) error {
		return workflow.Sleep(ctx, time.Hour)
	}, workflow.RegisterOptions{Name: wallet.WorkflowWalletAsset})
	require.NoError(t, w.Start())
	defer w.Stop()
	run, err := temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: wallet.WorkflowID(other, "USD"), TaskQueue: queue},
		wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: other, Currency: "USD"})
	require.NoError(t, err)
	defer func() { require.NoError(t, temporal.TerminateWorkflow(t.Context(), run.GetID(), "", "test")) }()
	query = `WorkflowId IN ("` + run.GetID() + `", "` + wallet.WorkflowID(good, "USD") + `")`
	var found replayed
	require.Eventually(t, func() bool { // its timer, and the list
		out, errs, code = s.run("replay", "--query", query, "-o", "json", "--save", saved)
		require.NoError(t, json.Unmarshal([]byte(out), &found))
		return len(found.Broken) > 0
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "this build cannot go on with 1 of 2 running workflows")
	require.Equal(t, run.GetID(), found.Broken[0].WorkflowID)
	require.Equal(t, run.GetRunID(), found.Broken[0].RunID)
	require.Contains(t, found.Broken[0].Error, "TMPRL1100", "not deterministic, by Temporal's number for it")

	out, _, _ = s.run("replay", "--query", query, "--limit", "1")
	require.Contains(t, out, "and there are more: see --limit")
	_, errs, code = s.run("replay", "--query", "Nonsense = 1")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "Nonsense")
}

// TestAWalletThatHasNotBegunIsNotBroken has one that no worker polls for: its history has
// nothing but the start, or the start and a signal.
func TestAWalletThatHasNotBegunIsNotBroken(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	temporal, user := testenv.Temporal(t), testenv.Unique(t, "unbegun")
	id := wallet.WorkflowID(user, "USD")
	_, err := temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: testenv.Unique(t, "queue")},
		wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: user, Currency: "USD"})
	require.NoError(t, err)
	defer func() { require.NoError(t, temporal.TerminateWorkflow(t.Context(), id, "", "test")) }()
	query := `WorkflowId = "` + id + `"`
	require.Eventually(t, func() bool { // the list is behind
		out, errs, code := s.run("replay", "--query", query)
		require.Zero(t, code, errs)
		return out == "replayed 1 running workflows: 0 broken, 1 with nothing to replay yet\n"
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, temporal.SignalWorkflow(t.Context(), id, "", wallet.SignalCommand, wallet.Command{ID: "a", Type: wallet.TypeCreate}))
	out, errs, code := s.run("replay", "--query", query, "-o", "json")
	require.Zero(t, code, errs)
	require.JSONEq(t, `{"replayed": 1, "not_begun": 1, "broken": [], "more": false}`, out)
}
