package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/starter"
)

func (a *app) openPool(ctx context.Context) (*pgxpool.Pool, error) {
	return service.OpenPool(ctx, a.database)
}

// dialWallets connects a caller. The SDK's log is of no interest to one, but for
// what goes wrong.
func (a *app) dialWallets(ctx context.Context) (*starter.Client, client.Client, error) {
	logger, err := service.NewLogger("error", a.logFormat)
	if err != nil {
		return nil, nil, err
	}
	temporal, _, err := service.DialTemporal(ctx, logger, nil)
	if err != nil {
		return nil, nil, err
	}
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: a.taskQueue})
	return wallets, temporal, err
}
