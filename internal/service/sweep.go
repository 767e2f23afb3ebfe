package service

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/valueledger/wallet/activities"
)

// sweepEvery is how often a worker looks for holds that are overdue. With the grace of a
// sweep each expires within a minute, whoever is asleep.
const sweepEvery = 20 * time.Second

// sweepRegularly lets holds expire whose wallets have no workflow to do it, until ctx ends.
func sweepRegularly(ctx context.Context, steps *activities.Activities, log *zap.Logger) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		wallets, err := steps.ExpireOverdue(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn("the sweep of overdue holds failed for some wallets, which are tried again", zap.Error(err))
		}
		if wallets > 0 {
			log.Info("holds expired by the sweep, their wallets' workflows did not see to it", zap.Int("wallets", wallets))
		}
	}
}
