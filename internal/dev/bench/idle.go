package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/starter"
)

const (
	idleCallers = 64
	// idleTimeout ends the workflows of some more wallets.
	idleTimeout = 5 * time.Second
)

// IdleOptions of a measurement of open wallets.
type IdleOptions struct {
	Sizes  []int         // how many are open; at each of these numbers it is measured
	Woken  int           // of which so many get a command after a restart
	Window time.Duration // in which nothing is sent
}

// idle measures wallets whose workflows are open and get no commands.
type idle struct {
	environment Environment
	pool        *pgxpool.Pool
	worker      *service.Service
	wallets     *starter.Client
	name        string // unique: the prefix of all users
	o           IdleOptions
	out         io.Writer
}

// Idle opens wallets up to each of the sizes, and measures there what the open ones take, and what it
// costs to restart the worker and Temporal. At the end, some more wallets have a timeout.
func Idle(ctx context.Context, environment Environment, o IdleOptions, out io.Writer) error {
	if !slices.IsSorted(o.Sizes) {
		return fmt.Errorf("the numbers of wallets %v must grow", o.Sizes)
	}
	pool, err := environment.openPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	d := &idle{environment: environment, pool: pool, name: fmt.Sprintf("idle-%d", time.Now().UnixNano()), o: o, out: out}
	if d.worker, err = environment.startWorker(ctx, pool, d.name); err != nil {
		return err
	}
	defer func() { d.worker.Stop() }()
	if d.wallets, err = starter.New(environment.Temporal, starter.Options{TaskQueue: d.name}); err != nil {
		return err
	}
	if err := d.sizes(ctx, 0); err != nil {
		return err
	}
	open := 0
	for _, size := range o.Sizes {
		if err := d.measure(ctx, open, size); err != nil {
			return err
		}
		open = size
	}
	return d.withTimeout(ctx)
}

func (d *idle) say(format string, values ...any) { fmt.Fprintf(d.out, format+"\n", values...) }

func (d *idle) user(n int) string { return fmt.Sprintf("%s-%d", d.name, n) }

func (d *idle) measure(ctx context.Context, open, size int) error {
	d.say("\n%d open wallets", size)
	err := d.cost("to open one more, with a command by signal", size-open, func() error { return d.open(ctx, d.wallets, open, size) })
	if err != nil {
		return err
	}
	if err := d.nothing("nobody sends anything"); err != nil {
		return err
	}
	if err := d.sizes(ctx, size); err != nil {
		return err
	}

	began := time.Now()
	d.worker.Stop()
	worker, err := d.environment.startWorker(ctx, d.pool, d.name)
	if err != nil {
		return err
	}
	d.worker = worker
	d.say("the worker stops and starts: %.1f s", time.Since(began).Seconds())
	if err := d.nothing("after that"); err != nil {
		return err
	}
	if err := d.wake(ctx, size, "worker"); err != nil {
		return err
	}

	began = time.Now()
	if d.environment.Processes.Temporal, err = d.environment.RestartTemporal(ctx); err != nil {
		return err
	}
	d.say("Temporal stops and starts: %.1f s", time.Since(began).Seconds())
	if err := d.nothing("after that"); err != nil {
		return err
	}
	if err := d.sizes(ctx, size); err != nil {
		return err
	}
	return d.wake(ctx, size, "server")
}

