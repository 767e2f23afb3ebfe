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

	sqlLastVersion = `SELECT coalesce(max(version), 0) FROM wallet_commands WHERE user_id = $1 AND currency = $2`
)

// inTransaction runs do in a READ COMMITTED transaction, whatever the database's
// default is: a statement after the lock has to see what the last holder of the
// lock committed.
func (a *Activities) inTransaction(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, a.db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, do)
}

// lockAsset takes the row lock of an asset. It returns pgx.ErrNoRows if there is
// no such row.
func lockAsset(ctx context.Context, tx pgx.Tx, ref wallet.AssetRef) (wallet.Asset, error) {
	rows, err := tx.Query(ctx, sqlLockAsset, ref.UserID, ref.Currency)
	if err != nil {
		return wallet.Asset{}, err
	}
	return pgx.CollectExactlyOneRow(rows, trail.ScanAsset)
}

// insertAsset makes the row of an asset that is about to be created, with version
// 0, and locks it. If another transaction made it first, that one is returned.
func insertAsset(ctx context.Context, tx pgx.Tx, ref wallet.AssetRef) (wallet.Asset, error) {
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
	asset, err := lockAsset(ctx, tx, ref)
	if err != nil || asset.Exists() {
		return asset, err
	}
	return restoreAsset(ctx, tx, asset)
}

// restoreAsset gives a new row the balance and the head of the chain that the
// journal ends with, if there is a journal: the row was lost, the facts were not.
func restoreAsset(ctx context.Context, tx pgx.Tx, asset wallet.Asset) (wallet.Asset, error) {
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

// foldInto applies commands to a locked asset: looks up the ids that are taken,
// folds, and writes the new journal entries and the balance.
func foldInto(ctx context.Context, tx pgx.Tx, asset wallet.Asset, commands []wallet.Received) (wallet.ApplyCommandsOutput, error) {
	prior, now, err := readPrior(ctx, tx, asset, commands)
	if err != nil {
		return wallet.ApplyCommandsOutput{}, fmt.Errorf("look up command ids: %w", err)
	}
	after, entries, results, err := wallet.Fold(asset, prior, commands, now)
	if err != nil {
		return wallet.ApplyCommandsOutput{}, err
	}
	if len(entries) > 0 {
		if err := write(ctx, tx, after, entries); err != nil {
			return wallet.ApplyCommandsOutput{}, fmt.Errorf("write journal and balance: %w", err)
		}
	}
	return wallet.ApplyCommandsOutput{Asset: after, Results: results}, nil
}

func readPrior(ctx context.Context, tx pgx.Tx, asset wallet.Asset, commands []wallet.Received) (map[string]wallet.Entry, time.Time, error) {
	ids := make([]string, len(commands))
	for i, received := range commands {
		ids[i] = received.Command.ID
	}
	prior := map[string]wallet.Entry{}
	var now time.Time
	batch := &pgx.Batch{}
	batch.Queue(sqlPrior, asset.UserID, asset.Currency, ids).Query(func(rows pgx.Rows) error {
		entries, err := pgx.CollectRows(rows, trail.ScanEntry)
		for _, e := range entries {
			prior[e.CommandID] = e
		}
		return err
	})
	batch.Queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	err := tx.SendBatch(ctx, batch).Close()
	return prior, now, err
}
