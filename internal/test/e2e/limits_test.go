package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/starter"
)

// sized returns a command with that many bytes of metadata.
func sized(id string, metadata int) wallet.Command {
	command := add(id, "1")
	command.Metadata = map[string]string{"k": strings.Repeat("v", metadata)}
	return command
}

func sizedBatch(prefix string, commands, metadata int) []wallet.Command {
	batch := make([]wallet.Command, commands)
	for i, id := range numbered(prefix, commands) {
		batch[i] = sized(id, metadata)
	}
	return batch
}

// update does what a Temporal client in any language does.
func (w *world) update(name string, argument any) error {
	handle, err := w.temporal.UpdateWorkflow(context.Background(), client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: name, Args: []any{argument}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(context.Background(), nil)
	}
	return err
}

func (w *world) signal(argument any) error {
	return w.temporal.SignalWorkflow(context.Background(), w.workflowID(), "", wallet.SignalCommand, argument)
}

// cliWith runs the temporal CLI with an input that is too long for a command line.
func (w *world) cliWith(input any, args ...string) string {
	data, err := json.Marshal(input)
	require.NoError(w.t, err)
	file := filepath.Join(w.t.TempDir(), "input.json")
	require.NoError(w.t, os.WriteFile(file, data, 0o600))
	out, ok := w.cli(append(args, "--workflow-id", w.workflowID(), "--input-file", file)...)
	require.False(w.t, ok, out)
	return string(bytes.TrimSpace([]byte(out)))
}

// TestWhatIsTooLargeIsRefusedByName exceeds each limit in every possible way. The same run of
// the wallet must continue: if it ended, a signal waiting in it would be lost.
func TestWhatIsTooLargeIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	run := w.currentRun()
	const refused, byTemporal, byGRPC = "at most 4096 are allowed", "Blob data size exceeds limit", "larger than max"
	updateTooLarge := fmt.Sprintf("send at most %d", wallet.MaxUpdateBytes)
	for _, c := range []struct {
		what           string
		command        wallet.Command
		update, signal string
	}{
		{"metadata of 5 KiB", sized("kib", 5<<10), refused, ""}, // the signal is recorded as malformed
		{"a payload of 3 MB", sized("mb", 3<<20), updateTooLarge, byTemporal},
		{"a payload of 5 MB", sized("mb", 5<<20), byGRPC, byGRPC},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := w.wallets.Apply(t.Context(), w.user, "USD", c.command)
			require.ErrorContains(t, err, refused)
			require.ErrorContains(t, w.wallets.Send(t.Context(), w.user, "USD", c.command), refused)
			require.ErrorContains(t, w.update(wallet.UpdateApply, c.command), c.update)
			contains(t, w.cliWith(c.command, "workflow", "update", "execute", "--name", wallet.UpdateApply), c.update)
			if c.signal == "" {
				require.NoError(t, w.signal(c.command))
				return
			}
			_, err = w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: w.user + "-large", TaskQueue: w.queue},
				wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: c.command})
			require.ErrorContains(t, err, c.signal)
			require.ErrorContains(t, w.signal(c.command), c.signal)
			contains(t, w.cliWith(c.command, "workflow", "signal", "--name", wallet.SignalCommand), c.signal)
		})
	}

	for _, c := range []struct {
		batch []wallet.Command
		says  string
	}{
		{sizedBatch("many", wallet.MaxBatch+1, 10), "the batch has 501 commands: send 1 to 500"},
		{sizedBatch("fat", wallet.MaxBatch, 4050), updateTooLarge},
		{append(sizedBatch("one", 1, 10), sized("bad", 5<<10)), "command 1 of the batch (counted from 0): metadata"},
	} {
		err := w.update(wallet.UpdateApplyBatch, c.batch)
		var invalid *wallet.InvalidError
		require.ErrorAs(t, failure.Decode(err), &invalid)
		require.ErrorContains(t, err, c.says)
	}
	_, err = w.wallets.ApplyBatch(t.Context(), w.user, "USD", sizedBatch("many", wallet.MaxBatch+1, 10))
	require.ErrorContains(t, err, "the batch has 501 commands: send 1 to 500")

	require.Equal(t, run, w.currentRun(), "the run has gone on")
	w.requireUnharmed("open", "kib")
}

func (w *world) currentRun() string {
	d, err := w.temporal.DescribeWorkflowExecution(context.Background(), w.workflowID(), "")
	require.NoError(w.t, err)
	return d.WorkflowExecutionInfo.Execution.RunId
}

// TestManyLargeUpdatesAtOnce has ten in flight, as many as Temporal allows. Together they are
// larger than the message that a worker may send back.
func TestManyLargeUpdatesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	ids := []string{"open"}
	var group sync.WaitGroup
	for i := range 10 {
		alone, err := starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
		require.NoError(t, err)
		batch := sizedBatch(fmt.Sprint("c", i), 200, 4050)
		for _, command := range batch {
			ids = append(ids, command.ID)
		}
		group.Go(func() {
			results, err := alone.ApplyBatch(context.Background(), w.user, "USD", batch)
			require.NoError(t, err)
			require.Len(t, results, len(batch))
		})
	}
	group.Wait()
	w.requireUnharmed(ids...)
}