// open sends the first command of each wallet as a signal, and waits until all are applied.
func (d *idle) open(ctx context.Context, wallets *starter.Client, from, to int) error {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(idleCallers)
	for n := from; n < to; n++ {
		group.Go(func() error {
			return wallets.Send(sending, d.user(n), currency, wallet.Command{ID: "first", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for {
		var applied int
		err := d.pool.QueryRow(ctx, `SELECT count(*) FROM wallet_assets WHERE user_id >= $1 AND user_id < $2 AND version >= 2`, d.name, d.name+"~").Scan(&applied)
		if err != nil || applied >= to {
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// cost says what CPU time something takes, per wallet.
func (d *idle) cost(name string, wallets int, do func() error) error {
	before, err := d.environment.Processes.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := d.environment.Processes.cpu()
	if err != nil {
		return err
	}
	used := after.sub(before)
	each := func(t time.Duration) float64 { return t.Seconds() * 1000 / float64(wallets) }
	d.say("%s: CPU %.2f ms (worker and callers %.2f, Temporal %.2f, Postgres %.2f), %.0f/s", name,
		each(used.client+used.temporal+used.postgres), each(used.client), each(used.temporal), each(used.postgres), float64(wallets)/took.Seconds())
	return nil
}

// nothing says what CPU time is used while nobody sends anything.
func (d *idle) nothing(name string) error {
	before, err := d.environment.Processes.cpu()
	if err != nil {
		return err
	}
	time.Sleep(d.o.Window)
	after, err := d.environment.Processes.cpu()
	if err != nil {
		return err
	}
	used := after.sub(before)
	of := func(t time.Duration) float64 { return 100 * t.Seconds() / d.o.Window.Seconds() }
	d.say("%s: worker %.1f%%, Temporal %.1f%%, Postgres %.1f%% of a core", name, of(used.client), of(used.temporal), of(used.postgres))
	return nil
}

// sizes says how much memory and disk is used.
func (d *idle) sizes(ctx context.Context, wallets int) error {
	worker, err := residentMiB(0)
	if err != nil {
		return err
	}
	temporal, err := residentMiB(d.environment.Processes.Temporal)
	if err != nil {
		return err
	}
	d.say("%d wallets: worker and callers %.0f MiB, Temporal %.0f MiB", wallets, worker, temporal)
	for _, database := range []string{"temporal", "temporal_visibility"} {
		config, err := pgx.ParseConfig(d.environment.DatabaseURL)
		if err != nil {
			return err
		}
		config.Database = database
		if err := d.tables(ctx, config, wallets); err != nil {
			return fmt.Errorf("database %s of Temporal: %w", database, err)
		}
	}
	return nil
}

func (d *idle) tables(ctx context.Context, config *pgx.ConnConfig, wallets int) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	found, err := conn.Query(ctx, `SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND pg_total_relation_size(oid) > 2e6 AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC LIMIT 6`)
	if err != nil {
		return err
	}
	var name string
	var size int64
	_, err = pgx.ForEachRow(found, []any{&name, &size}, func() error {
		d.say("  %s.%s %.1f MB, %.0f bytes per wallet", config.Database, name, float64(size)/1e6, float64(size)/float64(max(wallets, 1)))
		return nil
	})
	return err
}

// wake sends a command to some of the wallets that were opened last, and then another one, for
// which their workflows are in the worker's cache.
func (d *idle) wake(ctx context.Context, size int, restarted string) error {
	for _, when := range []string{"first", "second"} {
		times := make([]time.Duration, min(d.o.Woken, size))
		err := d.cost(fmt.Sprintf("the %s command after the %s's restart", when, restarted), len(times), func() error {
			group, ctx := errgroup.WithContext(ctx)
			group.SetLimit(lifeCallers)
			for i := range times {
				group.Go(func() error {
					began := time.Now()
					_, err := d.wallets.Add(ctx, starter.Change{UserID: d.user(size - 1 - i), Currency: currency, CommandID: when + restarted + fmt.Sprint(size), Amount: wallet.MustAmount("1")})
					times[i] = time.Since(began)
					return err
				})
			}
			return group.Wait()
		})
		if err != nil {
			return err
		}
		slices.Sort(times)
		d.say("  answered in %.0f ms (median), %.0f ms (slowest)", times[len(times)/2].Seconds()*1000, times[len(times)-1].Seconds()*1000)
	}
	return nil
}

// withTimeout opens wallets without a timeout and with one: the difference is what the end of
// a workflow costs. Then it sends each another command.
func (d *idle) withTimeout(ctx context.Context) error {
	limited, err := starter.New(d.environment.Temporal, starter.Options{TaskQueue: d.name, IdleTimeout: idleTimeout})
	if err != nil {
		return err
	}
	d.say("\n%d wallets each", d.o.Woken)
	for _, kind := range []struct {
		name    string
		wallets *starter.Client
	}{{"open", d.wallets}, {"end", limited}} {
		name := d.name
		d.name = fmt.Sprintf("%s-%s", name, kind.name)
		err := d.openAndWait(ctx, kind.name, kind.wallets, name)
		d.name = name
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *idle) openAndWait(ctx context.Context, name string, wallets *starter.Client, queue string) error {
	err := d.cost("opened, to "+name, d.o.Woken, func() error {
		if err := d.open(ctx, wallets, 0, d.o.Woken); err != nil {
			return err
		}
		return sleep(ctx, 3*idleTimeout)
	})
	if err != nil {
		return err
	}
	running, err := d.environment.Temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: client.DefaultNamespace, Query: fmt.Sprintf("TaskQueue = %q AND ExecutionStatus = 'Running'", queue)})
	if err != nil {
		return err
	}
	d.say("running workflows in all: %d", running.GetCount())
	return d.cost("the next command", d.o.Woken, func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(lifeCallers)
		for n := range d.o.Woken {
			group.Go(func() error {
				_, err := wallets.Add(ctx, starter.Change{UserID: d.user(n), Currency: currency, CommandID: "next", Amount: wallet.MustAmount("1")})
				return err
			})
		}
		return group.Wait()
	})
}
