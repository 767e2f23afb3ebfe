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

// Handler takes the next events, at least one, those of a wallet in the order of
// their versions. If it returns nil they are done: the consumer's place moves in the
// same transaction tx. So what the handler writes through tx takes effect exactly
// once; what it does elsewhere happens at least once, and is to be deduped by
// Event.ID. If it returns an error or panics, or the process dies, the same events come
// again. Where they fail a second time, they come in smaller parts, within one
// transaction, to find out whose event it is that the handler fails for: see Consume.
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
	// ParkAfter is after how many failures of one event, in a row, its wallet is parked:
	// then "wallet feed list" and the metric wallet_feed_parked name it. 10 if 0.
	ParkAfter int
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
			WHERE id >= after_id AND (id > after_id OR last_version > after_version)),
		EXISTS (
			SELECT FROM wallet_feed_parked
			WHERE consumer = name AND retry_at <= clock_timestamp())
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
//
// An event that handle fails for stops its wallet and no other. When the same events fail
// twice, parts of them find the one that fails by itself. Its wallet's events wait from
// there on; it is tried again after 1 s, 2 s, 4 s and so on, at least once a minute, and
// what has come meanwhile follows in order. After Options.ParkAfter failures the wallet is
// parked, which changes nothing but that people are told.
//
// A wallet has to wait only where handle succeeded for another event in the same
// transaction, and only if at most 3 wallets fail in it. Where it fails for more, or for
// all, something else seems to be down: then nothing is set aside, and all of it comes
// again after a pause. Each further attempt stands for twice as many wallets, and tries some
// further on in the feed, so that many bad ones are passed in the end.
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

// alonePause is the longest pause after which a wallet is tried again that is alone in the
// feed. The next event of another one shows what is wrong, and should not wait longer.
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

// consumer is a process that consumes under a name.
type consumer struct {
	Options
	db     *pgxpool.Pool
	handle Handler

	failures     int       // to hand out what is new, in a row
	retriesAfter time.Time // none of what waits is tried before, if something new is there
}

// retryShare is how much of its time a consumer gives to wallets that wait, while there are
// events of others: a tenth.
const retryShare = 10

// round hands out the next events, then those of a wallet that waits, where it is time for
// that. It reports whether there may be more.
func (c *consumer) round(ctx context.Context) (more bool, err error) {
	var fresh, due bool
	err = c.db.QueryRow(ctx, sqlHasMore, c.Name).Scan(&fresh, &due)
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
	return more, err
}

// locked does something in a transaction that has the consumer to itself, unless another
// process has it.
func (c *consumer) locked(ctx context.Context, do func(tx pgx.Tx, after Cursor) error) error {
	// READ COMMITTED: what is read after the lock is what its last holder left.
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

// next hands out the events after the consumer's place, but for those that have to wait.
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
	leastProbes   = 3  // wallets that may fail at first; in the end more than a batch has
	mostProbes    = 96 // where nothing succeeds
	leastPatience = 30 * time.Second
	mostPatience  = 16 * time.Minute
)

// handout begins one that believes the more in bad wallets, and the less in an outage, the
// more often it failed.
func (c *consumer) handout(tx pgx.Tx) *handout {
	factor := 1 << min(max(c.failures-1, 0), 8)
	return &handout{
		tx: tx, handle: c.handle, failed: map[wallet.AssetRef]failure{},
		wallets: leastProbes * factor, until: time.Now().Add(min(leastPatience*time.Duration(factor), mostPatience)),
	}
}

// handOut hands out a page, in one call at first. After a failure it hands it out in parts,
// and goes on behind the page until something succeeds: only that tells a bad event from
// an outage. It returns the place after all that it looked at.
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

// page reads the next events of wallets that have nothing waiting.
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
