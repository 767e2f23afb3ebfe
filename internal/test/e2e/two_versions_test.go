package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/mutations"
	"github.com/valueledger/wallet/trail"
)

// TestWorkersOfTwoVersionsAnswerWithTheJournal has workers with different rules and words on one
// task queue. When one of them is gone, the other continues its wallets and repeats its answers.
func TestWorkersOfTwoVersionsAnswerWithTheJournal(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a worker")
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	overlay, err := mutations.Later.WriteOverlay(root, t.TempDir())
	require.NoError(t, err)
	later := filepath.Join(t.TempDir(), "later")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", later, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	w := newWorld(t)
	w.worker.Stop()
	w.startProcess("this")
	killLater := w.startProcessOf(later, "later")

	commands := []wallet.Command{
		add("first", "10"), subtract("too much", "100"), {ID: "order-7", Type: wallet.TypeHold, Amount: wallet.MustAmount("4")},
		{ID: "exceeds", Type: wallet.TypeCapture, HoldID: "order-7", Amount: wallet.MustAmount("5")}, add("second", "1"),
	}
	alone := subtract("alone", "1000")
	var words strings.Builder
	answers := func(user string) {
		results, err := w.wallets.ApplyBatch(t.Context(), user, "USD", commands)
		require.NoError(t, err)
		last, err := w.wallets.Apply(t.Context(), user, "USD", alone)
		var unapplied *wallet.UnappliedError
		require.True(t, errors.As(err, &unapplied), err)
		journal, err := w.read.Commands(t.Context(), trail.CommandFilter{UserID: user, Currency: "USD"})
		require.NoError(t, err)
		recorded := map[string]wallet.Result{}
		for _, e := range journal {
			recorded[e.CommandID] = e.Result()
		}
		for _, r := range append(results, last) {
			asked, err := w.wallets.Result(t.Context(), user, "USD", r.CommandID) // of the workflow, after a replay too
			require.NoError(t, err)
			for _, given := range []wallet.Result{r, asked} {
				given.Replayed = false
				require.Equal(t, asJSON(t, recorded[r.CommandID]), asJSON(t, given))
			}
			words.WriteString(r.Message)
		}
	}

	of := map[string]int{}
	var users []string
	w.eventually("wallets with each of two workers", func() bool {
		user := fmt.Sprint(w.user, "-", len(users))
		answers(user)
		users = append(users, user)
		of[w.lastWorker(user)]++
		return of["this"] > 1 && of["later"] > 1
	})
	require.Contains(t, words.String(), "cannot subtract 100.00 USD: 10.00 available")
	require.Contains(t, words.String(), "100.00 USD are too much: 20.00 can be spent")

	killLater()
	for _, user := range users {
		answers(user)
		require.Equal(t, "this", w.lastWorker(user))
	}
}

func asJSON(t *testing.T, value any) string {
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	return string(encoded)
}
