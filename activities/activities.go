// Package activities implements the three steps of a command as Temporal activities on
// Postgres: EnsureWalletAsset, ApplyCommands, RecordEvents; and those of transactions, lanes and runs.
// Each is idempotent and safe to run concurrently with itself: the wallet asset's row is the lock, and the journal records what
// was done.
//
// Read in this order: apply_commands.go (the step), apply_groups.go (what a transaction does to
// the wallets that it is about), transaction.go, record_events.go.
package activities

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/heartbeat"
)

// Activities holds what the steps share. Register registers its methods as activities; they can
// also be called directly.
type Activities struct {
	db    *pgxpool.Pool
	feed  *feed.Announcer
	swept sweeps
}

// New makes the steps on a pool. Its role needs the rights of wallet_app.
func New(db *pgxpool.Pool) *Activities { return &Activities{db: db, feed: feed.NewAnnouncer(db)} }

// Register registers the steps under the names that the workflow calls.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, step := range map[string]any{
		wallet.StepEnsureWalletAsset: withHeartbeat(a.EnsureWalletAsset),
		wallet.StepApplyCommands:     withHeartbeat(a.ApplyCommands),
		wallet.StepRecordEvents:      withHeartbeat(a.RecordEvents),
		wallet.StepApplyTransaction:  withHeartbeat(a.ApplyTransaction),
		wallet.StepRecordTransaction: withHeartbeat(func(ctx context.Context, refs []wallet.AssetRef) (struct{}, error) {
			return struct{}{}, a.RecordTransaction(ctx, refs)
		}),
		wallet.StepApplyLane:     withHeartbeat(a.ApplyLane),
		wallet.StepBeginRun:      withHeartbeat(a.BeginRun),
		wallet.StepApplyRunLines: withHeartbeat(a.ApplyRunLines),
		wallet.StepSetRunState:   withHeartbeat(a.SetRunState),
	} {
		r.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: name})
	}
}

// withHeartbeat lets a step that runs as a regular activity be tried again soon after its worker
// has died.
func withHeartbeat[In, Out any](step func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		defer heartbeat.Keep(ctx, heartbeat.Every)()
		return step(ctx, in)
	}
}
