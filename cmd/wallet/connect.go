package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/starter"
)

// withPool connects to Postgres to read, for the time of do. It says on stderr if what is
// read may be old.
func (a *app) withPool(ctx context.Context, do func(*pgxpool.Pool) error) error {
	pool, err := service.OpenReadPool(ctx, a.database)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := a.noteStandby(ctx, pool); err != nil {
		return err
	}
	return do(pool)
}

// catchUpPatience is how long a read waits for a standby.
const catchUpPatience = 2 * time.Second

// withReads connects to the Postgres that reads of the journal go to, for the time of do. If that is
// a standby, it waits a little until that has what the primary has, and otherwise says on stderr how
// old what is read may be.
func (a *app) withReads(ctx context.Context, do func(*pgxpool.Pool) error) error {
	if a.read == a.database {
		return a.withPool(ctx, do)
	}
	view := &postgres.View{}
	reads, err := service.OpenReads(ctx, a.read, view)
	if err != nil {
		return err
	}
	defer reads.Pool.Close()
	current := a.catchUp(ctx, reads, view)
	if err := a.read.Check(ctx, reads.Pool); err != nil {
		return err
	}
	view.Restart()
	err = do(reads.Pool)
	if standby := view.Standby(); standby != nil && !current {
		a.tellStandby(standby)
	}
	return err
}

// catchUp reports whether what is read now has all that the primary had when the command began.
func (a *app) catchUp(ctx context.Context, reads *postgres.Reads, view *postgres.View) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpPatience)
	defer cancel()
	if a.database.URL == "" {
		return false
	}
	primary, err := service.OpenPool(ctx, a.database)
	if err != nil {
		return false
	}
	defer primary.Close()
	if err := reads.Mark(ctx, primary); err != nil {
		return false
	}
	reads.Demand(view)
	if err := reads.Pool.Ping(ctx); err != nil {
		view.Forget()
		return false
	}
	return true
}

// withWriterPool connects to a Postgres that takes writes, for the time of do.
func withWriterPool(ctx context.Context, database service.Database, do func(*pgxpool.Pool) error) error {
	pool, err := service.OpenPool(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	return do(pool)
}

func (a *app) noteStandby(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	standby, err := postgres.StandbyOf(ctx, conn.Conn())
	if standby != nil {
		a.tellStandby(standby)
	}
	return err
}

func (a *app) tellStandby(standby *postgres.Standby) {
	if a.output == "json" {
		printJSON(os.Stderr, "note", standby.String())
	} else {
		fmt.Fprintln(os.Stderr, "note:", standby)
	}
}

// process is what a command that runs until SIGTERM works with.
type process struct {
	logger    *zap.Logger
	metrics   *telemetry.Metrics
	pool      *pgxpool.Pool
	temporal  client.Client // nil before dialTemporal
	namespace string
}

// startProcess connects to a Postgres that takes writes.
func (a *app) startProcess(ctx context.Context) (*process, error) {
	logger, err := service.NewLogger(a.logLevel, a.logFormat)
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("telemetry", zap.Error(err)) }))
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		return nil, err
	}
	pool, err := service.OpenPool(ctx, a.database)
	if err != nil {
		return nil, err
	}
	return &process{logger: logger, metrics: metrics, pool: pool}, nil
}

func (p *process) dialTemporal(ctx context.Context) (err error) {
	p.temporal, p.namespace, err = service.DialTemporal(ctx, p.logger, func(o *client.Options) {
		service.WorkerConnection(o)
		p.metrics.Client(o)
	})
	return err
}

func (p *process) close() {
	if p.temporal != nil {
		p.temporal.Close()
	}
	p.pool.Close()
}

const insufficientPrivilege = "42501" // SQLSTATE

// asOwner says what to set if a role lacks a right that the owner of the tables has.
func (a *app) asOwner(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == insufficientPrivilege && refused.Hint == "" {
		return fmt.Errorf("only the owner of the tables may do this: set WALLET_OWNER_DATABASE_URL to connect as that role (this was %s): %w", a.owner.Setting, err)
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
