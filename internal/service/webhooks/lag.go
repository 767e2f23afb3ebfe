package webhooks

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Lag is how far an endpoint is behind what is queued. What is not queued yet is the lag of the
// feed's consumer.
type Lag struct {
	Endpoint       string
	EndpointParked bool
	Wallets        int64
	Parked         int64         // events
	Age            time.Duration // since the wallet that waits longest got on; 0 if the endpoint is not active
}

const sqlLags = `SELECT endpoint_id, state = 'parked',
			(SELECT count(*) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id),
			(SELECT count(*) FROM wallet_webhook_events AS p WHERE p.endpoint_id = e.endpoint_id AND retry_at IS NULL),
			CASE WHEN state = 'active' THEN coalesce((
				SELECT clock_timestamp() - min(since) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id), interval '0') ELSE interval '0' END
		FROM wallet_webhook_endpoints AS e
		ORDER BY endpoint_id`

// Lags tells of every endpoint.
func Lags(ctx context.Context, db *pgxpool.Pool) ([]Lag, error) {
	rows, err := db.Query(ctx, sqlLags)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Lag])
}
