package telemetry_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// watched is a worker with metrics and probes, on the test's own database and task queue, and a
// caller.
type watched struct {
	*service.Service
	t           *testing.T
	temporal    client.Client // of the worker
	db          *pgxpool.Pool // of the worker
	databaseURL string        // connects as the owner of the tables
	clock       testenv.Clock // of Postgres, as the worker sees it
	queue, user string
	wallets     *starter.Client
	logs        *observer.ObservedLogs
}

func watch(t *testing.T) *watched {
	w := &watched{t: t, databaseURL: testenv.DatabaseURL(t), queue: testenv.Unique(t, "queue"), user: testenv.Unique(t, "u")}
	_, err := testenv.Pool(t, w.databaseURL).Exec(t.Context(), `INSERT INTO wallet_feed_consumers (name, after_id, after_version) VALUES ('test', 0, 0)`)
	require.NoError(t, err)
	w.clock = testenv.NewClock(t, w.databaseURL)
	w.start()
	return w
}

// start starts the worker, and a caller on the same client.
func (w *watched) start() {
	t := w.t
	metrics, err := telemetry.NewMetrics()
	require.NoError(t, err)
	t.Setenv("TEMPORAL_ADDRESS", testenv.TemporalAddress(t))
	core, logs := observer.New(zap.InfoLevel)
	w.logs = logs
	w.temporal, _, err = service.DialTemporal(t.Context(), zap.New(core), metrics.Client)
	require.NoError(t, err)
	t.Cleanup(w.temporal.Close)
	w.db, err = service.OpenPool(t.Context(), service.Database{URL: w.clock.URL, Setting: "the test's"})
	require.NoError(t, err)
	t.Cleanup(w.db.Close)
	w.Service, err = service.Start(context.Background(), service.Options{
		Temporal: w.temporal, Namespace: client.DefaultNamespace, Pool: w.db, TaskQueue: w.queue, Logger: zap.New(core),
		Metrics: metrics, HTTPAddress: "127.0.0.1:0", VerifyEvery: time.Hour,
	})
	require.NoError(t, err)
	w.wallets, err = starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)
}

// get sends a request to the worker's HTTP server.
func (w *watched) get(path string) (status int, body string) {
	answer, err := http.Get(w.URL() + path)
	require.NoError(w.t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(w.t, err)
	return answer.StatusCode, string(data)
}

// scrape reads the worker's metrics as Prometheus does.
func (w *watched) scrape() map[string]*dto.MetricFamily {
	answer, err := http.Get(w.URL() + "/metrics")
	require.NoError(w.t, err)
	defer answer.Body.Close()
	require.Equal(w.t, http.StatusOK, answer.StatusCode)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	require.NoError(w.t, err)
	return families
}

// count adds up the series of a counter, or the observations of a histogram, with these labels.
func (w *watched) count(name string, labels ...string) (sum float64) {
	for _, m := range w.scrape()[name].GetMetric() {
		if hasLabels(m, labels) {
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}) {
			return false
		}
	}
	return true
}

func (w *watched) change(id, amount string) starter.Change {
	return starter.Change{UserID: w.user, Currency: "USD", CommandID: id, Amount: wallet.MustAmount(amount)}
}

// everything makes the worker do everything that it counts.
func (w *watched) everything() {
	t, ctx := w.t, w.t.Context()
	threshold := w.change("low", "8.00") // the second add crosses it
	threshold.Threshold = "low"
	_, err := w.wallets.SetThreshold(ctx, threshold)
	require.NoError(t, err)
	for _, id := range []string{"in-1", "in-2", "in-1"} { // the last is a retry
		_, err := w.wallets.Add(ctx, w.change(id, "5.00"))
		require.NoError(t, err)
	}
	_, err = w.wallets.Subtract(ctx, w.change("out", "100.00"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.NoError(t, w.wallets.Send(ctx, w.user, "USD", wallet.Command{ID: "sent", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}))
	w.eventually("the signalled command", func() bool {
		_, err := w.wallets.Result(ctx, w.user, "USD", "sent")
		return err == nil
	})
	owner := testenv.Pool(t, w.databaseURL)
	_, err = owner.Exec(ctx, `WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ($1))
		INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ($1, 1, $1, 'NONE', '{}')`, w.user)
	require.NoError(t, err)
	require.NoError(t, w.wallets.StartRun(ctx, wallet.RunInput{RunID: w.user}))
	status, err := w.wallets.AwaitRun(ctx, w.user)
	require.NoError(t, err)
	require.EqualValues(t, 1, status.Invalid)
	_, err = owner.Exec(ctx, `INSERT INTO wallet_webhook_endpoints (endpoint_id, url, after_id, after_version, created_by)
		VALUES ('we_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'https://example.com/', 0, 0, 'ann')`)
	require.NoError(t, err)
	_, err = owner.Exec(ctx, `REVOKE SELECT ON wallet_commands FROM wallet_app`)
	require.NoError(t, err)
	require.NoError(t, w.wallets.Send(ctx, w.user, "USD", wallet.Command{ID: "late", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}))
	w.eventually("a step that fails", func() bool {
		return w.count("wallet_step_duration_seconds", "step", "ApplyCommands", "outcome", "failed") > 0
	})
	_, err = owner.Exec(ctx, `GRANT SELECT ON wallet_commands TO wallet_app`)
	require.NoError(t, err)
	w.eventually("the command that was late", func() bool {
		_, err := w.wallets.Result(ctx, w.user, "USD", "late")
		return err == nil
	})
	w.eventually("what is asked for in the background", func() bool {
		scraped := w.scrape()
		return scraped["wallet_verify_findings"] != nil && scraped["wallet_feed_lag"] != nil && scraped["wallet_task_queue_backlog"] != nil &&
			scraped["wallet_holds_open"] != nil && scraped["wallet_webhook_lag_seconds"] != nil && scraped["wallet_runs_running"] != nil && scraped["wallet_postgres_timeline"] != nil
	})
}

// hold places a hold, and captures it if asked to.
func (w *watched) hold(id string, expiresIn string, captured bool) {
	change := w.change(id, "1")
	change.ExpiresIn = expiresIn
	_, err := w.wallets.Hold(w.t.Context(), change)
	require.NoError(w.t, err)
	if captured {
		_, err = w.wallets.Capture(w.t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: "capture " + id, HoldID: id})
		require.NoError(w.t, err)
	}
}

// gauge is the value of one that has no labels.
func (w *watched) gauge(name string) float64 {
	metrics := w.scrape()[name].GetMetric()
	if len(metrics) != 1 {
		return -1
	}
	return metrics[0].GetGauge().GetValue()
}

func (w *watched) eventually(what string, condition func() bool) {
	deadline := time.Now().Add(4 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(w.t, "never came: "+what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
