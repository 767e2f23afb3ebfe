package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/internal/service/postgres"
)

const (
	// READ COMMITTED whatever the database's default is: statements after the lock must see what
	// the previous holder of the lock committed.
	sqlBegin    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	sqlCommit   = `COMMIT`
	sqlRollback = `ROLLBACK`

	// The right plan for every statement of the steps follows one index, in its order, once for
	// each parameter. Without statistics, or with those of a table that was small, another index
	// with a sort, a scan or a join of whole tables looks as cheap, and Postgres keeps that plan
	// while the tables grow. Compiling (jit) only pays for statements that read a lot.
	//
	// Whatever the role's default is, an answer must survive a crash of the server.
	//
	// A worker whose host loses power between lock and commit must not hold its locks until TCP
	// gives up. Between its two batches a step only folds: if that takes longer than
	// idle_in_transaction_session_timeout, the worker is gone or frozen, and the step is retried.
	// A session that waits for a lock also holds a connection, which other wallets may need.
	// lock_timeout is a quarter of the time that a step has for its first, quick tries (package
	// workflows), so each try ends with an error that names the cause and returns its connection.
	// It is shorter than Postgres's deadlock_timeout, so deadlocks end the same way.
	//
	// The settings apply to the transaction, not the session: pgbouncer in transaction mode gives
	// each transaction another session.
	sqlSettings = `SELECT ` + postgres.WritableColumns + `,
		ARRAY[set_config('idle_in_transaction_session_timeout', '10s', true), set_config('lock_timeout', '` + postgres.LockTimeout + `', true),
		` + postgres.PlanByIndex + `,
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)]`

	// sqlPlanOnce is for steps of one wallet asset: half of their time would be planning. Postgres
	// takes one parameter for cheaper than the ten that it guesses for an array, and plans anew.
	sqlPlanOnce = `SELECT set_config('plan_cache_mode', 'force_generic_plan', true)`

	// A transaction that only reads commits without waiting until what it read is durable or
	// replicated. One that writes this message waits like any other write.
	sqlAwaitDurability = `SELECT pg_logical_emit_message(true, 'wallet', '')`
)

// transaction is a transaction on its own connection.
type transaction struct {
	conn  *pgxpool.Conn
	citus bool // see send
	// guard, unless nil, queues what every beginning checks first. If it fails, nothing is done.
	guard func(*pgx.Batch)
}

// SQLSTATEs of a transaction that lost a conflict with another one.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03" // after lock_timeout
)

// inTransaction runs do, which must end with commit, in a transaction. It runs do again if the
// transaction lost a conflict with another one; that is never a refusal of a command.
func inTransaction[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 5*time.Millisecond, 200*time.Millisecond
	return backoff.Retry(ctx, func() (T, error) {
		value, err := runOnce(ctx, a, do)
		if err != nil && !isWorthAnotherTry(ctx, err) {
			return value, backoff.Permanent(explainLockTimeout(err))
		}
		return value, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
}

func runOnce[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (T, error) {
	conn, err := a.acquire(ctx)
	if err != nil {
		var none T
		return none, err
	}
	// A connection that is still in its transaction is closed by this, which rolls back.
	defer conn.Release()
	citus, err := postgres.OnCitus(ctx, conn.Conn())
	if err != nil {
		var none T
		return none, err
	}
	value, err := do(transaction{conn: conn, citus: citus})
	var notWritable *postgres.NotWritableError
	switch {
	case errors.As(err, &notWritable):
		_ = conn.Conn().Close(ctx) // the next one may lead to the server that takes writes
	case err != nil && ctx.Err() == nil:
		_, _ = conn.Exec(ctx, sqlRollback) // a refusal must not cost a connection
	}
	return value, err
}

func isWorthAnotherTry(ctx context.Context, err error) bool {
	switch sqlState(err) {
	case serializationFailure, deadlockDetected:
		return true
	case lockNotAvailable:
		// A workflow's step has a deadline, and Temporal retries it with longer pauses, visibly in
		// the Web UI. Nobody else retries for other callers.
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

// explainLockTimeout adds to a lock timeout what to look at.
func explainLockTimeout(err error) error {
	if sqlState(err) != lockNotAvailable {
		return err
	}
	return fmt.Errorf("another Postgres session holds a lock that this step needs: look in pg_stat_activity for a session that is idle in transaction or is itself waiting: %w", err)
}

// begin sends a batch as the beginning of a transaction, and reads its results.
func (t transaction) begin(ctx context.Context, batch *pgx.Batch) error {
	whole := &pgx.Batch{}
	whole.Queue(sqlBegin)
	if t.citus {
		for _, setting := range postgres.SetOnNodes {
			whole.Queue(setting)
		}
	}
	whole.Queue(sqlSettings).QueryRow(t.checkWritable)
	if t.guard != nil {
		t.guard(whole)
	}
	whole.QueuedQueries = append(whole.QueuedQueries, batch.QueuedQueries...)
	return t.send(ctx, whole)
}

// send sends a batch and reads its results. On Citus it has a statement for each wallet, whose
// callbacks are called as often, and which is planned for its values.
func (t transaction) send(ctx context.Context, batch *pgx.Batch) error {
	if t.citus {
		batch = postgres.OneByOne(batch)
		batch.QueuedQueries = slices.DeleteFunc(batch.QueuedQueries, func(q *pgx.QueuedQuery) bool { return q.SQL == sqlPlanOnce })
	}
	return t.conn.SendBatch(ctx, batch).Close()
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

// commit sends a batch that ends the transaction.
func (t transaction) commit(ctx context.Context, b *pgx.Batch) error {
	b.Queue(sqlCommit)
	return t.send(ctx, b)
}

func (t transaction) rollback(ctx context.Context) error {
	_, err := t.conn.Exec(ctx, sqlRollback)
	return err
}

// acquireTimeout is how long a step waits for a connection before it reports that there is none
// and is retried.
const acquireTimeout = 5 * time.Second

// acquire waits at most for half of the time that a step has left: the rest is for the work, or
// for reporting what is missing. A plain timeout would not name the cause.
func (a *Activities) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	waiting := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, min(time.Until(deadline)/2, acquireTimeout))
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
