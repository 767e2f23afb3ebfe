// Package activities is the three steps of a command, as Temporal activities on
// Postgres: EnsureWalletAsset, ApplyCommands, RecordEvents. Each is idempotent
// and safe beside itself: the row of the wallet asset is the lock, the journal is
// the memory of what was done.
package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/trail"
)

// Activities holds what the steps share. Its methods are registered as
// activities by Register and may be called directly.
type Activities struct {
	db   *pgxpool.Pool
	feed *feed.Announcer
}

// New makes the steps on a pool. Its role needs the rights of wallet_app.
func New(db *pgxpool.Pool) *Activities { return &Activities{db, feed.NewAnnouncer(db)} }

// Register names the steps as the workflow calls them.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, step := range map[string]any{
		wallet.StepEnsureWalletAsset: a.EnsureWalletAsset,
		wallet.StepApplyCommands:     a.ApplyCommands,
		wallet.StepRecordEvents:      a.RecordEvents,
	} {
		r.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: name})
	}
}

const (
	sqlBegin    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	sqlCommit   = `COMMIT`
	sqlRollback = `ROLLBACK`

	// The right plan of every statement of the steps follows one index, in its order.
	// Without statistics, or with those of a table that was small, another index and a
	// sort, or a scan, look as cheap: and Postgres keeps such a plan while the wallet's
	// journal grows. Compiling (jit) is for statements that read much.
	sqlOneIndex = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true), set_config('jit', 'off', true)`

	sqlScale = `SELECT scale FROM currencies WHERE code = $1`

	sqlLockAsset = `SELECT ` + trail.AssetColumns + `
		FROM wallet_assets
		WHERE user_id = $1 AND currency = $2
		FOR UPDATE`

	// A statement of its own, after the lock: its time is not before that of any
	// entry of a transaction that held the lock earlier.
	sqlNow = `SELECT clock_timestamp()`

	sqlInsertWallet = `INSERT INTO wallets (user_id) VALUES ($1) ON CONFLICT DO NOTHING`

	sqlInsertAsset = `INSERT INTO wallet_assets (user_id, currency, created_at, updated_at)
		VALUES ($1, $2, clock_timestamp(), clock_timestamp())
		ON CONFLICT DO NOTHING`

	sqlLastEntry = `SELECT ` + trail.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2
		ORDER BY position DESC
		LIMIT 1`

	sqlLastVersion = `SELECT version
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND version IS NOT NULL
		ORDER BY version DESC
		LIMIT 1`
)

// querier is a connection within a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// inTransaction runs first, then do, then what do has queued in last, in a READ
// COMMITTED transaction, whatever the database's default is: a statement after the
// lock has to see what the last holder of the lock committed. BEGIN travels with
// first and COMMIT with last, so that a step takes two round trips.
func (a *Activities) inTransaction(ctx context.Context, first *pgx.Batch, do func(tx querier, last *pgx.Batch) error) error {
	conn, err := a.acquire(ctx)
	if err != nil {
		return err
	}
	// After a failure of the connection it may still be in the transaction: then it is
	// closed, which rolls back.
	defer conn.Release()
	if err := conn.SendBatch(ctx, begun(first)).Close(); err != nil {
		return err
	}
	last := &pgx.Batch{}
	if err := do(conn, last); err != nil {
		_, _ = conn.Exec(ctx, sqlRollback) // a refusal shall not cost a connection
		return err
	}
	last.Queue(sqlCommit)
	return conn.SendBatch(ctx, last).Close()
}

