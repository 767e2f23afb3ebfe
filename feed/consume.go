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

	"github.com/valueledger/wallet"
)

// Handler handles the next events: at least one, and those of each wallet in the order of their
// versions. If it returns nil, the consumer's position moves in the same transaction, tx. So
// what the handler writes through tx takes effect exactly once; what it does elsewhere happens
// at least once, and must be deduplicated by Event.ID. If it returns an error or panics, or the
// process dies, the same events come again. If they fail a second time, they come in smaller
// parts, within one transaction, to find the event that fails: see Consume.
type Handler func(ctx context.Context, tx pgx.Tx, events []Event) error

// Options of a consumer.
type Options struct {
	// Name of the consumer, 1 to 128 characters. Its position in the feed is stored under it.
	// Several processes may share a name: one of them handles events at a time, and if it dies
	// another takes over.
	Name string
	// FromEnd makes a new name start with the events from now on. By default it starts with the
	// first event ever.
	FromEnd bool
	// BatchSize is the maximum number of events in a call of the Handler; MaxBatch if 0.
	BatchSize int
	// PollInterval is how often it looks for events without a notification; 1 s if 0.
	PollInterval time.Duration
	// ParkAfter is the number of consecutive failures of one event after which its wallet is
	// parked: "wallet feed list" and the metric wallet_feed_parked then show it. 10 if 0.
	ParkAfter int
	// OnError gets each failure of the Handler or the database before the next try. By default
	// it is logged with slog.
	OnError func(error)
}

const (
	sqlAddConsumer = `INSERT INTO wallet_feed_consumers (name, after_id, after_version)
		VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`

	// A role that may not move the consumer would find no row to lock, because of row security,
	// and wait forever without an error.
	sqlConsumerRole = `SELECT role, NOT row_security_active('wallet_feed_consumers') OR wallet_feed_is_own(role)
		FROM wallet_feed_consumers
		WHERE name = $1`

	// Takes no lock: a row lock is a write, even if there is nothing to do.
	sqlPlace = `SELECT after_id, after_version,
		EXISTS (
			SELECT FROM wallet_feed_parked
			WHERE consumer = name AND retry_at <= clock_timestamp()),
		EXISTS (
			SELECT FROM wallet_feed_skipped
			WHERE consumer = name AND redeliver_at <= clock_timestamp())
		FROM wallet_feed_consumers
		WHERE name = $1`

	sqlHasMore = `SELECT EXISTS (
			SELECT 1 FROM wallet_feed
			WHERE id >= $1 AND (id > $1 OR last_version > $2))`

	// Whoever locks the row gets the next events.
	sqlLockConsumer = `SELECT after_id, after_version
		FROM wallet_feed_consumers
		WHERE name = $1
		FOR UPDATE SKIP LOCKED`

	sqlMoveConsumer = `UPDATE wallet_feed_consumers
		SET after_id = $2, after_version = $3, updated_at = now()
		WHERE name = $1`
)

// Consume passes every event to handle until ctx ends, which is not an error. It returns an
// error only if it cannot start; later failures go to OnError and are retried, with pauses of up
// to a minute. The role needs the rights of wallet_consumer.
//
// An event that handle fails for stops its wallet and no other. If the same events fail twice,
// they are split until the one that fails is found. The events of its wallet wait from there on;
// it is retried after 1 s, 2 s, 4 s and so on, at least once a minute, and later events follow
// in order. After Options.ParkAfter failures the wallet is parked: it is still retried, but
// people are told.
//
// A wallet has to wait only if handle succeeded for another event in the same transaction, and
// at most 3 wallets failed in it. If more fail, or all, something else seems to be down: then no
// wallet is set aside, and all events come again after a pause. Each further attempt allows twice
// as many failed wallets, and tries events further on in the feed, so that even many bad wallets
// are passed in the end.
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
	if o.ParkAfter <= 0 {
		o.ParkAfter = 10
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
	c := &consumer{Options: o, db: db, handle: handle}
	pause := backoff.NewExponentialBackOff()
	for ctx.Err() == nil {
		more, err := c.round(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			o.OnError(err)
			sleep(ctx, shortened(pause.NextBackOff(), err))
		default:
			pause.Reset()
			if !more {
				wake.wait(ctx)
			}
		}
	}
	return nil
}

// alonePause is the longest pause before a retry if only one wallet has events. The next event
// of another wallet shows what is wrong, and should not wait longer.
const alonePause = 5 * time.Second

func shortened(pause time.Duration, err error) time.Duration {
	var outage *OutageError
	if errors.As(err, &outage) && outage.alone {
		return min(pause, alonePause)
	}
	return pause
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
	return checkRole(ctx, db, o.Name) // another process may have been faster
}

// checkRole fails if no consumer has the name, or if it belongs to another role.
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

// consumer is a process that consumes under a name.
type consumer struct {
	Options
	db     *pgxpool.Pool
	handle Handler

	failures     int       // to hand out new events, in a row
	retriesAfter time.Time // waiting wallets are not retried before, while there are new events
}

