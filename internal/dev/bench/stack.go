package bench

import (
	"context"
	"errors"

	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
)

// OnStack runs do on its own servers in dir, with Postgres's default settings: speed that a
// crash would pay for with lost data is not measured.
func OnStack(ctx context.Context, dir string, store devstack.TemporalStore, logger *zap.Logger, say func(string, ...any), do func(Environment) error) (err error) {
	stack, err := devstack.Start(ctx, devstack.Options{Dir: dir, TemporalStore: store, Log: say})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	const database = "wallet_bench"
	if err := stack.Postgres.CreateDatabase(ctx, database); err != nil {
		return err
	}
	url := stack.Postgres.URL(database)
	if _, err := migrations.Up(ctx, url); err != nil {
		return err
	}
	connection := client.Options{HostPort: stack.Temporal.Address(), Logger: service.SDKLogger(logger)}
	service.WorkerConnection(&connection)
	metrics, err := telemetry.NewMetrics() // like every worker
	if err != nil {
		return err
	}
	metrics.Client(&connection)
	temporal, err := client.DialContext(ctx, connection)
	if err != nil {
		return err
	}
	defer temporal.Close()
	return do(Environment{
		Store: string(store), Temporal: temporal, DatabaseURL: url, Metrics: metrics, PProf: stack.Temporal.PProf(),
		Processes: Processes{Temporal: stack.Temporal.PID(), Postgres: stack.Postgres.PID()},
		RestartTemporal: func(ctx context.Context) (int, error) {
			if err := stack.Temporal.Stop(); err != nil {
				return 0, err
			}
			if err := stack.Temporal.Start(ctx); err != nil {
				return 0, err
			}
			return stack.Temporal.PID(), nil
		},
	})
}
