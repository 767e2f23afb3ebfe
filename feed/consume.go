package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Handler takes the next events, at least one, those of a wallet in the order of
// their versions. If it returns nil they are done: the consumer's place moves in the
// same transaction tx. So what the handler writes through tx takes effect exactly
// once; what it does elsewhere happens at least once, and is to be deduped by
// Event.ID. If it returns an error, or the process dies, the same events come again.
type Handler func(ctx context.Context, tx pgx.Tx, events []Event) error

// Options of a consumer.
type Options struct {
	// Name of the consumer, 1 to 128 characters. Its place in the feed is kept under
	// it. Several processes may consume under one name: one of them has the next
	// events at a time, and if it dies another goes on.
	Name string
	// FromEnd lets a name that is new begin with the events that come from now on. By
	// default it begins with the first that there ever was.
	FromEnd bool
	// BatchSize is how many events a Handler is given at most; MaxBatch if 0.
	BatchSize int
	// PollInterval is how often it looks for events that nobody announced; 1 s if 0.
	PollInterval time.Duration
	// OnError is told of each failure before it is tried again: the Handler's, or
	// the database's. By default it is logged with slog.
	OnError func(error)
}

const (
	sqlAddConsumer = `INSERT INTO wallet_feed_consumers (name, after_id, after_version)
		VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`

	// Row security hides from others that they may not move it: they would wait for ever.
	sqlConsumerRole = `SELECT role, NOT row_security_active('wallet_feed_consumers') OR wallet_feed_is_own(role)
		FROM wallet_feed_consumers
		WHERE name = $1`

	// Without a lock, which would write even where there is nothing to do.
	sqlHasMore = `SELECT EXISTS (
			SELECT FROM wallet_feed
			WHERE id >= after_id AND (id > after_id OR last_version > after_version))
		FROM wallet_feed_consumers
		WHERE name = $1`

	// Whoever holds the row has the next events.
	sqlLockConsumer = `SELECT after_id, after_version
		FROM wallet_feed_consumers
		WHERE name = $1
		FOR UPDATE SKIP LOCKED`

	sqlMoveConsumer = `UPDATE wallet_feed_consumers
		SET after_id = $2, after_version = $3, updated_at = now()
		WHERE name = $1`
)

// Consume hands every event to handle until ctx ends, which is no error. It returns
// an error only if it cannot begin; later failures are told to OnError and tried
// again, with pauses of up to a minute. The role needs the rights of wallet_consumer.
func Consume(ctx context.Context, db *pgxpool.Pool, o Options, handle Handler) error {
	if n := utf8.RuneCountInString(o.Name); n < 1 || n > 128 {
		return fmt.Errorf("consumer name %q has %d characters: use 1 to 128", o.Name, n)
	}
	if o.BatchSize <= 0 || o.BatchSize > MaxBatch {
		o.BatchSize = MaxBatch
	}
	if o.PollInterval <= 0 {
		o.PollInterval = time.Second
	}
	if o.OnError == nil {
		o.OnError = func(err error) { slog.ErrorContext(ctx, "consume wallet events", "consumer", o.Name, "error", err) }
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := register(ctx, db, o); err != nil {
		return fmt.Errorf("register consumer %q: %w", o.Name, err)
	}
	wake := newWaker(ctx, db, o.PollInterval)
	pause := backoff.NewExponentialBackOff()
	for ctx.Err() == nil {
		more, err := consume(ctx, db, o, handle)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			o.OnError(err)
			sleep(ctx, pause.NextBackOff())
		default:
			pause.Reset()
			if !more {
				wake.wait(ctx)
			}
		}
	}
	return nil
}

func register(ctx context.Context, db *pgxpool.Pool, o Options) error {
	err := checkRole(ctx, db, o.Name)
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	var begin Cursor
	if o.FromEnd {
		if begin, err = End(ctx, db); err != nil {
			return err
		}
	}
	if _, err := db.Exec(ctx, sqlAddConsumer, o.Name, begin.Row, begin.Version); err != nil {
		return err
	}
	return checkRole(ctx, db, o.Name) // another may have been faster
}

// checkRole fails if there is no consumer of a name, or if it is another role's.
func checkRole(ctx context.Context, db *pgxpool.Pool, name string) error {
	var role string
	var own bool
	if err := db.QueryRow(ctx, sqlConsumerRole, name).Scan(&role, &own); err != nil {
		return err
	}
	if !own {
		return fmt.Errorf("it belongs to the role %q: connect as that role or a member of it, or use another name", role)
	}
	return nil
}

// consume hands out the next events, and reports whether there were any.
func consume(ctx context.Context, db *pgxpool.Pool, o Options, handle Handler) (more bool, err error) {
	err = db.QueryRow(ctx, sqlHasMore, o.Name).Scan(&more)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("consumer %q was deleted while it ran: start it again to begin anew", o.Name)
	} else if err != nil || !more {
		return false, err
	}
	more = false
	// READ COMMITTED: what is read after the lock is what its last holder left.
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		var after Cursor
		err := tx.QueryRow(ctx, sqlLockConsumer, o.Name).Scan(&after.Row, &after.Version)
		if errors.Is(err, pgx.ErrNoRows) { // another process has it
			return nil
		} else if err != nil {
			return err
		}
		events, next, err := page(ctx, tx, after, o.BatchSize, everything)
		if err != nil || len(events) == 0 {
			return err
		}
		if err := handle(ctx, tx, events); err != nil {
			return fmt.Errorf("handle events %s to %s: %w", events[0].Cursor, events[len(events)-1].Cursor, err)
		}
		more = true
		_, err = tx.Exec(ctx, sqlMoveConsumer, o.Name, next.Row, next.Version)
		return err
	})
	return more && err == nil, err
}

func everything(string, string) bool { return true }
