package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// READ COMMITTED whatever the database's default is: a statement behind the lock has to
	// see what the last holder of the lock committed.
	sqlBegin    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	sqlCommit   = `COMMIT`
	sqlRollback = `ROLLBACK`

	// The right plan of every statement of the steps follows one index, in its order, once
	// for each of its parameters. Without statistics, or with those of a table that was
	// small, another index and a sort, a scan or a join of whole tables look as cheap: and
	// Postgres keeps such a plan while the tables grow. Compiling (jit) is for statements
	// that read much.
	//
	// What is answered must outlive a crash of the server, whatever the role's default is.
	sqlSettings = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
		set_config('jit', 'off', true),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`

	// A transaction that only reads commits without waiting for what it has read to be
	// durable, or replicated. One that writes this waits like any other that writes.
	sqlAwaitDurability = `SELECT pg_logical_emit_message(true, 'wallet', '')`
)

// transaction is one on a connection of its own.
type transaction struct{ conn *pgxpool.Conn }

// inTransaction runs do in a transaction, which do ends with commit, and repeats it when
// Postgres gave it up for the sake of another one. That is never a refusal of a command.
func inTransaction[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 5*time.Millisecond, 200*time.Millisecond
	return backoff.Retry(ctx, func() (T, error) {
		value, err := try(ctx, a, do)
		if err != nil && !isGivenUp(err) {
			return value, backoff.Permanent(err)
		}
		return value, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
}

func try[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (T, error) {
	conn, err := a.acquire(ctx)
	if err != nil {
		var none T
		return none, err
	}
	// A connection that is still in its transaction is closed by this, which rolls back.
	defer conn.Release()
	value, err := do(transaction{conn})
	if err != nil && ctx.Err() == nil {
		_, _ = conn.Exec(ctx, sqlRollback) // a refusal shall not cost a connection
	}
	return value, err
}

// isGivenUp recognizes a serialization failure and a deadlock.
func isGivenUp(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "40001" || refused.Code == "40P01")
}

// begin sends a batch as the beginning of a transaction; the results of what it queues are
// read from what it returns.
func (t transaction) begin(ctx context.Context, b *pgx.Batch) (pgx.BatchResults, error) {
	whole := &pgx.Batch{}
	whole.Queue(sqlBegin)
	whole.Queue(sqlSettings)
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	results := t.conn.SendBatch(ctx, whole)
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, errors.Join(err, results.Close())
		}
	}
	return results, nil
}

// commit sends a batch as the end of the transaction.
func (t transaction) commit(ctx context.Context, b *pgx.Batch) error {
	b.Queue(sqlCommit)
	return t.conn.SendBatch(ctx, b).Close()
}

func (t transaction) rollback(ctx context.Context) error {
	_, err := t.conn.Exec(ctx, sqlRollback)
	return err
}

// acquirePatience is how long a step waits for a connection before it says that there
// is none; then it tries again.
const acquirePatience = 5 * time.Second

// acquire waits at most for half of the time that a step has left: the rest is for the
// work, or for saying what is missing. A step that simply ran out of time would show as
// a timeout, which names no cause.
func (a *Activities) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	waiting := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, min(time.Until(deadline)/2, acquirePatience))
		defer cancel()
	}
	conn, err := a.db.Acquire(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, noConnection(a.db.Stat(), err)
	}
	return conn, err
}

func noConnection(pool *pgxpool.Stat, err error) error {
	return fmt.Errorf("no connection to Postgres came free in time (%d of the worker's %d in use, %d being opened): look for slow or blocked statements in pg_stat_activity, raise pool_max_conns in WALLET_DATABASE_URL, or run more workers: %w",
		pool.AcquiredConns(), pool.MaxConns(), pool.ConstructingConns(), err)
}
