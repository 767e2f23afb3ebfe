package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/starter"
)

// salvage runs "wallet salvage" for the wallet of o'neil, and returns the state of each command.
func (g *guide) salvage(flags ...string) (states map[string]string, code int) {
	out, errs, code := g.run(append([]string{"salvage", "o'neil", "USD", "-o", "json"}, flags...)...)
	states = map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if line == "" {
			continue
		}
		var s salvaged
		require.NoError(g.t, json.Unmarshal([]byte(line), &s), errs)
		id := s.Command.ID
		if s.Malformed != "" {
			id = "junk"
		}
		require.NotContains(g.t, states, id)
		states[id] = s.State
	}
	return states, code
}

// TestSalvageSendsAgainWhatEndedRunsHadAccepted has a run that is terminated while Postgres is
// down, and one that no worker has seen; all payloads are encrypted or none.
func TestSalvageSendsAgainWhatEndedRunsHadAccepted(t *testing.T) {
	for name, keys := range map[string]string{"plain": "", "encrypted": "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(codec.Setting, keys)
			g := newGuide(t)
			secret, err := codec.FromEnv()
			require.NoError(t, err)
			options := client.Options{Namespace: g.namespace}
			secret.Secure(&options)
			temporal, err := client.NewClientFromExisting(g.temporal(), options)
			require.NoError(t, err)
			wallets, err := starter.New(temporal, starter.Options{})
			require.NoError(t, err)
			id, ctx := wallet.WorkflowID("o'neil", "USD"), t.Context()
			send := func(id, amount string) {
				require.NoError(t, wallets.Send(ctx, "o'neil", "USD", wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)}))
			}
			end := func() { require.NoError(t, temporal.TerminateWorkflow(ctx, id, "", "test")) }

			_, errs, code := g.run("salvage", "o'neil", "USD")
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, "no run of "+id+" is in Temporal")

			g.worker = g.startWorker()
			_, errs, code = g.run("add", "o'neil", "USD", "1", "--id", "applied")
			require.Zero(t, code, errs)
			states, code := g.salvage()
			require.Empty(t, states, "a run that is running applies what is in it")
			require.Zero(t, code)
			run, err := temporal.DescribeWorkflowExecution(ctx, id, "")
			require.NoError(t, err)
			first := run.WorkflowExecutionInfo.Execution.RunId
			_, errs, code = g.run("salvage", "o'neil", "USD", "--run-id", first)
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, "run "+first+" of "+id+" is running")
			g.postgres.stop()
			send("signal-1", "2")
			_, err = temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: wallet.UpdateApplyBatch, WaitForStage: client.WorkflowUpdateStageAccepted,
				Args: []any{[]wallet.Command{{ID: "update-1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("4")}, {ID: "update-2", Type: wallet.TypeAdd, Amount: wallet.MustAmount("8")}}}})
			require.NoError(t, err)
			end()
			g.worker()
			g.worker = nil
			g.postgres.start()
			send("signal-2", "16")
			send("signal-1", "2") // whoever sent it tried again
			require.NoError(t, temporal.SignalWorkflow(ctx, id, "", wallet.SignalCommand, "junk"))
			require.NoError(t, temporal.SignalWorkflow(ctx, id, "", "another", "of no interest"))
			end()

			missing := map[string]string{"applied": "recorded", "signal-1": "missing", "update-1": "missing", "update-2": "missing", "signal-2": "missing", "junk": "malformed"}
			require.Eventually(t, func() bool { states, code = g.salvage(); return len(states) == len(missing) }, soon, 50*time.Millisecond, "the list of runs may lag behind")
			require.Equal(t, missing, states)
			require.Equal(t, exitFailed, code)
			if keys != "" {
				_, errs, code = g.with(codec.Setting+"=other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").run("salvage", "o'neil", "USD")
				require.Equal(t, exitFailed, code)
				require.Contains(t, errs, `payload is encrypted with key "k1"`)
			}

			states, code = g.salvage("--run-id", first)
			require.Equal(t, map[string]string{"applied": "recorded", "signal-1": "missing", "update-1": "missing", "update-2": "missing"}, states)
			require.Equal(t, exitFailed, code)

			sent := map[string]string{"applied": "recorded", "signal-1": "sent", "update-1": "sent", "update-2": "sent", "signal-2": "sent", "junk": "malformed"}
			states, code = g.salvage("--apply")
			require.Equal(t, sent, states)
			require.Zero(t, code)
			states, code = g.salvage("--apply") // nobody has applied them yet
			require.Equal(t, sent, states)
			require.Zero(t, code)

			g.worker = g.startWorker()
			defer func() { g.worker() }()
			require.Eventually(t, func() bool { states, code = g.salvage(); return code == exitDone }, soon, 50*time.Millisecond)
			require.Equal(t, map[string]string{"applied": "recorded", "signal-1": "recorded", "update-1": "recorded", "update-2": "recorded", "signal-2": "recorded", "junk": "malformed"}, states)
			out, errs, code := g.run("balance", "o'neil", "USD", "-o", "json")
			require.Zero(t, code, errs)
			require.Contains(t, out, `"total":"31.00"`)
			out, errs, code = g.run("commands", "o'neil", "USD", "-o", "json")
			require.Zero(t, code, errs)
			require.Regexp(t, `(?s)"applied".*"signal-1".*"update-1".*"update-2".*"signal-2"`, out, "in the order in which they were accepted")
			out, _, _ = g.run("salvage", "o'neil", "USD")
			require.Contains(t, out, "ended runs: 2; commands in them: 6, 5 in the journal, 0 sent again, 0 missing")
			_, errs, code = g.run("verify")
			require.Zero(t, code, errs)
		})
	}
}