// atOnce runs a batch as a transaction, in one round trip.
func (a *Activities) atOnce(ctx context.Context, b *pgx.Batch) error {
	conn, err := a.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	whole := begun(b)
	whole.Queue(sqlCommit)
	return conn.SendBatch(ctx, whole).Close()
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

// begun puts the beginning of a transaction before the statements of a batch.
func begun(b *pgx.Batch) *pgx.Batch {
	transaction := &pgx.Batch{}
	transaction.Queue(sqlBegin)
	transaction.Queue(sqlOneIndex)
	transaction.QueuedQueries = append(transaction.QueuedQueries, b.QueuedQueries...)
	return transaction
}

// queueLock takes the row lock of an asset and reads it. found says whether there is
// such a row.
func queueLock(b *pgx.Batch, ref wallet.AssetRef, asset *wallet.Asset, found *bool) {
	b.Queue(sqlLockAsset, ref.UserID, ref.Currency).Query(func(rows pgx.Rows) (err error) {
		*asset, err = pgx.CollectExactlyOneRow(rows, trail.ScanAsset)
		*found = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
}

// insertAsset makes the row of an asset that is about to be created, with version
// 0, and locks it. If another transaction made it first, that one is returned.
func insertAsset(ctx context.Context, tx querier, ref wallet.AssetRef) (wallet.Asset, error) {
	if err := wallet.ValidateWallet(ref.UserID, ref.Currency); err != nil {
		return wallet.Asset{}, err
	}
	var scale int32
	if err := tx.QueryRow(ctx, sqlScale, ref.Currency).Scan(&scale); errors.Is(err, pgx.ErrNoRows) {
		return wallet.Asset{}, wallet.UnknownCurrency(ref.Currency)
	} else if err != nil {
		return wallet.Asset{}, err
	}
	if _, err := tx.Exec(ctx, sqlInsertWallet, ref.UserID); err != nil {
		return wallet.Asset{}, fmt.Errorf("create wallet: %w", err)
	}
	if _, err := tx.Exec(ctx, sqlInsertAsset, ref.UserID, ref.Currency); err != nil {
		return wallet.Asset{}, fmt.Errorf("create wallet asset: %w", err)
	}
	var asset wallet.Asset
	lock, found := &pgx.Batch{}, false
	queueLock(lock, ref, &asset, &found)
	if err := tx.SendBatch(ctx, lock).Close(); err != nil || asset.Exists() {
		return asset, err
	}
	return restoreAsset(ctx, tx, asset)
}

// restoreAsset gives a new row the balance and the head of the chain that the
// journal ends with, if there is a journal: the row was lost, the facts were not.
func restoreAsset(ctx context.Context, tx querier, asset wallet.Asset) (wallet.Asset, error) {
	rows, err := tx.Query(ctx, sqlLastEntry, asset.UserID, asset.Currency)
	if err != nil {
		return asset, err
	}
	last, err := pgx.CollectExactlyOneRow(rows, trail.ScanEntry)
	if errors.Is(err, pgx.ErrNoRows) {
		return asset, nil
	} else if err != nil {
		return asset, err
	}
	if err := tx.QueryRow(ctx, sqlLastVersion, asset.UserID, asset.Currency).Scan(&asset.Version); err != nil {
		return asset, err
	}
	asset.Total, asset.Hold = last.TotalAfter, last.HoldAfter
	asset.Position, asset.Hash, asset.UpdatedAt = last.Position, last.Hash, last.RecordedAt
	_, err = tx.Exec(ctx, sqlUpdateAsset, assetColumns(asset)...)
	return asset, err
}

// taken is what foldInto has to know of the journal: the entries under the ids of its
// commands, and Postgres's time, read after the lock.
type taken struct {
	prior map[string]wallet.Entry
	now   time.Time
}

// queueTaken reads what is taken; it has to be queued behind the lock.
func queueTaken(b *pgx.Batch, ref wallet.AssetRef, commands []wallet.Received, t *taken) {
	ids := make([]string, len(commands))
	for i, received := range commands {
		ids[i] = received.Command.ID
	}
	t.prior = map[string]wallet.Entry{}
	b.Queue(sqlPrior, ref.UserID, ref.Currency, ids).Query(func(rows pgx.Rows) error {
		entries, err := pgx.CollectRows(rows, trail.ScanEntry)
		for _, e := range entries {
			t.prior[e.CommandID] = e
		}
		return err
	})
	b.Queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&t.now) })
}

// foldInto applies commands to a locked asset and queues the new journal entries and
// the balance.
func foldInto(b *pgx.Batch, asset wallet.Asset, t taken, commands []wallet.Received) (wallet.ApplyCommandsOutput, error) {
	after, entries, results, err := wallet.Fold(asset, t.prior, commands, t.now)
	if err != nil {
		return wallet.ApplyCommandsOutput{}, err
	}
	if len(entries) > 0 {
		if err := queueWrite(b, after, entries); err != nil {
			return wallet.ApplyCommandsOutput{}, err
		}
	}
	return wallet.ApplyCommandsOutput{Asset: after, Outcome: wallet.NewOutcome(asset, results)}, nil
}

// foldIntoNew is foldInto for an asset that insertAsset has just made.
func foldIntoNew(ctx context.Context, tx querier, last *pgx.Batch, asset wallet.Asset, commands []wallet.Received) (wallet.ApplyCommandsOutput, error) {
	var known taken
	read := &pgx.Batch{}
	queueTaken(read, wallet.AssetRef{UserID: asset.UserID, Currency: asset.Currency}, commands, &known)
	if err := tx.SendBatch(ctx, read).Close(); err != nil {
		return wallet.ApplyCommandsOutput{}, err
	}
	return foldInto(last, asset, known, commands)
}
