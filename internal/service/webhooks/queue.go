package webhooks

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
)

const (
	secretsOf = `(SELECT array_agg(secret ORDER BY secret_id DESC) FROM wallet_webhook_secrets AS s
			WHERE s.endpoint_id = e.endpoint_id AND (expires_at IS NULL OR expires_at > statement_timestamp()))`

	claim = `UPDATE wallet_webhook_queue AS q
		SET lease = $2, lease_until = clock_timestamp() + $3
		FROM due, wallet_webhook_endpoints AS e
		WHERE q.endpoint_id = due.endpoint_id AND q.user_id = due.user_id AND q.currency = due.currency AND e.endpoint_id = $1
		RETURNING q.user_id, q.currency, next_version, last_version, q.failures, url, e.events, ` + secretsOf + `,
			(SELECT array_agg(version) FROM wallet_feed_skipped AS s
				WHERE s.consumer = '` + ConsumerName + `' AND s.user_id = q.user_id AND s.currency = q.currency
					AND version BETWEEN next_version AND last_version AND ended_at IS NULL)`

	sqlClaim = `WITH due AS (
			SELECT endpoint_id, user_id, currency
			FROM wallet_webhook_queue AS q
			WHERE endpoint_id = $1 AND retry_at <= statement_timestamp() AND (lease_until IS NULL OR lease_until <= statement_timestamp())
				AND EXISTS (SELECT FROM wallet_webhook_endpoints AS e WHERE e.endpoint_id = $1 AND state = 'active' AND e.retry_at IS NULL)
			ORDER BY retry_at
			LIMIT 1
			FOR NO KEY UPDATE SKIP LOCKED)
		` + claim

	// Wallets that nothing is known of come first, then in turn those that failed.
	sqlClaimProbe = `WITH due AS (
			SELECT endpoint_id, user_id, currency
			FROM wallet_webhook_queue AS q
			WHERE endpoint_id = $1 AND (lease_until IS NULL OR lease_until <= statement_timestamp())
			ORDER BY failures > 0, retry_at
			LIMIT 1
			FOR NO KEY UPDATE SKIP LOCKED)
		` + claim

	whose = ` WHERE endpoint_id = $1 AND user_id = $2 AND currency = $3 AND lease = $4 AND next_version = $5`

	sqlProgress = `UPDATE wallet_webhook_queue
		SET next_version = $6, failures = 0, last_error = '', since = clock_timestamp(), lease_until = clock_timestamp() + $7` + whose

	sqlFinish = `DELETE FROM wallet_webhook_queue` + whose + ` AND last_version < $6`

	sqlRelease = `UPDATE wallet_webhook_queue
		SET next_version = $6, failures = $7, last_error = $8, retry_at = clock_timestamp() + $9, lease = NULL, lease_until = NULL,
			since = CASE WHEN next_version = $6 THEN since ELSE clock_timestamp() END` + whose

	sqlPark = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, failures, last_error, parked_at)
		VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
		ON CONFLICT (endpoint_id, user_id, currency, version) DO UPDATE
		SET failures = EXCLUDED.failures, last_error = EXCLUDED.last_error, parked_at = EXCLUDED.parked_at`
)

// destination is where, and signed with what.
type destination struct {
	url     string
	secrets []string
}

// claimed is a wallet that this process sends.
type claimed struct {
	endpoint string
	wallet.AssetRef
	next, last int64
	failures   int
	events     []string
	skipped    []int64 // versions; see feed.Skip
	to         destination
	unreadable error // of the secrets
	base       int64 // next_version as it is stored
	sent       bool  // at least one event got through
}

func (d *Deliverer) claim(ctx context.Context, sql, endpoint string) (*claimed, error) {
	c := &claimed{endpoint: endpoint}
	var sealed [][]byte
	err := d.DB.QueryRow(ctx, sql, endpoint, d.lease, leaseFor).
		Scan(&c.UserID, &c.Currency, &c.next, &c.last, &c.failures, &c.to.url, &c.events, &sealed, &c.skipped)
	if err != nil {
		return nil, err
	}
	c.base = c.next
	c.to.secrets, c.unreadable = d.openAll(sealed)
	return c, nil
}

func (d *Deliverer) openAll(sealed [][]byte) (secrets []string, err error) {
	for _, s := range sealed {
		secret, err := open(d.Keys, s)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// errLost says that another process has the wallet, or that it was changed meanwhile: this one's lease
// has ended.
var errLost = errors.New("the lease of the wallet has ended")

type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// changeIn changes the row of a wallet, if this process still has it.
func changeIn(ctx context.Context, db execer, lease, sql string, c *claimed, args ...any) error {
	tag, err := db.Exec(ctx, sql, append([]any{c.endpoint, c.UserID, c.Currency, lease, c.base}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		return errLost
	}
	return err
}

// change changes the row of a wallet that this process has.
func (d *Deliverer) change(ctx context.Context, sql string, c *claimed, args ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	return changeIn(ctx, d.DB, d.lease, sql, c, args...)
}

func (d *Deliverer) release(ctx context.Context, c *claimed, failures int, reason string, pause time.Duration) error {
	return d.change(ctx, sqlRelease, c, c.next, failures, reason, pause)
}

// finish forgets a wallet, unless it has more to send by now.
func (d *Deliverer) finish(ctx context.Context, c *claimed) error {
	if err := d.change(ctx, sqlFinish, c, c.next); !errors.Is(err, errLost) {
		return err
	}
	return d.release(ctx, c, 0, "", 0)
}

// park sets the next event of a wallet aside: the others go on.
func (d *Deliverer) park(ctx context.Context, c *claimed, reason string) error {
	d.Logger.Warn("an event is parked for an endpoint of webhooks", zap.String("endpoint", c.endpoint), zap.Int64("version", c.next), zap.String("error", reason))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	return pgx.BeginFunc(ctx, d.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlPark, c.endpoint, c.UserID, c.Currency, c.next, c.failures, reason); err != nil {
			return err
		}
		err := changeIn(ctx, tx, d.lease, sqlFinish, c, c.next+1)
		if errors.Is(err, errLost) {
			err = changeIn(ctx, tx, d.lease, sqlRelease, c, c.next+1, 0, "", time.Duration(0))
		}
		return err
	})
}
