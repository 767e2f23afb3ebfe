package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

const (
	// sweepGrace gives the wallet's own workflow, which has a timer, time to act first.
	sweepGrace = 15 * time.Second
	// maxSwept is how many wallets one sweep handles; the rest wait for the next.
	maxSwept = 1000
)

const sqlOverdue = `SELECT DISTINCT user_id, currency
	FROM (
		SELECT user_id, currency
		FROM wallet_holds
		WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= clock_timestamp() - $1::interval
		ORDER BY expires_at
		LIMIT $2) AS overdue`

// ExpireOverdue expires holds that are overdue because their wallet's workflow is gone or
// stuck, and records the events. It returns how many wallets it handled. Every worker may call
// it, even at the same time.
func (a *Activities) ExpireOverdue(ctx context.Context) (wallets int, err error) {
	found, err := a.db.Query(ctx, sqlOverdue, sweepGrace, maxSwept)
	if err != nil {
		return 0, err
	}
	overdue, err := pgx.CollectRows(found, pgx.RowToStructByPos[wallet.AssetRef])
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, ref := range overdue {
		if _, err := a.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, AndRecord: true}); err != nil {
			failed = append(failed, fmt.Errorf("expire holds of the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
			continue
		}
		wallets++
	}
	return wallets, errors.Join(failed...)
}
