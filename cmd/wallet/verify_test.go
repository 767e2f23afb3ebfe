package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// fillWallet writes the journal and the events of one wallet through the steps.
func fillWallet(t *testing.T, url string, entries int, metadata string) {
	steps := activities.New(testenv.Pool(t, url))
	ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
	for done := 0; done < entries; {
		var batch []wallet.Received
		for ; done < entries && len(batch) < wallet.MaxBatch; done++ {
			c := wallet.Command{ID: fmt.Sprint(done), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
			if done == 0 {
				c.Type, c.Amount = wallet.TypeCreate, wallet.Amount{}
			}
			if metadata != "" {
				c.Metadata = map[string]string{"text": metadata}
			}
			batch = append(batch, wallet.Received{Command: c})
		}
		_, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: batch})
		require.NoError(t, err)
		_, err = steps.RecordEvents(t.Context(), ref)
		require.NoError(t, err)
	}
}

// TestVerifyHoldsNoJournalInMemory gives one wallet a journal and events of more
// than 180 MiB.
func TestVerifyHoldsNoJournalInMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Maxrss has other units")
	}
	const entries, mostKiB = 24_000, 128 << 10
	url := testenv.DatabaseURL(t)
	fillWallet(t, url, entries, strings.Repeat("4 KiB are allowed", 4000/17))
	cmd := exec.Command(binary, "verify", "--output", "json")
	cmd.Env = append(os.Environ(), "WALLET_DATABASE_URL="+url)
	out, err := cmd.Output()
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"wallets": 1, "entries": %d, "events": %[1]d, "findings": []}`, entries), string(out))
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	t.Logf("%d MiB", peak>>10)
	require.Less(t, peak, int64(mostKiB))
}
