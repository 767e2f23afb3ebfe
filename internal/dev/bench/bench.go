// Package bench measures wallets next to two baselines on the same servers: the textbook
// workflow, which is a wallet as Temporal's samples would build it, and the floor, one SQL
// statement per command without Temporal. After each run it checks that every accepted command
// counted exactly once.
//
// Read next: scenario.go (what can be run), load.go (how it is measured), check.go (what must
// be true afterwards), report.go (the output).
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/telemetry"
)

// Environment is where a benchmark runs.
type Environment struct {
	Store       string // Temporal's: sqlite or postgres
	Temporal    client.Client
	DatabaseURL string             // a migrated database
	Metrics     *telemetry.Metrics // of the worker; may be nil
	Processes   Processes          // whose CPU time is measured
	PProf       string             // address of the Temporal server's profiles; may be empty
	// RestartTemporal stops and starts the server, and returns its new process.
	RestartTemporal func(context.Context) (pid int, err error)
}

func (e Environment) openPool(ctx context.Context) (*pgxpool.Pool, error) {
	return service.OpenPool(ctx, service.Database{URL: e.DatabaseURL, Setting: "the benchmark's database"})
}

// startWorker runs a worker on a task queue as "wallet worker" does.
func (e Environment) startWorker(ctx context.Context, pool *pgxpool.Pool, queue string) (*service.Service, error) {
	return service.Start(ctx, service.Options{
		Temporal: e.Temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: queue, Logger: zap.NewNop(),
		Metrics: e.Metrics, HTTPAddress: service.HTTPOff,
	})
}

// Options of a benchmark.
type Options struct {
	Specs []Spec
	// ProfileDir is where each run writes CPU profiles of this process and the Temporal server,
	// and where the first wallet's time went; nothing if empty.
	ProfileDir string
	// Progress is called during a run.
	Progress Progress
}

// Progress shows how far a benchmark has come.
type Progress interface {
	// Begin is called before each run, with the expected duration of its load.
	Begin(label string, expected time.Duration)
	// Advance is called during the load.
	Advance(elapsed time.Duration)
	// End is called after the check.
	End(Row)
}

// bench is a running benchmark.
type bench struct {
	environment Environment
	options     Options
	name        string // unique, to separate runs on one database
	pool        *pgxpool.Pool
	queue       string // of the wallets' worker
	textbook    string // queue of the textbook's worker
}

// Run measures the specs one after the other. It returns errors of the setup; the rows contain
// what the checks found.
func Run(ctx context.Context, environment Environment, options Options) ([]Row, error) {
	b := &bench{environment: environment, options: options, name: fmt.Sprintf("bench-%d", time.Now().UnixNano())}
	b.queue, b.textbook = b.name, b.name+"-textbook"
	pool, err := environment.openPool(ctx)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	b.pool = pool
	worker, err := environment.startWorker(ctx, pool, b.queue)
	if err != nil {
		return nil, err
	}
	defer worker.Stop()
	textbook, err := startTextbook(environment.Temporal, pool, b.textbook)
	if err != nil {
		return nil, err
	}
	defer textbook.Stop()

	var rows []Row
	for i, spec := range options.Specs {
		row, err := b.run(ctx, i, spec)
		if err != nil {
			return rows, fmt.Errorf("%s on %s: %w", spec, environment.Store, err)
		}
		rows = append(rows, row)
	}
	compare(rows)
	return rows, nil
}

// run measures and checks one spec.
func (b *bench) run(ctx context.Context, n int, spec Spec) (Row, error) {
	b.options.Progress.Begin(fmt.Sprintf("%s: %s", b.environment.Store, spec), spec.WarmUp+spec.Duration)
	target, err := b.target(ctx, n, spec)
	if err != nil {
		return Row{}, err
	}
	defer target.close()
	measured, err := b.measure(ctx, n, spec, target)
	if err != nil {
		return Row{}, err
	}
	row := newRow(b.environment.Store, spec, measured)
	if row.Checked, err = target.check(ctx, measured.accepted); err != nil {
		return Row{}, err
	}
	events, err := target.historyEvents(ctx)
	if err != nil {
		return Row{}, err
	}
	commands := measured.accepted.commands
	if spec.Scenario.moves() {
		commands = (commands-spec.Wallets)/2 + spec.Wallets // the openings are no transfers
	}
	row.HistoryEventsPerCommand = float64(events) / float64(commands)
	if err := b.writeCycle(ctx, n, spec, target); err != nil {
		return Row{}, err
	}
	b.options.Progress.End(row)
	return row, nil
}
