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
	sqlSkipped = `SELECT user_id, currency, version
		FROM wallet_feed_skipped
		WHERE consumer = $1 AND ended_at IS NULL`

	// Of events with their rows of the feed. One whose turn has not come is just no longer skipped.
	sqlRedeliver = `UPDATE wallet_feed_skipped AS s
		SET redeliver_at = CASE WHEN handled THEN statement_timestamp() END, ended_at = CASE WHEN NOT handled THEN statement_timestamp() END
		FROM (
			SELECT u, c, v, (id, v) <= ($2, $3) AND NOT coalesce(p.from_id <= id AND p.from_version <= v, false) AS handled
			FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[]) AS event (u, c, v, id)
			LEFT JOIN wallet_feed_parked AS p ON p.consumer = $1 AND p.user_id = u AND p.currency = c) AS event
		WHERE s.consumer = $1 AND s.ended_at IS NULL AND s.user_id = u AND s.currency = c AND s.version = v`

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
		n, err := redeliver(ctx, tx, consumer, after, map[rows.EventKey]rows.EventPlace{{AssetRef: e.AssetRef, Version: e.at.Version}: {Row: e.at.Row}})
		if err == nil && n == 0 {
			err = fmt.Errorf("event %q is not skipped for the consumer %q: see \"wallet feed list --skipped\"", eventID, consumer)
		}
		return err
	})
}

// RedeliverSkipped is Redeliver for all events that are skipped. It returns how many there are. What
// has been deleted from the trail, or is in no range of the feed, stays skipped.
func RedeliverSkipped(ctx context.Context, db *pgxpool.Pool, consumer string) (n int64, err error) {
	err = awaitConsumer(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		found, err := tx.Query(ctx, sqlSkipped, consumer)
		if err != nil {
			return err
		}
		skipped, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (e rows.EventKey, err error) {
			return e, row.Scan(&e.UserID, &e.Currency, &e.Version)
		})
		if err != nil {
			return err
		}
		events, err := rows.LocateEvents(ctx, tx, skipped)
		if err != nil {
			return err
		}
		n, err = redeliver(ctx, tx, consumer, after, events)
		return err
	})
	return n, err
}

// redeliver has those of some events that are skipped handed out, and returns how many they are.
func redeliver(ctx context.Context, tx pgx.Tx, consumer string, after Cursor, events map[rows.EventKey]rows.EventPlace) (int64, error) {
	var users, currencies []string
	var versions, rowIDs []int64
	for e, at := range events {
		if at.Row != 0 {
			users, currencies, versions, rowIDs = append(users, e.UserID), append(currencies, e.Currency), append(versions, e.Version), append(rowIDs, at.Row)
		}
	}
	tag, err := tx.Exec(ctx, sqlRedeliver, consumer, after.Row, after.Version, users, currencies, versions, rowIDs)
	return tag.RowsAffected(), err
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
