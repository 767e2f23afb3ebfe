// Package activities implements the three steps of a command as Temporal activities on
// Postgres: EnsureWalletAsset, ApplyCommands, RecordEvents. Each is idempotent and safe to run
// concurrently with itself: the wallet asset's row is the lock, and the journal records what
// was done.
//
// Read in this order: apply_commands.go (the step), groups.go (what a transaction does to its
// wallets), transaction.go, record_events.go.
package activities

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

// Activities holds what the steps share. Register registers its methods as activities; they can
// also be called directly.
type Activities struct {
	db   *pgxpool.Pool
	feed *feed.Announcer
}

// New makes the steps on a pool. The pool's role needs the rights of wallet_app.
func New(db *pgxpool.Pool) *Activities { return &Activities{db, feed.NewAnnouncer(db)} }

// Register registers the steps under the names that the workflow calls.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, step := range map[string]any{
		wallet.StepEnsureWalletAsset: a.EnsureWalletAsset,
		wallet.StepApplyCommands:     a.ApplyCommands,
		wallet.StepRecordEvents:      a.RecordEvents,
	} {
		r.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: name})
	}
}
