package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestAReadSaysThatItIsFromAStandby has one that replays nothing any more.
func TestAReadSaysThatItIsFromAStandby(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	owner := primary.URL(testenv.OwnDatabase)
	apply := func(id string) {
		_, err := activities.New(testenv.Pool(t, owner)).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
			AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"},
			Commands: []wallet.Received{{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}}},
		})
		require.NoError(t, err)
	}
	apply("before")
	standby := testenv.Standby(t, primary)
	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_wal_replay_pause()`)
	apply("after")

	first := testenv.AppURL(t, standby.URL(testenv.OwnDatabase))
	address := fmt.Sprint("127.0.0.1:", standby.Port())
	both := strings.Replace(first, address, fmt.Sprint(address, ",127.0.0.1:", primary.Port()), 1)
	out, errs, code := newShell(t, owner).with("WALLET_DATABASE_URL="+both).run("balance", "u1", "USD", "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"available":"2.00"`, "the primary's, though the standby comes first")
	require.Empty(t, errs)

	s := newShell(t, owner).with("WALLET_DATABASE_URL=" + first)
	out, errs, code = s.run("balance", "u1", "USD", "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Regexp(t, `^\{.*"available":"1.00".*\}\n$`, out)
	require.Contains(t, errs, `{"note":"read from the standby `+address+`, `)
	_, errs, _ = s.run("balance", "u1", "USD")
	require.Contains(t, errs, "note: read from the standby "+address+", ")

	_, errs, code = s.run("repair", "u1", "USD")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "no Postgres to write to at "+address)
}
