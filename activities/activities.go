// Package activities is the three steps of a command, as Temporal activities on
// Postgres: EnsureWalletAsset, ApplyCommands, RecordEvents. Each is idempotent
// and safe beside itself: the row of the wallet asset is the lock, the journal is
// the memory of what was done.
//
// Read in this order: apply_commands.go (the step), groups.go (what a transaction does to
// the wallets that it is about), transaction.go, record_events.go.
package activities

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

// Activities holds what the steps share. Its methods are registered as
// activities by Register and may be called directly.
type Activities struct {
	db    *pgxpool.Pool
	feed  *feed.Announcer
	swept sweeps
}

// New makes the steps on a pool. Its role needs the rights of wallet_app.
func New(db *pgxpool.Pool) *Activities { return &Activities{db: db, feed: feed.NewAnnouncer(db)} }

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
