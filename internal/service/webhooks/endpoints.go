package webhooks

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/migrations"
)

const (
	// Adding endpoints one after the other keeps to their number.
	sqlLockEndpoints = `LOCK TABLE wallet_webhook_endpoints IN SHARE ROW EXCLUSIVE MODE`

	sqlCountEndpoints = `SELECT count(*) FROM wallet_webhook_endpoints`

	sqlAddEndpoint = `INSERT INTO wallet_webhook_endpoints (endpoint_id, url, description, users, currencies, events, after_id, after_version, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce(nullif($9, ''), current_user))`

	sqlAddSecret = `INSERT INTO wallet_webhook_secrets (endpoint_id, secret) VALUES ($1, $2)`

	// It belongs to the role that sends, whoever adds the first endpoint.
	sqlAddConsumer = `INSERT INTO wallet_feed_consumers (name, role, after_id, after_version)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`

	sqlEndpoints = `SELECT endpoint_id, url, description, users, currencies, events, state, failures, retry_at, last_error, last_error_at,
			delivered, delivered_at, created_by, created_at,
			(SELECT count(*) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id),
			(SELECT min(since) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id),
			(SELECT count(*) FROM wallet_webhook_events AS p WHERE p.endpoint_id = e.endpoint_id AND retry_at IS NULL),
			(SELECT count(*) FROM wallet_webhook_events AS p WHERE p.endpoint_id = e.endpoint_id AND retry_at IS NOT NULL),
			(SELECT count(*) FROM wallet_webhook_secrets AS s WHERE s.endpoint_id = e.endpoint_id AND (expires_at IS NULL OR expires_at > now()))
		FROM wallet_webhook_endpoints AS e
		WHERE $1 = '' OR endpoint_id = $1
		ORDER BY created_at, endpoint_id`

	sqlChangeEndpoint = `UPDATE wallet_webhook_endpoints
		SET url = $2, description = $3, users = $4, currencies = $5, events = $6, updated_at = now()
		WHERE endpoint_id = $1`

	sqlPause = `UPDATE wallet_webhook_endpoints
		SET state = 'paused', updated_at = now()
		WHERE endpoint_id = $1`

	sqlResume = `UPDATE wallet_webhook_endpoints
		SET state = 'active', failures = 0, retry_at = NULL, updated_at = now()
		WHERE endpoint_id = $1`

	// All that waits is tried at once. A lease is kept: somebody may just be sending.
	// Locked in the order in which the consumer inserts.
	sqlRetryAll = `WITH waiting AS (
			SELECT user_id, currency
			FROM wallet_webhook_queue
			WHERE endpoint_id = $1 AND retry_at > statement_timestamp()
			ORDER BY user_id, currency
			FOR NO KEY UPDATE)
		UPDATE wallet_webhook_queue AS q
		SET retry_at = clock_timestamp()
		FROM waiting
		WHERE q.endpoint_id = $1 AND q.user_id = waiting.user_id AND q.currency = waiting.currency`

	sqlRemove = `DELETE FROM wallet_webhook_endpoints WHERE endpoint_id = $1`

	sqlLockEndpoint = `SELECT FROM wallet_webhook_endpoints WHERE endpoint_id = $1 FOR NO KEY UPDATE`

	// A long INSERT must not hold up what is being sent.
	sqlKeepEndpoint = `SELECT FROM wallet_webhook_endpoints WHERE endpoint_id = $1 FOR KEY SHARE`

	// The oldest ones go at once where too many would be valid.
	sqlExpireSecrets = `UPDATE wallet_webhook_secrets
		SET expires_at = least(expires_at, clock_timestamp() + $2)
		WHERE endpoint_id = $1`

	sqlDropSecrets = `DELETE FROM wallet_webhook_secrets
		WHERE endpoint_id = $1 AND (expires_at <= statement_timestamp() OR secret_id NOT IN (
			SELECT secret_id FROM wallet_webhook_secrets WHERE endpoint_id = $1 ORDER BY secret_id DESC LIMIT $2))`
)

