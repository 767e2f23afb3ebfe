package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// applyOn adds 1.
func applyOn(t *testing.T, url, id string) {
	_, err := activities.New(testenv.Pool(t, url)).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
		AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}, AndRecord: true,
		Commands: []wallet.Received{{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}}},
	})
	require.NoError(t, err)
}

// TestReadsGoToTheReadDatabase has a standby that keeps up, then one that replays nothing any more. What
// is asked of the primary sees the difference.
func TestReadsGoToTheReadDatabase(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	owner := primary.URL(testenv.OwnDatabase)
	applyOn(t, owner, "before")
	standby := testenv.Standby(t, primary)
	s := newShell(t, owner).with("WALLET_READ_DATABASE_URL=" + testenv.AppURL(t, standby.URL(testenv.OwnDatabase)))
	for i := range 20 { // each is read right after it is written
		applyOn(t, owner, fmt.Sprint("add-", i))
		out, errs, code := s.run("balance", "u1", "USD", "-o", "json")
		require.Equal(t, exitDone, code, errs)
		require.Contains(t, out, fmt.Sprintf(`"available":"%d.00"`, i+2))
		require.Empty(t, errs, "it has what the primary has, however long ago that was")
	}

	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_wal_replay_pause()`)
	applyOn(t, owner, "unseen")
	for _, read := range [][]string{{"balance", "u1", "USD"}, {"statement", "u1", "USD"}, {"events", "u1", "USD"}, {"commands"}, {"find", "before"}, {"totals"}, {"holds", "u1"}, {"grants", "u1"}, {"head", "u1", "USD"}, {"receipt", "u1", "USD", "before"}, {"verify"}} {
		out, errs, code := s.run(read...)
		require.Equal(t, exitDone, code, errs)
		require.NotContains(t, out, "unseen")
		require.Contains(t, errs, fmt.Sprint("note: read from the standby 127.0.0.1:", standby.Port(), ", whose last replayed transaction was committed "), read)
	}
	out, errs, code := s.run("subtract", "u1", "USD", "22", "--id", "spend", "--dry-run", "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"total_after":"0.00"`, "a dry run is of what is there now")
	out, errs, code = s.run("balance", "u1", "USD", "--database-url", owner, "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"available":"22.00"`, "the URL that is given counts")

	require.NoError(t, primary.Stop())
	out, errs, code = s.run("balance", "u1", "USD", "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"available":"21.00"`)
	require.Contains(t, errs, `{"note":"read from the standby `)
	require.NoError(t, primary.Start(t.Context())) // for its Stop
}

// TestServeIsReadyWithoutItsStandby stops the standby: the metric grows, and the console has no page.
func TestServeIsReadyWithoutItsStandby(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	owner := primary.URL(testenv.OwnDatabase)
	applyOn(t, owner, "before")
	standby := testenv.Standby(t, primary)
	addresses := freeAddresses(t, 2)
	newShell(t, owner).with("WALLET_READ_DATABASE_URL="+testenv.AppURL(t, standby.URL(testenv.OwnDatabase))).startAPI(addresses[0], "--http-address", addresses[1])
	get := func(address, path string) (status int, body string) {
		answer, err := http.Get("http://" + address + path)
		require.NoError(t, err)
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(content)
	}
	const page = "/console/wallet?user=u1&currency=USD"
	status, body := get(addresses[0], page)
	require.Equal(t, http.StatusOK, status, body)
	require.Regexp(t, `Read from a standby: this can be [0-9.]+ s old\.`, body)
	status, body = get(addresses[1], "/readyz")
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `"read_database":"ok"`)
	_, body = get(addresses[1], "/metrics")
	require.Regexp(t, `(?m)^wallet_read_lag_seconds [0-9.e-]+$`, body)

	require.NoError(t, standby.Stop())
	require.Eventually(t, func() bool {
		status, body = get(addresses[1], "/readyz")
		require.Equal(t, http.StatusOK, status, "commands go on")
		return strings.Contains(body, `"read_database":"failed: the log says why"`)
	}, time.Minute, 100*time.Millisecond)
	status, body = get(addresses[0], page)
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	require.NoError(t, standby.Start(t.Context())) // for its Stop
}

// TestAReadSaysThatItIsFromAStandby has one that replays nothing any more.
func TestAReadSaysThatItIsFromAStandby(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	owner := primary.URL(testenv.OwnDatabase)
	applyOn(t, owner, "before")
	standby := testenv.Standby(t, primary)
	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_wal_replay_pause()`)
	applyOn(t, owner, "after")

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
