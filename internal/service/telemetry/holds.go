package telemetry

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
)

const (
	// mostCounted holds are counted, so that the question stays cheap however many are open.
	mostCounted = 1_000_000

	// sqlByIndex keeps plans from the whole table, of which most holds are closed.
	sqlByIndex = `SET LOCAL enable_seqscan = off`

	sqlHolds = `SELECT
			(SELECT count(*) FROM (SELECT FROM wallet_holds WHERE state = 'open' LIMIT $1) AS open),
			count(*), coalesce(extract(epoch FROM clock_timestamp() - min(expires_at)), 0)::float8
		FROM (SELECT expires_at
			FROM wallet_holds
			WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= clock_timestamp()
			ORDER BY expires_at
			LIMIT $1) AS overdue`
)

// heldNow are the holds of all wallets.
type heldNow struct {
	Open, Overdue int64
	OverdueFor    float64 // seconds since the first of them expired
}

func countHolds(ctx context.Context, db *pgxpool.Pool) (h heldNow, err error) {
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlByIndex); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sqlHolds, mostCounted).Scan(&h.Open, &h.Overdue, &h.OverdueFor)
	})
	h.OverdueFor = max(h.OverdueFor, 0)
	return h, err
}

// holdInstruments tell of holds. What became of them is counted as commands.
type holdInstruments struct {
	open, overdue metric.Int64ObservableGauge
	overdueAge    metric.Float64ObservableGauge
}

func newHoldInstruments(meter metric.Meter) (h holdInstruments, err error) {
	if h.open, err = meter.Int64ObservableGauge("wallet_holds_open",
		metric.WithDescription("Open holds of all wallets, counted up to a million.")); err != nil {
		return h, err
	}
	if h.overdue, err = meter.Int64ObservableGauge("wallet_holds_overdue",
		metric.WithDescription("Expired holds whose expiry has no entry yet.")); err != nil {
		return h, err
	}
	h.overdueAge, err = meter.Float64ObservableGauge("wallet_holds_overdue_age", metric.WithUnit("s"),
		metric.WithDescription("How long ago the first overdue hold expired, or 0."))
	return h, err
}

func (h holdInstruments) tell(o metric.Observer, now heldNow) {
	o.ObserveInt64(h.open, now.Open)
	o.ObserveInt64(h.overdue, now.Overdue)
	o.ObserveFloat64(h.overdueAge, now.OverdueFor)
}
