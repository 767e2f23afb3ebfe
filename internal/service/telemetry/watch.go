package telemetry

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

const (
	askEvery    = 10 * time.Second
	askPatience = 3 * time.Second
)

// sqlTimeline is the beginning of the name of the file that Postgres logs to.
const sqlTimeline = `SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int`

// Watched is what a worker depends on but cannot observe by itself.
type Watched struct {
	Temporal  client.Client
	Namespace string
	TaskQueue string
	Pool      *pgxpool.Pool
}

// watch has the latest answers, or nil if there was none; then the metrics are not reported.
//
// It queries in the background. It must not query during a scrape: the scrape holds a lock that
// the Temporal client may need to count the request.
type watch struct {
	tasks, lag, parked metric.Int64ObservableGauge
	timeline           metric.Int64ObservableGauge
	age                metric.Float64ObservableGauge
	holds, grants      openInstruments
	backlogs           atomic.Pointer[[]backlog]
	lags               atomic.Pointer[[]feed.Lag]
	held, granted      atomic.Pointer[openNow]
	webhooks           webhookInstruments
	endpoints          atomic.Pointer[[]webhooks.Lag]
	runs               runInstruments
	running            atomic.Pointer[runningNow]
	timelines          atomic.Pointer[int64]
}

type backlog struct {
	kind  string
	tasks int64
	age   time.Duration
}

func newWatch(meter metric.Meter) (*watch, error) {
	var w watch
	var err error
	if w.tasks, err = meter.Int64ObservableGauge("wallet_task_queue_backlog",
		metric.WithDescription("Tasks waiting in the task queue, roughly.")); err != nil {
		return nil, err
	}
	if w.age, err = meter.Float64ObservableGauge("wallet_task_queue_backlog_age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest waiting task, roughly.")); err != nil {
		return nil, err
	}
	if w.lag, err = meter.Int64ObservableGauge("wallet_feed_lag",
		metric.WithDescription("Appends to the feed that a consumer has not handled, roughly.")); err != nil {
		return nil, err
	}
	if w.parked, err = meter.Int64ObservableGauge("wallet_feed_parked",
		metric.WithDescription("Wallets whose events a consumer cannot handle.")); err != nil {
		return nil, err
	}
	if w.timeline, err = meter.Int64ObservableGauge("wallet_postgres_timeline",
		metric.WithDescription("Timeline of Postgres's log: it changes when a standby is promoted, or a backup restored.")); err != nil {
		return nil, err
	}
	if w.holds, err = newOpenInstruments(meter, "hold"); err != nil {
		return nil, err
	}
	if w.grants, err = newOpenInstruments(meter, "grant"); err != nil {
		return nil, err
	}
	if w.webhooks, err = newWebhookInstruments(meter); err != nil {
		return nil, err
	}
	if w.runs, err = newRunInstruments(meter); err != nil {
		return nil, err
	}
	_, err = meter.RegisterCallback(w.tell, slices.Concat(w.webhooks.all(), w.holds.all(), w.grants.all(),
		[]metric.Observable{w.tasks, w.age, w.lag, w.parked, w.timeline, w.runs.running, w.runs.waiting, w.runs.idle})...)
	return &w, err
}

func (w *watch) tell(_ context.Context, o metric.Observer) error {
	if backlogs := w.backlogs.Load(); backlogs != nil {
		for _, b := range *backlogs {
			of := metric.WithAttributes(attribute.String("tasks", b.kind))
			o.ObserveInt64(w.tasks, b.tasks, of)
			o.ObserveFloat64(w.age, b.age.Seconds(), of)
		}
	}
	if lags := w.lags.Load(); lags != nil {
		for _, l := range *lags {
			of := metric.WithAttributes(attribute.String("consumer", l.Consumer))
			o.ObserveInt64(w.lag, l.Appends, of)
			o.ObserveInt64(w.parked, l.Parked, of)
		}
	}
	if timeline := w.timelines.Load(); timeline != nil {
		o.ObserveInt64(w.timeline, *timeline)
	}
	if held := w.held.Load(); held != nil {
		w.holds.tell(o, *held)
	}
	if granted := w.granted.Load(); granted != nil {
		w.grants.tell(o, *granted)
	}
	if endpoints := w.endpoints.Load(); endpoints != nil {
		w.webhooks.tell(o, *endpoints)
	}
	if running := w.running.Load(); running != nil {
		w.runs.tell(o, *running)
	}
	return nil
}

// Watch queries the backlog of tasks, the lag of the feed's consumers, holds, grants and runs periodically until ctx
// ends.
func (m *Metrics) Watch(ctx context.Context, w Watched) {
	ticks := time.NewTicker(askEvery)
	defer ticks.Stop()
	for {
		m.watch.backlogs.Store(ask(ctx, w.backlogs))
		m.watch.lags.Store(ask(ctx, func(ctx context.Context) ([]feed.Lag, error) { return feed.Lags(ctx, w.Pool) }))
		m.watch.timelines.Store(ask(ctx, func(ctx context.Context) (n int64, err error) {
			err = w.Pool.QueryRow(ctx, sqlTimeline).Scan(&n)
			return n, err
		}))
		m.watch.held.Store(ask(ctx, func(ctx context.Context) (openNow, error) { return countOpen(ctx, w.Pool, sqlHolds) }))
		m.watch.granted.Store(ask(ctx, func(ctx context.Context) (openNow, error) { return countOpen(ctx, w.Pool, sqlGrants) }))
		m.watch.endpoints.Store(ask(ctx, func(ctx context.Context) ([]webhooks.Lag, error) { return webhooks.Lags(ctx, w.Pool) }))
		m.watch.running.Store(ask(ctx, func(ctx context.Context) (runningNow, error) { return countRuns(ctx, w.Pool) }))
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func ask[T any](ctx context.Context, question func(context.Context) (T, error)) *T {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	answer, err := question(ctx)
	if err != nil { // the series disappear, and readiness says why
		return nil
	}
	return &answer
}

func (w Watched) backlogs(ctx context.Context) (all []backlog, err error) {
	for _, kind := range []struct {
		name string
		of   enumspb.TaskQueueType
	}{{"workflow", enumspb.TASK_QUEUE_TYPE_WORKFLOW}, {"activity", enumspb.TASK_QUEUE_TYPE_ACTIVITY}} {
		described, err := w.Temporal.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
			Namespace: w.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: w.TaskQueue}, TaskQueueType: kind.of, ReportStats: true,
		})
		if err != nil {
			return nil, err
		}
		stats := described.GetStats()
		all = append(all, backlog{kind.name, stats.GetApproximateBacklogCount(), stats.GetApproximateBacklogAge().AsDuration()})
	}
	return all, nil
}
