package telemetry

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
)

// sqlRuns looks at few rows: those of the runs and of their parts, and the lines that wait, up to a
// million. A step saves a part each time that lines are done.
const sqlRuns = `SELECT count(*),
		coalesce(max(extract(epoch FROM clock_timestamp() - greatest(r.updated_at, p.updated_at))), 0)::float8,
		coalesce(sum(w.lines), 0)::bigint
	FROM wallet_runs AS r
	CROSS JOIN LATERAL (
		SELECT max(updated_at) AS updated_at
		FROM wallet_run_parts
		WHERE run_id = r.run_id) AS p
	CROSS JOIN LATERAL (
		SELECT count(*) AS lines
		FROM (SELECT FROM wallet_run_waiting WHERE run_id = r.run_id LIMIT $1) AS counted) AS w
	WHERE r.state = 'running'`

// runningNow are the runs in progress.
type runningNow struct {
	Runs    int64
	IdleFor float64 // seconds since a line was done, in the run that is longest without one
	Waiting int64   // lines
}

func countRuns(ctx context.Context, db *pgxpool.Pool) (r runningNow, err error) {
	err = db.QueryRow(ctx, sqlRuns, mostCounted).Scan(&r.Runs, &r.IdleFor, &r.Waiting)
	r.IdleFor = max(r.IdleFor, 0)
	return r, err
}

// runInstruments tell of runs. What became of their lines is counted by the steps.
type runInstruments struct {
	running, waiting metric.Int64ObservableGauge
	idle             metric.Float64ObservableGauge
}

func newRunInstruments(meter metric.Meter) (r runInstruments, err error) {
	if r.running, err = meter.Int64ObservableGauge("wallet_runs_running",
		metric.WithDescription("Runs that have begun, and are not paused, cancelled or done.")); err != nil {
		return r, err
	}
	if r.waiting, err = meter.Int64ObservableGauge("wallet_run_lines_waiting",
		metric.WithDescription("Lines of running runs that wait for a locked or unreadable wallet.")); err != nil {
		return r, err
	}
	r.idle, err = meter.Float64ObservableGauge("wallet_run_idle", metric.WithUnit("s"),
		metric.WithDescription("How long the running run that is stuck the longest has made no progress, or 0."))
	return r, err
}

func (r runInstruments) tell(o metric.Observer, now runningNow) {
	o.ObserveInt64(r.running, now.Runs)
	o.ObserveInt64(r.waiting, now.Waiting)
	o.ObserveFloat64(r.idle, now.IdleFor)
}
