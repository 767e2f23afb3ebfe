package telemetry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
)

const (
	// mostCounted holds or grants are counted, so that the question stays cheap however many are open.
	mostCounted = 1_000_000

	// sqlByIndex keeps plans from the whole table, of which most rows are closed.
	sqlByIndex = `SET LOCAL enable_seqscan = off`

	sqlOpen = `SELECT
			(SELECT count(*) FROM (SELECT FROM %[1]s WHERE state = 'open' LIMIT $1) AS open),
			count(*), coalesce(extract(epoch FROM clock_timestamp() - min(expires_at)), 0)::float8
		FROM (SELECT expires_at
			FROM %[1]s
			WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= (SELECT clock_timestamp())
			ORDER BY expires_at
			LIMIT $1) AS overdue`
)

var (
	sqlHolds  = fmt.Sprintf(sqlOpen, "wallet_holds")
	sqlGrants = fmt.Sprintf(sqlOpen, "wallet_grants")
)

// openNow are the holds or the grants of all wallets.
type openNow struct {
	Open, Overdue int64
	OverdueFor    float64 // seconds since the first of them expired
}

func countOpen(ctx context.Context, db *pgxpool.Pool, sql string) (n openNow, err error) {
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlByIndex); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql, mostCounted).Scan(&n.Open, &n.Overdue, &n.OverdueFor)
	})
	n.OverdueFor = max(n.OverdueFor, 0)
	return n, err
}

// openInstruments tell of holds or grants. What became of them is counted as commands.
type openInstruments struct {
	open, overdue metric.Int64ObservableGauge
	overdueAge    metric.Float64ObservableGauge
}

// newOpenInstruments are of a thing, "hold" or "grant".
func newOpenInstruments(meter metric.Meter, thing string) (h openInstruments, err error) {
	name := "wallet_" + thing + "s_"
	if h.open, err = meter.Int64ObservableGauge(name+"open",
		metric.WithDescription("Open "+thing+"s of all wallets, counted up to a million.")); err != nil {
		return h, err
	}
	if h.overdue, err = meter.Int64ObservableGauge(name+"overdue",
		metric.WithDescription("Expired "+thing+"s whose expiry has no entry yet.")); err != nil {
		return h, err
	}
	h.overdueAge, err = meter.Float64ObservableGauge(name+"overdue_age", metric.WithUnit("s"),
		metric.WithDescription("How long ago the first overdue "+thing+" expired, or 0."))
	return h, err
}

func (h openInstruments) all() []metric.Observable {
	return []metric.Observable{h.open, h.overdue, h.overdueAge}
}

func (h openInstruments) tell(o metric.Observer, now openNow) {
	o.ObserveInt64(h.open, now.Open)
	o.ObserveInt64(h.overdue, now.Overdue)
	o.ObserveFloat64(h.overdueAge, now.OverdueFor)
}
