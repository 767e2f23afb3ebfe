package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// TestNoMessageStopsAWallet sends what once did, or might: after each, the next command must be
// answered.
func TestNoMessageStopsAWallet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	long := strings.Repeat("€", 3000)
	for i, message := range []any{
		map[string]any{"id": "type", "type": "transfer", "amount": "1"},
		map[string]any{"id": "reply", "type": "add", "amount": "1", "reply_to": map[string]any{"workflow_id": "w"}},
		map[string]any{"id": "long-reply", "type": "add", "amount": "1", "reply_to": map[string]any{"workflow_id": long, "signal": "s"}},
		map[string]any{"id": "cut-1", "type": "add", "amount": map[string]any{"vv": long}},
		map[string]any{"id": "cut-2", "type": "add", "amount": map[string]any{"v": long}},
		map[string]any{"id": "cut-3", "type": "add", "amount": map[string]any{"": long}},
		map[string]any{"id": "nul", "type": "add", "amount": "1\x00", "description": "\x00"},
		map[string]any{"id": strings.Repeat("i", 5000), "type": strings.Repeat("t", 5000)},
		map[string]any{"id": map[string]any{}, "type": []string{}, "metadata": "m", "reply_to": 7},
		[]byte("\xff\xfe\x00"),
	} {
		require.NoError(t, w.temporal.SignalWorkflow(t.Context(), w.workflowID(), "", wallet.SignalCommand, message))
		for _, update := range []string{wallet.UpdateApply, wallet.UpdateApplyBatch} {
			argument := message
			if update == wallet.UpdateApplyBatch {
				argument = []any{message}
			}
			handle, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
				WorkflowID: w.workflowID(), UpdateName: update, Args: []any{argument}, WaitForStage: client.WorkflowUpdateStageCompleted,
			})
			if err == nil {
				err = handle.Get(t.Context(), nil)
			}
			var invalid *wallet.InvalidError
			require.ErrorAs(t, failure.Decode(err), &invalid, "message %d", i)
		}
		_, err := w.wallets.Add(t.Context(), w.change(fmt.Sprint("after-", i), "1"))
		require.NoError(t, err)
		_, journal := w.requireSound()
		require.Equal(t, wallet.ReasonMalformed, journal[2*i+1].Reason, "message %d", i)
	}
}

func TestTheLargestAmountOfTheFinestCurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.owner.Exec(t.Context(), `INSERT INTO currencies VALUES ('NEAR', 24)`)
	require.NoError(t, err)
	nines := strings.Repeat("9", wallet.MaxAmountDigits)
	for i := range 3 {
		change := w.change(fmt.Sprint("a", i), nines)
		change.Currency = "NEAR"
		r, err := w.wallets.Add(t.Context(), change)
		require.NoError(t, err)
		require.Equal(t, int64(i+2), r.Version)
	}
	asset, err := w.read.Asset(t.Context(), w.user, "NEAR")
	require.NoError(t, err)
	require.Equal(t, "299999999999999999999999999999999999997.000000000000000000000000", asset.Total.String())
}

// TestALostBalanceRowIsRestoredFromTheJournal covers both ways of opening a wallet.
func TestALostBalanceRowIsRestoredFromTheJournal(t *testing.T) {
	t.Parallel()
	for _, opened := range []bool{true, false} {
		w := newWorld(t)
		if opened {
			_, err := w.wallets.Create(t.Context(), w.change("open", ""))
			require.NoError(t, err)
		}
		_, err := w.wallets.Add(t.Context(), w.change("a", "5"))
		require.NoError(t, err)
		_, err = w.wallets.Subtract(t.Context(), w.change("b", "9"))
		require.Error(t, err)
		_, err = w.owner.Exec(t.Context(), `DELETE FROM wallet_assets`)
		require.NoError(t, err)
		r, err := w.wallets.Add(t.Context(), w.change("c", "1"))
		require.NoError(t, err)
		require.Equal(t, "6.00", r.TotalAfter.String())
		w.requireSound()
	}
}

// TestMoreRepliesThanTemporalAllowsAtOnce queues 2,300 while no worker is running; a workflow
// task with more than 2,000 would fail forever.
func TestMoreRepliesThanTemporalAllowsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	w.worker.Stop()
	const n = 2300
	for i := range n {
		command := add(fmt.Sprint("r-", i), "1")
		command.ReplyTo = &wallet.ReplyTo{WorkflowID: "nobody", Signal: "x"}
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", command))
	}
	w.startWorker(w.db)
	r, err := w.wallets.Add(t.Context(), w.change("after", "1"))
	require.NoError(t, err)
	require.Equal(t, "2301.00", r.TotalAfter.String())
	w.requireSound()
}

func TestALargeBatchIsSplitByBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commands := make([]wallet.Command, wallet.MaxBatch)
	for i := range commands {
		commands[i] = add(fmt.Sprint("c-", i), "1")
		commands[i].Description = strings.Repeat("é", wallet.MaxDescriptionCharacters)
		commands[i].Metadata = map[string]string{"k": strings.Repeat("v", 4000)}
	}
	results, err := w.wallets.ApplyBatch(t.Context(), w.user, "USD", commands)
	require.NoError(t, err)
	require.Equal(t, "500.00", results[499].TotalAfter.String())

	var group sync.WaitGroup // the same, coalesced
	for i := range commands {
		group.Go(func() {
			r, err := w.wallets.Apply(context.Background(), w.user, "USD", commands[i])
			require.NoError(t, err)
			require.True(t, r.Replayed)
		})
	}
	group.Wait()
	w.requireSound()
}