// Add makes an endpoint for the events from now on. The secret is shown this once.
func (s *Store) Add(ctx context.Context, o Settings, actor string) (id, secret string, err error) {
	if err := s.check(ctx, o); err != nil {
		return "", "", err
	}
	after, err := feed.End(ctx, s.db)
	if err != nil {
		return "", "", err
	}
	id, secret = "we_"+strings.ToLower(rand.Text()), newSecret()
	sealed, err := seal(s.keys, secret)
	if err != nil {
		return "", "", err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var n int
		if _, err := tx.Exec(ctx, sqlLockEndpoints); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlCountEndpoints).Scan(&n); err != nil {
			return err
		}
		if n >= maxEndpoints {
			return invalid("there are %d endpoints already, and no more than %d may be: remove one", n, maxEndpoints)
		}
		if _, err := tx.Exec(ctx, sqlAddEndpoint, id, o.URL, o.Description, list(o.Users), list(o.Currencies), list(o.Events), after.Row, after.Version, actor); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlAddSecret, id, sealed); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlAddConsumer, ConsumerName, migrations.RoleWebhooks, after.Row, after.Version)
		return err
	})
	return id, secret, err
}

// list is what a column that is NOT NULL takes.
func list(values []string) []string { return append([]string{}, values...) }

// List returns all endpoints with how far they are, or one if an id is given.
func List(ctx context.Context, db *pgxpool.Pool, id string) ([]Endpoint, error) {
	found, err := db.Query(ctx, sqlEndpoints, id)
	if err != nil {
		return nil, err
	}
	endpoints, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (e Endpoint, err error) {
		err = row.Scan(&e.ID, &e.URL, &e.Description, &e.Users, &e.Currencies, &e.Events, &e.State, &e.Failures, orZero(&e.RetryAt), &e.LastError, orZero(&e.LastErrorAt),
			&e.Delivered, orZero(&e.DeliveredAt), &e.CreatedBy, &e.CreatedAt, &e.Waiting, orZero(&e.WaitingFrom), &e.Parked, &e.Redelivering, &e.Secrets)
		return e, err
	})
	if err == nil && id != "" && len(endpoints) == 0 {
		return nil, &NotFoundError{id}
	}
	return endpoints, err
}

// orZero scans NULL as the zero time.
func orZero(t *time.Time) *zeronull.Timestamptz { return (*zeronull.Timestamptz)(t) }

// Change replaces the settings of an endpoint, for what is sent from now on.
func (s *Store) Change(ctx context.Context, id string, o Settings) error {
	if err := s.check(ctx, o); err != nil {
		return err
	}
	return s.update(ctx, sqlChangeEndpoint, id, o.URL, o.Description, list(o.Users), list(o.Currencies), list(o.Events))
}

// Pause sends nothing more, but for what is just being sent. What happens meanwhile is sent after
// Resume.
func (s *Store) Pause(ctx context.Context, id string) error { return s.update(ctx, sqlPause, id) }

// Resume sends again, also to an endpoint that was parked or is down, and tries at once what waits.
func (s *Store) Resume(ctx context.Context, id string) error {
	if err := s.update(ctx, sqlResume, id); err != nil {
		return err
	}
	_, err := s.db.Exec(ctx, sqlRetryAll, id)
	return err
}

// Remove forgets an endpoint, and what it is still to be sent.
func (s *Store) Remove(ctx context.Context, id string) error { return s.update(ctx, sqlRemove, id) }

func (s *Store) update(ctx context.Context, sql, id string, args ...any) error {
	tag, err := s.db.Exec(ctx, sql, append([]any{id}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		return &NotFoundError{id}
	}
	return err
}

// Rotate makes a new secret. Events are signed with the last one too for so long.
func (s *Store) Rotate(ctx context.Context, id string, overlap time.Duration) (secret string, err error) {
	if overlap < 0 || overlap > maxOverlap {
		return "", invalid("overlap %s: use 0 to end the last secret at once, or at most %s", overlap, maxOverlap)
	}
	secret = newSecret()
	sealed, err := seal(s.keys, secret)
	if err != nil {
		return "", err
	}
	return secret, pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlLockEndpoint, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return &NotFoundError{id}
		}
		if _, err := tx.Exec(ctx, sqlExpireSecrets, id, overlap); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlAddSecret, id, sealed); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlDropSecrets, id, maxSecrets)
		return err
	})
}
