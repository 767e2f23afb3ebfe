package telemetry_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md anew")

func TestEachCommandIsCountedOnce(t *testing.T) {
	w := watch(t)
	w.everything()
	require.EqualValues(t, 4, w.count("wallet_commands_total", "type", "add", "status", "applied"))
	require.EqualValues(t, 1, w.count("wallet_commands_total", "type", "subtract", "status", "unapplied", "reason", "insufficient_funds"))
	require.EqualValues(t, 6, w.count("wallet_commands_total"), "the retry is not counted again")
	require.EqualValues(t, 7, w.count("wallet_commands_answered_total"))
	require.EqualValues(t, 5, w.count("wallet_commands_received_total", "by", "update"))
	require.EqualValues(t, 2, w.count("wallet_commands_received_total", "by", "signal"))
	require.EqualValues(t, 7, w.count("wallet_queue_length"))
	require.EqualValues(t, 7, w.count("wallet_batch_size"))
	require.EqualValues(t, 1, w.count("wallet_thresholds_crossed_total", "direction", "above"))
	_, body := w.get("/metrics")
	require.NotContains(t, body, w.user, "no label names a user")
	w.Stop()

	w.start() // another worker that replays the history
	defer w.Stop()
	_, err := w.wallets.Add(t.Context(), w.change("in-3", "1"))
	require.NoError(t, err)
	require.EqualValues(t, 1, w.count("wallet_commands_total"))
	require.EqualValues(t, 1, w.count("wallet_commands_received_total"))
	require.EqualValues(t, 1, w.count("wallet_queue_length"))
}

func TestReadyOnlyWhileEverythingAnswers(t *testing.T) {
	w := watch(t)
	status, body := w.get("/readyz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"worker": "ok", "postgres": "ok", "temporal": "ok"}`, body)

	const failed = "failed: the log says why"
	for range w.db.Config().MaxConns { // keep the steps' pool busy
		conn, err := w.db.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
	status, _ = w.get("/readyz")
	require.Equal(t, http.StatusOK, status)

	testenv.Exec(t, w.databaseURL, `REVOKE INSERT ON wallet_commands FROM wallet_app`)
	for range 2 {
		status, body = w.get("/readyz")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.JSONEq(t, `{"worker": "ok", "postgres": "`+failed+`", "temporal": "ok"}`, body)
	}
	require.Equal(t, 1, w.logs.FilterMessage("not ready").Len(), "the same is logged once")
	require.Contains(t, w.logs.FilterMessage("not ready").All()[0].ContextMap()["error"], "lacks rights that a worker needs (INSERT wallet_commands)")
	testenv.Exec(t, w.databaseURL, `GRANT INSERT ON wallet_commands TO wallet_app`)
	status, _ = w.get("/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, 1, w.logs.FilterMessage("ready again").Len())

	database := w.db.Config().ConnConfig.Database
	testenv.Exec(t, w.databaseURL, `ALTER DATABASE `+database+` SET default_transaction_read_only = on`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wallet_app' AND datname = current_database()`)
	require.Eventually(t, func() bool { // the first probe may find its connection closed
		status, _ = w.get("/readyz")
		require.Equal(t, http.StatusServiceUnavailable, status)
		return w.logs.FilterField(zap.String("check", "postgres")).FilterFieldKey("error").Filter(func(e observer.LoggedEntry) bool {
			return strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "begins transactions read-only")
		}).Len() == 1
	}, time.Minute, 20*time.Millisecond)
	status, _ = w.get("/healthz")
	require.Equal(t, http.StatusOK, status, "alive all the same")

	w.Stop()
	_, err := http.Get(w.URL() + "/healthz")
	require.Error(t, err)
}

// TestTheTableInTheDocsIsReal compares docs/metrics.md with a scrape. "go test
// ./internal/service/telemetry -run Docs -update" rewrites it.
func TestTheTableInTheDocsIsReal(t *testing.T) {
	w := watch(t)
	defer w.Stop()
	w.everything()
	families := w.scrape()
	table := &strings.Builder{}
	fmt.Fprintln(table, "| metric | what |\n|---|---|")
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		if !strings.HasPrefix(name, "wallet_") {
			continue
		}
		labels := map[string]bool{}
		for _, m := range f.Metric {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		if len(labels) > 0 {
			name += "{" + strings.Join(slices.Sorted(maps.Keys(labels)), ",") + "}"
		}
		fmt.Fprintf(table, "| `%s` | %s |\n", name, f.GetHelp())
	}
	path := filepath.Join("..", "..", "..", "docs", "metrics.md")
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	const begin, end = "<!-- from a scrape -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(string(doc), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	real := before + begin + table.String() + end + after
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(real), 0o644))
		return
	}
	require.Equal(t, real, string(doc), "a metric was renamed: who watches has to know")
}

func TestNoAddressIsNotEveryInterface(t *testing.T) {
	server, err := telemetry.Serve("", http.NotFoundHandler(), zap.NewNop(), nil)
	if err == nil {
		defer server.Close()
	}
	require.ErrorContains(t, err, "WALLET_HTTP_ADDRESS")
}

// TestAFailedVerificationIsTold checks the timestamp that the alert compares with the last
// finished verification.
func TestAFailedVerificationIsTold(t *testing.T) {
	metrics, err := telemetry.NewMetrics()
	require.NoError(t, err)
	scraped := func() string {
		answer := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return answer.Body.String()
	}
	require.Contains(t, scraped(), "\nwallet_verify_failed_timestamp_seconds 0\n")
	metrics.NotVerified(t.Context())
	require.Regexp(t, `\nwallet_verify_failed_timestamp_seconds [1-9]`, scraped())
	require.NotContains(t, scraped(), "wallet_verify_finished_timestamp_seconds")
}

func TestRequestsAreMeasuredByRouteMethodAndStatus(t *testing.T) {
	metrics, err := telemetry.NewMetrics()
	require.NoError(t, err)
	scraped := func() string {
		answer := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return answer.Body.String()
	}
	measured := metrics.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		telemetry.SetRoute(w, r.Method+" /v1/wallets/{user}")
		require.Contains(t, scraped(), "\nwallet_http_active_requests 1\n")
		if r.URL.Query().Has("refuse") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	for _, r := range []struct{ method, path string }{
		{http.MethodPost, "/v1/wallets/u1"}, {http.MethodPost, "/v1/wallets/u2"}, {http.MethodPost, "/v1/wallets/u2?refuse"}, {http.MethodGet, "/v1/wallets/u1"},
	} {
		measured.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r.method, r.path, nil))
	}
	for series, count := range map[string]int{
		`method="POST",route="POST /v1/wallets/{user}",status="200"`: 2,
		`method="POST",route="POST /v1/wallets/{user}",status="422"`: 1,
		`method="GET",route="GET /v1/wallets/{user}",status="200"`:   1,
	} {
		require.Contains(t, scraped(), fmt.Sprintf("\nwallet_http_request_duration_seconds_count{%s} %d\n", series, count))
	}
	require.Contains(t, scraped(), "\nwallet_http_active_requests 0\n")
}
