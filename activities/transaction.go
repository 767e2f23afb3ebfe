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

	"github.com/valueledger/wallet/internal/service/postgres"
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
	//
	// A worker whose host loses power between the locks and the commit must not keep them
	// until TCP gives it up. A step between its two batches only folds: one that takes longer
	// than idle_in_transaction_session_timeout is of a worker that is gone or stands still,
	// and is repeated. Who waits for a lock holds a connection meanwhile, which other wallets
	// may need: lock_timeout is a quarter of the time that a step has for its first, quick
	// tries (package workflows), so that each ends with an error that names the cause, and
	// gives the connection back. It is shorter than Postgres's deadlock_timeout, so a deadlock
	// ends in the same way.
	//
	// They are of the transaction, not of the session: pgbouncer in transaction mode gives
	// each transaction another one.
	sqlSettings = `SELECT ` + postgres.WritableColumns + `,
		ARRAY[set_config('idle_in_transaction_session_timeout', '10s', true), set_config('lock_timeout', '500ms', true),
		set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
		set_config('jit', 'off', true),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)]`

	// A transaction that only reads commits without waiting for what it has read to be
	// durable, or replicated. One that writes this waits like any other that writes.
	sqlAwaitDurability = `SELECT pg_logical_emit_message(true, 'wallet', '')`
)

// transaction is one on a connection of its own.
type transaction struct{ conn *pgxpool.Conn }

// SQLSTATEs of a transaction that failed for the sake of another one.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03" // after lock_timeout
)

// inTransaction runs do in a transaction, which do ends with commit, and repeats it when
// it failed for the sake of another one. That is never a refusal of a command.
func inTransaction[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 5*time.Millisecond, 200*time.Millisecond
	return backoff.Retry(ctx, func() (T, error) {
		value, err := try(ctx, a, do)
		if err != nil && !isWorthAnotherTry(ctx, err) {
			return value, backoff.Permanent(inWords(err))
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
	var notWritable *postgres.NotWritableError
	switch {
	case errors.As(err, &notWritable):
		_ = conn.Conn().Close(ctx) // the next one may lead to the server that takes writes
	case err != nil && ctx.Err() == nil:
		_, _ = conn.Exec(ctx, sqlRollback) // a refusal shall not cost a connection
	}
	return value, err
}

func isWorthAnotherTry(ctx context.Context, err error) bool {
	switch sqlState(err) {
	case serializationFailure, deadlockDetected:
		return true
	case lockNotAvailable:
		// A step of a workflow has a deadline. Temporal tries it again, with longer pauses
		// and in sight of the Web UI. For others there is nobody but us.
		_, limited := ctx.Deadline()
		return !limited
	default:
		return false
	}
}

func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// inWords says of a lock that was not to be had what to look at.
func inWords(err error) error {
	if sqlState(err) != lockNotAvailable {
		return err
	}
	return fmt.Errorf("another session of Postgres has locked what this step needs, and keeps it: look in pg_stat_activity for a session that is idle in transaction or waits itself: %w", err)
}

// begin sends a batch as the beginning of a transaction, and reads its results.
func (t transaction) begin(ctx context.Context, batch *pgx.Batch) error {
	whole := &pgx.Batch{}
	whole.Queue(sqlBegin)
	whole.Queue(sqlSettings).QueryRow(t.checkWritable)
	whole.QueuedQueries = append(whole.QueuedQueries, batch.QueuedQueries...)
	return t.conn.SendBatch(ctx, whole).Close()
}

// checkWritable reads what sqlSettings says of the server. Where that takes no writes, the rest
// of the batch has failed or changed nothing.
func (t transaction) checkWritable(row pgx.Row) error {
	var inRecovery, readOnly bool
	if err := row.Scan(&inRecovery, &readOnly, nil); err != nil {
		return err
	}
	return postgres.Writable(t.conn.Conn().PgConn(), inRecovery, readOnly)
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
