package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/starter"
)

// withPool connects to Postgres for the time of do.
func (a *app) withPool(ctx context.Context, do func(*pgxpool.Pool) error) error {
	return withPoolOf(ctx, a.database, do)
}

func withPoolOf(ctx context.Context, database service.Database, do func(*pgxpool.Pool) error) error {
	pool, err := service.OpenPool(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	return do(pool)
}

const insufficientPrivilege = "42501" // SQLSTATE

// asOwner says what to set if a role lacks a right that the owner of the tables has.
func (a *app) asOwner(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == insufficientPrivilege && refused.Hint == "" {
		return fmt.Errorf("only the owner of the tables may do this: set WALLET_OWNER_DATABASE_URL to connect as him (this was %s): %w", a.owner.Setting, err)
	}
	return err
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
