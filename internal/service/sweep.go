package service

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/telemetry"
)

// sweepEvery is how often a worker looks for overdue holds. Together with the sweep's grace
// period each hold expires within a minute, even if its wallet's workflow does nothing.
const sweepEvery = 20 * time.Second

// sweepRegularly expires holds and grants that their wallets' workflows do not expire, until ctx ends.
func sweepRegularly(ctx context.Context, steps *activities.Activities, metrics *telemetry.Metrics, log *zap.Logger) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		expired, wallets, err := steps.ExpireOverdue(ctx)
		if metrics != nil {
			metrics.CountExpired(expired.Holds, expired.Grants)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the sweep of overdue holds failed for some wallets, which are tried again", zap.Error(err))
		}
		if wallets > 0 {
			log.Info("the sweep expired holds or grants, because their wallets' workflows did not", zap.Int("holds", expired.Holds), zap.Int("grants", expired.Grants), zap.Int("wallets", wallets))
		}
	}
}
