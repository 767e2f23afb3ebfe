package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// Of all skipped events, or of one. One whose turn has not come is just no longer skipped. What
	// has been deleted from the trail, or is in no range, stays skipped.
	sqlRedeliver = `UPDATE wallet_feed_skipped AS s
		SET redeliver_at = CASE WHEN handled THEN statement_timestamp() END, ended_at = CASE WHEN NOT handled THEN statement_timestamp() END
		FROM (
			SELECT s.user_id, s.currency, s.version,
				(range.id, s.version) <= ($2, $3) AND NOT coalesce(p.from_id <= range.id AND p.from_version <= s.version, false) AS handled
			FROM wallet_feed_skipped AS s
			JOIN wallet_asset_events AS e ON e.user_id = s.user_id AND e.currency = s.currency AND e.version = s.version
			CROSS JOIN LATERAL (
				SELECT id, last_version
				FROM wallet_feed AS f
				WHERE f.user_id = s.user_id AND f.currency = s.currency AND first_version <= s.version
				ORDER BY first_version DESC
				LIMIT 1) AS range
			LEFT JOIN wallet_feed_parked AS p ON p.consumer = s.consumer AND p.user_id = s.user_id AND p.currency = s.currency
			WHERE s.consumer = $1 AND s.ended_at IS NULL AND last_version >= s.version
				AND ($4 = '' OR s.user_id = $4 AND s.currency = $5 AND s.version = $6)) AS found
		WHERE s.consumer = $1 AND s.user_id = found.user_id AND s.currency = found.currency AND s.version = found.version`

	sqlNextRedelivery = `SELECT user_id, currency, version
		FROM wallet_feed_skipped
		WHERE consumer = $1 AND redeliver_at <= clock_timestamp()
		ORDER BY redeliver_at, user_id, currency, version
		LIMIT 1`

	sqlRedelivered = `UPDATE wallet_feed_skipped
		SET redeliver_at = NULL, ended_at = clock_timestamp()
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4`

	sqlStaysSkipped = `UPDATE wallet_feed_skipped
		SET redeliver_at = NULL, last_error = $5
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4`

	sqlRedeliverLater = `UPDATE wallet_feed_skipped
		SET redeliver_at = clock_timestamp() + interval '1 minute', last_error = $5
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4 AND redeliver_at IS NOT NULL`
)

// Redeliver hands a skipped event to its consumer after all, by itself and out of its order,
// once: if the handler refuses it, it stays skipped, with the error on record.
func Redeliver(ctx context.Context, db *pgxpool.Pool, consumer, eventID string) error {
	return awaitConsumer(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		e, err := findEvent(ctx, tx, consumer, eventID)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sqlRedeliver, consumer, after.Row, after.Version, e.UserID, e.Currency, e.at.Version)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("event %q is not skipped for the consumer %q: see \"wallet feed list --skipped\"", eventID, consumer)
		}
		return err
	})
}

// RedeliverSkipped is Redeliver for all events that are skipped. It returns how many there are.
func RedeliverSkipped(ctx context.Context, db *pgxpool.Pool, consumer string) (n int64, err error) {
	err = awaitConsumer(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		tag, err := tx.Exec(ctx, sqlRedeliver, consumer, after.Row, after.Version, "", "", 0)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// redeliver hands out one skipped event that somebody asked for. It reports whether there may be
// more.
func (c *consumer) redeliver(ctx context.Context) (more bool, err error) {
	var ref wallet.AssetRef
	var version int64
	var refused error
	err = c.locked(ctx, func(tx pgx.Tx, _ Cursor) error {
		err := tx.QueryRow(ctx, sqlNextRedelivery, c.Name).Scan(&ref.UserID, &ref.Currency, &version)
		if errors.Is(err, pgx.ErrNoRows) { // another process was faster
			return nil
		} else if err != nil {
			return err
		}
		more = true
		events, err := ofWallet(ctx, tx, ref, version, version, 1)
		if err != nil {
			return err
		}
		events[0].Redelivered = true
		if refused, err = c.handout(tx).try(ctx, events); err != nil {
			return err
		}
		if refused != nil {
			_, err = tx.Exec(ctx, sqlStaysSkipped, c.Name, ref.UserID, ref.Currency, version, rows.LastError(refused))
			return err
		}
		_, err = tx.Exec(ctx, sqlRedelivered, c.Name, ref.UserID, ref.Currency, version)
		return err
	})
	switch {
	case err != nil && version != 0 && ctx.Err() == nil:
		// The handler may not have seen it, so it is not used up. Others have their turn first.
		_, _ = c.db.Exec(ctx, sqlRedeliverLater, c.Name, ref.UserID, ref.Currency, version, rows.LastError(err))
	case err == nil && refused != nil:
		c.OnError(fmt.Errorf("%w (redelivered; it stays skipped)", refused))
	}
	return more && err == nil, err
}
