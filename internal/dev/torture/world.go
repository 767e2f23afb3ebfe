package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/trail"
)

const (
	database    = "wallet"
	appPassword = "app" // for a server that lives as long as the run
	// eventsOfARun makes a wallet continue as new after about ten tasks; in a deployment it
	// does so after about a thousand.
	eventsOfARun = 60
	// bytesOfARun is the history with which the server ends a run: 50 MB in a deployment. No
	// run comes near it by its commands.
	bytesOfARun = 4_000_000
)

// world is everything that is running.
type world struct {
	plan    Plan
	dir     string
	stack   *devstack.Stack
	servers map[string]*server
	links   map[string]*link

	direct client.Client // to Temporal without a proxy, to inflict faults and to observe
	owner  *pgxpool.Pool // of the tables
	clock  *clock
	// database is Postgres as everybody but the workers reaches it.
	database *devstack.Postgres
	standby  *devstack.Postgres   // of stack.Postgres; nil if there is none
	retired  []*devstack.Postgres // primaries that a standby has replaced
	// standbyPort is where standbys reach the primary.
	standbyPort int
	// service is for stray steps.
	service *pgxpool.Pool
	read    trail.Reader

	stopSupervising context.CancelFunc
	supervisors     sync.WaitGroup
}

var quiet = log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))

