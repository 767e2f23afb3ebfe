package httpserver_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// readsOf follows standbys as "wallet serve" does.
func readsOf(t *testing.T, primary *devstack.Postgres, standbys string) *postgres.Reads {
	reads, err := service.OpenReads(t.Context(), service.Database{URL: standbys, Setting: "WALLET_READ_DATABASE_URL"}, nil)
	require.NoError(t, err)
	t.Cleanup(reads.Pool.Close)
	go reads.Follow(t.Context(), testenv.Pool(t, testenv.AppURL(t, primary.URL(testenv.OwnDatabase))))
	return reads
}

// age is what an answer says of itself.
func age(t *testing.T, r reply) float64 {
	seconds, err := strconv.ParseFloat(r.Header.Get("Wallet-Age"), 64)
	require.NoError(t, err, "%v", r.Header)
	return seconds
}

// TestReadsComeFromTheStandby has a standby that keeps up with an idle primary, then one that replays
// nothing any more. Commands are applied all the same, and what became of them is asked of the primary.
func TestReadsComeFromTheStandby(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	standby := testenv.Standby(t, primary)
	app := func(p *devstack.Postgres) string { return testenv.AppURL(t, p.URL(testenv.OwnDatabase)) }
	reads := readsOf(t, primary, app(standby))
	w := newIdleWorld(t, testenv.Pool(t, app(primary)), func(o *httpserver.Options) { o.Reads, o.AnswerTimeout = reads, 5*time.Second })
	w.startWorker()
	const wallet = "/v1/wallets/u1/USD"
	add := func(id string) {
		r := w.post(wallet+"/commands", fmt.Sprintf(`{"id":%q,"type":"add","amount":"1"}`, id))
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.Empty(t, r.Header.Get("Wallet-Age"))
	}
	for version := 2; version < 10; version++ { // each is read right after it is written
		add(fmt.Sprint("add-", version))
		for _, read := range []string{"balance?", "journal?", "events?", "holds?", "grants?", "statement?", "receipts/add-2?"} {
			r := w.get(fmt.Sprintf("%s/%sat_least_version=%d", wallet, read, version))
			require.Equal(t, http.StatusOK, r.StatusCode, r.body)
			require.GreaterOrEqual(t, age(t, r), 0.0)
			if read == "balance?" {
				require.Contains(t, r.body, fmt.Sprintf(`"version":%d,`, version))
			}
		}
	}
	// Nothing is written meanwhile, and yet what is read is not old.
	testenv.Exec(t, primary.URL("postgres"), `CHECKPOINT`)
	idle := time.Now()
	require.Eventually(t, func() bool {
		return age(t, w.get(wallet+"/balance")) < time.Since(idle).Seconds()/2
	}, time.Minute, 100*time.Millisecond, "an idle primary makes no answer old")

	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_wal_replay_pause()`)
	add("unseen")
	unseen := time.Now()
	r := w.get(wallet + "/balance")
	require.Contains(t, r.body, `"version":9,`)
	require.Equal(t, http.StatusOK, w.get(wallet+"/commands/unseen").StatusCode, "of the primary")
	require.Equal(t, http.StatusNotFound, w.get(wallet+"/receipts/unseen").StatusCode)
	for _, read := range []string{wallet + "/balance?at_least_version=10", wallet + "/journal?at_least_version=10", "/v1/wallets/later/USD/balance?at_least_version=1"} {
		r = w.get(read)
		require.Equal(t, http.StatusServiceUnavailable, r.StatusCode, r.body)
		require.Equal(t, "behind", r.json(t)["kind"])
		require.NotEmpty(t, r.Header.Get("Retry-After"))
	}
	time.Sleep(time.Until(unseen.Add(2 * time.Second)))
	for _, read := range []string{"balance", "journal", "receipts/unseen", "statement?format=csv"} {
		require.Greater(t, age(t, w.get(wallet+"/"+read)), 1.5, "it lacks what was committed then: %s", read)
	}
	require.Greater(t, reads.Lag(), 900*time.Millisecond)

	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_wal_replay_resume()`)
	require.Contains(t, w.get(wallet+"/balance?at_least_version=10").body, `"version":10,`)
	require.Equal(t, http.StatusServiceUnavailable, w.get(wallet+"/balance?at_least_version=11").StatusCode, "it may come")

	// Without the standby there are no reads, but commands.
	require.NoError(t, standby.Stop())
	require.Equal(t, http.StatusServiceUnavailable, w.get(wallet+"/balance").StatusCode)
	add("alone")
	require.Eventually(t, func() bool { return reads.Check(t.Context()) != nil }, time.Minute, 20*time.Millisecond)
	require.NoError(t, standby.Start(t.Context()))
	require.Contains(t, w.get(wallet+"/balance?at_least_version=11").body, `"version":11,`)
	require.Eventually(t, func() bool { return reads.Check(t.Context()) == nil }, time.Minute, 20*time.Millisecond)
}

// TestLaterReadsOfARequestAreNotOlder has connections to two standbys, of which one is behind.
func TestLaterReadsOfARequestAreNotOlder(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	ahead, behind := testenv.Standby(t, primary), testenv.Standby(t, primary)
	url := func(p *devstack.Postgres) string { return testenv.AppURL(t, p.URL(testenv.OwnDatabase)) }
	reads := readsOf(t, primary, url(ahead))
	old := readsOf(t, primary, url(behind))
	testenv.Exec(t, behind.URL("postgres"), `SELECT pg_wal_replay_pause()`)
	testenv.Exec(t, primary.URL(testenv.OwnDatabase), `INSERT INTO wallets (user_id) VALUES ('u1')`)

	count := func(r *postgres.Reads, view *postgres.View) (n int, err error) {
		ctx := postgres.WithView(t.Context(), view)
		err = r.Pool.QueryRow(ctx, `SELECT count(*) FROM wallets`).Scan(&n)
		return n, err
	}
	view := &postgres.View{}
	require.Eventually(t, func() bool {
		n, err := count(reads, view)
		require.NoError(t, err)
		return n == 1
	}, time.Minute, 20*time.Millisecond)
	n, err := count(old, &postgres.View{})
	require.NoError(t, err)
	require.Zero(t, n, "it is behind")
	resumed := make(chan struct{})
	time.AfterFunc(time.Second, func() {
		defer close(resumed)
		testenv.Exec(t, behind.URL("postgres"), `SELECT pg_wal_replay_resume()`)
	})
	n, err = count(old, view)
	<-resumed
	require.NoError(t, err)
	require.Equal(t, 1, n, "what the request has seen once is not gone")
}