// retryShare limits the time that a consumer spends on waiting wallets, while others have new
// events, to a tenth.
const retryShare = 10

// round hands out the next events, then those of a waiting wallet, if one is due, then one that
// was skipped, if somebody asked for it. It reports whether there may be more.
func (c *consumer) round(ctx context.Context) (more bool, err error) {
	var fresh, due, redeliver bool
	var after Cursor
	err = c.db.QueryRow(ctx, sqlPlace, c.Name).Scan(&after.Row, &after.Version, &due, &redeliver)
	if err == nil {
		err = c.db.QueryRow(ctx, sqlHasMore, after.Row, after.Version).Scan(&fresh)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("consumer %q was deleted while it ran: start it again to begin anew", c.Name)
	} else if err != nil {
		return false, err
	}
	if fresh {
		if more, err = c.next(ctx); more {
			c.failures = 0
		} else if err != nil {
			c.failures++
		}
	}
	if started := time.Now(); due && ctx.Err() == nil && (!fresh || started.After(c.retriesAfter)) {
		retried, retryErr := c.retry(ctx, err == nil)
		c.retriesAfter = time.Now().Add((retryShare - 1) * time.Since(started))
		more, err = more || retried, errors.Join(err, retryErr)
	}
	if redeliver && ctx.Err() == nil {
		redelivered, redeliverErr := c.redeliver(ctx)
		more, err = more || redelivered, errors.Join(err, redeliverErr)
	}
	return more, err
}

// locked calls do in a transaction that has locked the consumer. If another process has, it does
// nothing.
func (c *consumer) locked(ctx context.Context, do func(tx pgx.Tx, after Cursor) error) error {
	// READ COMMITTED: what is read after the lock is what its last holder committed.
	return pgx.BeginTxFunc(ctx, c.db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		var after Cursor
		err := tx.QueryRow(ctx, sqlLockConsumer, c.Name).Scan(&after.Row, &after.Version)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		return do(tx, after)
	})
}

// next hands out the events after the consumer's position, except those that have to wait.
func (c *consumer) next(ctx context.Context) (more bool, err error) {
	var failed []failure
	err = c.locked(ctx, func(tx pgx.Tx, after Cursor) error {
		h := c.handout(tx)
		next, err := c.handOut(ctx, h, after)
		if err != nil || next == after {
			return err
		}
		for _, f := range h.failed {
			failed = append(failed, f)
			if err := c.setAside(ctx, tx, f); err != nil {
				return err
			}
		}
		more = true
		_, err = tx.Exec(ctx, sqlMoveConsumer, c.Name, next.Row, next.Version)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, f := range failed {
		c.tell(f, 1)
	}
	return more, nil
}

const (
	leastProbes   = 3  // wallets that may fail at first; after many failures more than a batch has
	mostProbes    = 96 // wallets that may fail while none succeeds
	leastPatience = 30 * time.Second
	mostPatience  = 16 * time.Minute
)

// handout starts a handout. The more often the last ones failed, the more wallets may be bad
// before it assumes an outage.
func (c *consumer) handout(tx pgx.Tx) *handout {
	factor := 1 << min(max(c.failures-1, 0), 8)
	return &handout{
		tx: tx, handle: c.handle, failed: map[wallet.AssetRef]failure{},
		wallets: leastProbes * factor, until: time.Now().Add(min(leastPatience*time.Duration(factor), mostPatience)),
	}
}

// handOut hands out a page, at first in one call. After a failure it splits the page, and
// continues with the pages after it until something succeeds: only that tells a bad event from
// an outage. It returns the position after everything that it tried.
func (c *consumer) handOut(ctx context.Context, h *handout, after Cursor) (Cursor, error) {
	events, next, err := c.page(ctx, h, after)
	if err != nil || len(events) == 0 {
		return next, err
	}
	if c.failures == 0 {
		return next, call(ctx, h.handle, h.tx, events)
	}
	if err := h.give(ctx, events); err != nil {
		return after, err
	}
	for !h.succeeded {
		further, beyond, err := c.page(ctx, h, next)
		if err != nil {
			return after, err
		}
		if beyond == next {
			return after, h.outage()
		}
		next = beyond
		if err := h.give(ctx, further); err != nil {
			return after, err
		}
	}
	return next, nil
}

// page reads the next events, except those of wallets that wait.
func (c *consumer) page(ctx context.Context, h *handout, after Cursor) ([]Event, Cursor, error) {
	ranges, err := settled(ctx, h.tx, after, c.BatchSize)
	if err != nil {
		return nil, after, err
	}
	waiting, skipped, err := c.withheld(ctx, h.tx, ranges)
	if err != nil {
		return nil, after, err
	}
	events, next, err := read(ctx, h.tx, ranges, after, c.BatchSize, func(r versions) bool {
		_, failed := h.failed[r.ref()]
		from, waits := waiting[r.ref()]
		return !failed && !(waits && from.reaches(r))
	})
	return skipped.leaveOut(events), next, err
}
