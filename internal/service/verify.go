package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/trail"
)

const (
	// verifyConnections is the least that a verification needs. They are not the
	// steps', which must not wait for it.
	verifyConnections = 4
	// maxFindingsLogged keeps a broken ledger from filling the log each time.
	maxFindingsLogged = 20
)

// verifyRegularly verifies all wallets at once and then at regular intervals, until ctx ends.
func verifyRegularly(ctx context.Context, o Options) {
	ticks := time.NewTicker(o.VerifyEvery)
	defer ticks.Stop()
	for {
		err := verifyAll(ctx, o)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.Logger.Error("could not verify the wallets", zap.Error(err))
			if o.Metrics != nil {
				o.Metrics.NotVerified(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func verifyAll(ctx context.Context, o Options) error {
	config := o.Pool.Config()
	config.MinConns, config.MaxConns = 0, verifyConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	started := time.Now()
	report, err := trail.New(pool).Verify(ctx, trail.VerifyOptions{})
	if err != nil {
		return err
	}
	took := time.Since(started)
	if o.Metrics != nil {
		o.Metrics.Verified(ctx, report.Wallets, report.Entries, int64(len(report.Findings)), took)
	}
	o.Logger.Info("verified the wallets", zap.Int64("wallets", report.Wallets), zap.Int64("entries", report.Entries),
		zap.Int("findings", len(report.Findings)), zap.Duration("took", took))
	for _, f := range report.Findings[:min(len(report.Findings), maxFindingsLogged)] {
		o.Logger.Error("wallet failed verification", zap.String("user_id", f.UserID), zap.String("currency", f.Currency),
			zap.String("table", f.Table), zap.Int64("position", f.Position), zap.String("problem", f.Problem))
	}
	for _, n := range report.Notes[:min(len(report.Notes), maxFindingsLogged)] {
		o.Logger.Warn("verification notes a wallet", zap.String("user_id", n.UserID), zap.String("currency", n.Currency),
			zap.Int64("position", n.Position), zap.Int64("version", n.Version), zap.Time("recorded_at", n.RecordedAt), zap.String("note", n.Note))
	}
	return nil
}
