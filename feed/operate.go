package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/internal/service/rows"
)

// Waiting is a wallet whose events wait for a consumer.
type Waiting struct {
	Consumer  string    `json:"consumer"`
	UserID    string    `json:"user_id"`
	Currency  string    `json:"currency"`
	EventID   string    `json:"event_id"` // the one that the handler fails for
	Failures  int       `json:"failures"` // of this event, in a row
	Parked    bool      `json:"parked"`   // they are as many as Options.ParkAfter
	LastError string    `json:"last_error"`
	Since     time.Time `json:"since"`
	RetryAt   time.Time `json:"retry_at"`
}

// Skipped is an event that a consumer is not handed.
type Skipped struct {
	Consumer  string    `json:"consumer"`
	EventID   string    `json:"event_id"`
	Actor     string    `json:"actor"`  // who decided that
	Reason    string    `json:"reason"` // why
	LastError string    `json:"last_error,omitempty"`
	Role      string    `json:"role"` // of Postgres, that recorded it
	SkippedAt time.Time `json:"skipped_at"`

	RedeliverAt *time.Time `json:"redeliver_at,omitempty"` // when it is to be handed out after all
	EndedAt     *time.Time `json:"ended_at,omitempty"`     // when it was, or when it was taken back
}

const (
	// The ids of the events are without their hashes.
	sqlListWaiting = `SELECT consumer, user_id, currency, currency || '/' || user_id || '/' || from_version, failures, parked, last_error, since, retry_at
		FROM wallet_feed_parked
		WHERE $1 = '' OR consumer = $1
		ORDER BY consumer, since, user_id, currency`

	sqlListSkipped = `SELECT consumer, currency || '/' || user_id || '/' || version, actor, reason, last_error, role, skipped_at, redeliver_at, ended_at
		FROM wallet_feed_skipped
		WHERE $1 = '' OR consumer = $1
		ORDER BY consumer, skipped_at, user_id, currency, version`

	sqlRetryNow = `UPDATE wallet_feed_parked
		SET retry_at = clock_timestamp()
		WHERE consumer = $1 AND ($2 = '' OR user_id = $2) AND ($3 = '' OR currency = $3)`

	sqlAwaitConsumer = `SELECT after_id, after_version
		FROM wallet_feed_consumers
		WHERE name = $1
		FOR UPDATE`

	sqlSkip = `INSERT INTO wallet_feed_skipped (consumer, user_id, currency, version, actor, reason, last_error)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`
)

// ListWaiting lists the wallets that wait for a consumer, or for all if it is empty.
func ListWaiting(ctx context.Context, db *pgxpool.Pool, consumer string) ([]Waiting, error) {
	return list(ctx, db, sqlListWaiting, consumer, func(w *Waiting) *string { return &w.EventID })
}

// ListSkipped lists the events that a consumer, or any if it is empty, is not handed.
func ListSkipped(ctx context.Context, db *pgxpool.Pool, consumer string) ([]Skipped, error) {
	return list(ctx, db, sqlListSkipped, consumer, func(s *Skipped) *string { return &s.EventID })
}

func list[T any](ctx context.Context, db *pgxpool.Pool, sql, consumer string, eventID func(*T) *string) ([]T, error) {
	if consumer != "" {
		if err := db.QueryRow(ctx, sqlConsumerRole, consumer).Scan(nil, nil); err != nil {
			return nil, unknown(consumer, err)
		}
	}
	found, err := db.Query(ctx, sql, consumer)
	if err != nil {
		return nil, err
	}
	listed, err := pgx.CollectRows(found, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, err
	}
	ids := make([]*string, len(listed))
	for i := range listed {
		ids[i] = eventID(&listed[i])
	}
	return listed, rows.AddEventHashes(ctx, db, ids)
}

// Retry has a consumer try the wallets at once that wait for it: all, those of a user, or
// one. It returns how many there are.
func Retry(ctx context.Context, db *pgxpool.Pool, consumer, userID, currency string) (int64, error) {
	if err := checkRole(ctx, db, consumer); err != nil {
		return 0, unknown(consumer, err)
	}
	tag, err := db.Exec(ctx, sqlRetryNow, consumer, userID, currency)
	if err != nil {
		return 0, err
	}
	_, err = db.Exec(ctx, sqlAnnounce)
	return tag.RowsAffected(), err
}

// Skip keeps an event from a consumer until Redeliver, on record: by whose decision and why. It
// waits for the consumer's transaction, and fails if that has handled the event. The
// consumer then goes on with the next event of the wallet.
func Skip(ctx context.Context, db *pgxpool.Pool, consumer, eventID, actor, reason string) error {
	if actor == "" || reason == "" {
		return errors.New("an event is skipped on record: say who decides that, and why")
	}
	return awaitConsumer(ctx, db, consumer, func(tx pgx.Tx, after Cursor) error {
		e, err := findEvent(ctx, tx, consumer, eventID)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sqlSkip, consumer, e.UserID, e.Currency, e.at.Version, actor, reason, e.lastError)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return fmt.Errorf("event %q is skipped for the consumer %q already: see \"wallet feed list --skipped\"", eventID, consumer)
		}
		// Only now: a consumer may have gone on behind an event that was skipped before.
		if e.at.notAfter(after) && !e.waits {
			return fmt.Errorf("event %q was handled by the consumer %q: there is nothing to skip", eventID, consumer)
		}
		_, err = tx.Exec(ctx, sqlRetryNow, consumer, e.UserID, e.Currency)
		return err
	})
}

// awaitConsumer waits for the consumer's transaction, so that it is known which events it has
// handled, and tells the consumer afterwards.
func awaitConsumer(ctx context.Context, db *pgxpool.Pool, consumer string, do func(tx pgx.Tx, after Cursor) error) error {
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

func unknown(consumer string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("there is no consumer %q", consumer)
	}
	return fmt.Errorf("consumer %q: %w", consumer, err)
}
