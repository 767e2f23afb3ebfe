package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
)

const (
	// One whose turn has not come is just no longer skipped. $5 is whether it has.
	sqlAgain = `UPDATE wallet_feed_skipped
		SET again_at = CASE WHEN $5 THEN clock_timestamp() END, ended_at = CASE WHEN NOT $5 THEN clock_timestamp() END
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4 AND ended_at IS NULL`

	sqlSkippedIDs = `SELECT user_id, currency, version
		FROM wallet_feed_skipped
		WHERE consumer = $1 AND ended_at IS NULL AND again_at IS NULL`

	sqlNextAgain = `SELECT user_id, currency, version
		FROM wallet_feed_skipped
		WHERE consumer = $1 AND again_at IS NOT NULL
		ORDER BY again_at, user_id, currency, version
		LIMIT 1`

	sqlHandled = `UPDATE wallet_feed_skipped
		SET again_at = NULL, ended_at = clock_timestamp()
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4`

	sqlFailedAgain = `UPDATE wallet_feed_skipped
		SET again_at = NULL, last_error = $5
		WHERE consumer = $1 AND user_id = $2 AND currency = $3 AND version = $4`
)

// skippedEvent is the key of a row.
type skippedEvent struct {
	UserID, Currency string
	Version          int64
}

// Redeliver hands a skipped event to its consumer after all, by itself and out of its order,
// once: if the handler fails it stays skipped, with the error on record.
func Redeliver(ctx context.Context, db *pgxpool.Pool, consumer, eventID string) error {
	ref, version, _, err := parseEventID(eventID)
	if err != nil {
		return err
	}
	return redelivering(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		found, err := redeliver(ctx, tx, consumer, after, skippedEvent{ref.UserID, ref.Currency, version})
		if err == nil && !found {
			err = fmt.Errorf("event %q is not skipped for the consumer %q: see \"wallet feed list --skipped\"", eventID, consumer)
		}
		return err
	})
}

// RedeliverSkipped is Redeliver for all events that are skipped. It returns how many there are.
func RedeliverSkipped(ctx context.Context, db *pgxpool.Pool, consumer string) (n int, err error) {
	err = redelivering(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		found, err := tx.Query(ctx, sqlSkippedIDs, consumer)
		if err != nil {
			return err
		}
		events, err := pgx.CollectRows(found, pgx.RowToStructByPos[skippedEvent])
		if err != nil {
			return err
		}
		for _, e := range events {
			if _, err := redeliver(ctx, tx, consumer, after, e); err != nil {
				return err
			}
		}
		n = len(events)
		return nil
	})
	return n, err
}

// redelivering waits for the consumer's transaction, so that it is known whose turn has come.
func redelivering(ctx context.Context, db *pgxpool.Pool, consumer string, do func(pgx.Tx, Cursor) error) error {
	if err := checkRole(ctx, db, consumer); err != nil {
		return unknown(consumer, err)
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var after Cursor
		if err := tx.QueryRow(ctx, sqlAwaitConsumer, consumer).Scan(&after.Row, &after.Version); err != nil {
			return unknown(consumer, err)
		}
		if err := do(tx, after); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlAnnounce)
		return err
	})
}

func redeliver(ctx context.Context, tx pgx.Tx, consumer string, after Cursor, e skippedEvent) (found bool, err error) {
	var id int64
	var waits bool
	err = tx.QueryRow(ctx, sqlFindEvent, consumer, e.UserID, e.Currency, e.Version).Scan(&id, &waits, nil, nil)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	passed := (id < after.Row || id == after.Row && e.Version <= after.Version) && !waits
	tag, err := tx.Exec(ctx, sqlAgain, consumer, e.UserID, e.Currency, e.Version, passed)
	return err == nil && tag.RowsAffected() > 0, err
}

// again hands out one skipped event that somebody asked for. It reports whether there may be more.
func (c *consumer) again(ctx context.Context) (more bool, err error) {
	var e skippedEvent
	var refused error
	err = c.locked(ctx, func(tx pgx.Tx, _ Cursor) error {
		err := tx.QueryRow(ctx, sqlNextAgain, c.Name).Scan(&e.UserID, &e.Currency, &e.Version)
		if errors.Is(err, pgx.ErrNoRows) { // another process was faster
			return nil
		} else if err != nil {
			return err
		}
		more = true
		refused, err = c.handOutAgain(ctx, tx, e)
		if err != nil {
			return err
		}
		if refused != nil {
			_, err = tx.Exec(ctx, sqlFailedAgain, c.Name, e.UserID, e.Currency, e.Version, storable(refused))
			return err
		}
		_, err = tx.Exec(ctx, sqlHandled, c.Name, e.UserID, e.Currency, e.Version)
		return err
	})
	switch {
	case err != nil && e.UserID != "" && ctx.Err() == nil:
		// Else it would be tried for ever, before all others.
		_, _ = c.db.Exec(ctx, sqlFailedAgain, c.Name, e.UserID, e.Currency, e.Version, storable(err))
	case err == nil && refused != nil:
		c.OnError(fmt.Errorf("%w (handed out again; it stays skipped)", refused))
	}
	return more && err == nil, err
}

func (c *consumer) handOutAgain(ctx context.Context, tx pgx.Tx, e skippedEvent) (refused, err error) {
	events, err := ofWallet(ctx, tx, wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}, e.Version, e.Version, 1)
	if errors.Is(err, ErrEventMissing) {
		return err, nil
	} else if err != nil {
		return nil, err
	}
	return c.handout(tx).try(ctx, events)
}