func startWorld(ctx context.Context, plan Plan) (w *world, err error) {
	w = &world{plan: plan, dir: plan.Options.Dir, servers: map[string]*server{}, links: map[string]*link{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	options := devstack.Options{
		Dir: w.dir, TemporalStore: plan.Options.TemporalStore, Log: plan.Options.Say,
		PostgresSettings: []string{devstack.FindDeadlocks, nameDatabase},
		TemporalSettings: []string{
			fmt.Sprintf("limit.historyCount.suggestContinueAsNew=%d", eventsOfARun),
			fmt.Sprintf("limit.historySize.error=%d", bytesOfARun),
		},
	}
	if plan.Options.Standby {
		if err := w.openFront(&options); err != nil {
			return w, err
		}
	}
	if w.stack, err = devstack.Start(ctx, options); err != nil {
		return w, err
	}
	w.database = w.stack.Postgres
	if plan.Options.Standby {
		w.database = w.stack.Postgres.Through(options.PostgresProxyPort)
	}
	if err := w.openDatabase(ctx); err != nil {
		return w, err
	}
	if plan.Options.Standby {
		if err := w.addStandby(ctx); err != nil {
			return w, err
		}
	}
	if w.direct, err = client.DialContext(ctx, client.Options{HostPort: w.stack.Temporal.Address(), Logger: quiet}); err != nil {
		return w, err
	}
	if err := w.openLinks(); err != nil {
		return w, err
	}
	w.supervise()
	return w, w.awaitWorkers(ctx)
}

func (w *world) openDatabase(ctx context.Context) error {
	if err := w.database.CreateDatabase(ctx, database); err != nil {
		return err
	}
	url := w.database.URL(database)
	if _, err := migrations.Up(ctx, url); err != nil {
		return err
	}
	if err := migrations.AllowLogin(ctx, url, migrations.RoleApp, appPassword); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	w.owner, w.read = pool, trail.New(pool)
	if w.clock, err = newClock(ctx, pool); err != nil {
		return err
	}
	w.service, err = pgxpool.New(ctx, w.database.URLOf(migrations.RoleApp, appPassword, database))
	return err
}

func (w *world) openLinks() error {
	upstreams := map[string]string{callerTarget: w.stack.Temporal.Address()}
	for i := range w.plan.Options.Workers {
		upstreams[linkTarget(i, postgresTarget)] = addressOf(w.stack.Postgres)
		upstreams[linkTarget(i, temporalTarget)] = w.stack.Temporal.Address()
	}
	ports, err := devstack.FreePorts(len(upstreams))
	if err != nil {
		return err
	}
	for name, upstream := range upstreams {
		l, err := newLink(name, ports[0], upstream)
		if err != nil {
			return err
		}
		w.links[name], ports = l, ports[1:]
	}
	return nil
}

// supervise keeps servers and workers running from now on.
func (w *world) supervise() {
	w.servers[postgresTarget] = &server{
		name: postgresTarget, haltSignal: syscall.SIGQUIT, process: w.stack.Postgres.Process(), // without a checkpoint
		launch: func(context.Context) (*devstack.Process, error) {
			err := w.stack.Postgres.Launch()
			return w.stack.Postgres.Process(), err
		},
	}
	w.servers[temporalTarget] = &server{
		name: temporalTarget, haltSignal: syscall.SIGINT, process: w.stack.Temporal.Process(),
		launch: func(ctx context.Context) (*devstack.Process, error) {
			err := w.stack.Temporal.Launch(ctx)
			return w.stack.Temporal.Process(), err
		},
	}
	for i := range w.plan.Options.Workers {
		w.servers[workerTarget(i)] = &server{
			name: workerTarget(i), haltSignal: syscall.SIGTERM,
			launch: func(context.Context) (*devstack.Process, error) { return w.startWorker(i) },
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stopSupervising = stop
	for _, s := range w.servers {
		w.supervisors.Go(func() { s.supervise(ctx) })
	}
}

// startWorker starts a worker with both its connections through proxies.
func (w *world) startWorker(i int) (*devstack.Process, error) {
	_, port, err := net.SplitHostPort(w.links[linkTarget(i, postgresTarget)].address)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(w.plan.Options.Program, "worker", "--log-format", "json", "--log-level", "warn", "--http-address", service.HTTPOff)
	cmd.Env = append(os.Environ(),
		"TEMPORAL_ADDRESS="+w.links[linkTarget(i, temporalTarget)].address,
		"TEMPORAL_NAMESPACE="+client.DefaultNamespace,
		fmt.Sprintf("WALLET_DATABASE_URL=postgres://%s:%s@127.0.0.1:%s/%s?sslmode=disable", migrations.RoleApp, appPassword, port, database),
	)
	return devstack.StartProcess(workerTarget(i), cmd, w.workerLog(i))
}

func (w *world) workerLog(i int) string { return filepath.Join(w.dir, workerTarget(i)+".log") }

const startPatience = time.Minute

// awaitWorkers waits until all workers poll for work, of whatever kind: the server tells of the
// pollers of one partition of the task queue, where a worker need not have one of each kind.
func (w *world) awaitWorkers(ctx context.Context) error {
	return w.eventually(ctx, startPatience, fmt.Sprintf("%d workers", w.plan.Options.Workers), func(ctx context.Context) error {
		workers := map[string]bool{}
		for _, kind := range []enumspb.TaskQueueType{enumspb.TASK_QUEUE_TYPE_WORKFLOW, enumspb.TASK_QUEUE_TYPE_ACTIVITY, enumspb.TASK_QUEUE_TYPE_NEXUS} {
			queue, err := w.direct.DescribeTaskQueue(ctx, wallet.DefaultTaskQueue, kind)
			if err != nil {
				return err
			}
			for _, poller := range queue.GetPollers() {
				workers[poller.GetIdentity()] = true
			}
		}
		if n := len(workers); n < w.plan.Options.Workers {
			return fmt.Errorf("%d workers ask for work; see the logs in %s", n, w.dir)
		}
		return nil
	})
}

// eventually retries until it succeeds.
func (w *world) eventually(ctx context.Context, patience time.Duration, what string, try func(context.Context) error) error {
	return w.eventuallyIn(ctx, patience, 5*time.Second, what, try)
}

// eventuallyIn gives each attempt its own time.
func (w *world) eventuallyIn(ctx context.Context, patience, each time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		attempt, cancelAttempt := context.WithTimeout(ctx, each)
		err := try(attempt)
		cancelAttempt()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come within %s: %w", what, patience, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// close stops everything that was started, whatever state it is in.
func (w *world) close() error {
	if w.stopSupervising != nil {
		w.stopSupervising()
		w.supervisors.Wait()
	}
	for name, s := range w.servers {
		if name == postgresTarget {
			s.end() // otherwise it could not receive the stop signal
		} else {
			s.finish()
		}
	}
	if w.direct != nil {
		w.direct.Close()
	}
	if w.owner != nil {
		w.owner.Close()
	}
	if w.service != nil {
		w.service.Close()
	}
	if w.stack == nil {
		w.closeLinks()
		return nil
	}
	err := w.stack.Stop() // Temporal may reach Postgres through a link
	w.closeLinks()
	if w.standby != nil {
		err = errors.Join(err, w.standby.Stop())
	}
	return err
}

func (w *world) closeLinks() {
	for _, l := range w.links {
		l.close()
	}
}

func addressOf(p *devstack.Postgres) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port()))
}
