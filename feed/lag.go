package feed

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Lag is how far a consumer is behind, in appends. An append has one or several events, and
// rolled-back appends count too, so it is only a rough measure of the work left.
type Lag struct {
	Consumer string
	Appends  int64
	Parked   int64 // wallets; what waits for these is no part of Appends
}

const sqlLags = `WITH feed AS MATERIALIZED (SELECT max(id) AS last FROM wallet_feed)
		SELECT name, greatest(0, coalesce((SELECT last FROM feed), 0) - after_id),
			(SELECT count(*) FROM wallet_feed_parked WHERE consumer = name AND parked)
		FROM wallet_feed_consumers
		ORDER BY name`

// Lags tells of every consumer, at the cost of two steps into an index, and of reading the
// wallets that wait.
func Lags(ctx context.Context, db *pgxpool.Pool) ([]Lag, error) {
	rows, err := db.Query(ctx, sqlLags)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Lag])
}
