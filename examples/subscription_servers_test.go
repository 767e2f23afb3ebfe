package examples

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// year is everything that runs, and what was seen of it. Its servers are killed, which those of package
// wallettest are not, so it starts them with package devstack.
type year struct {
	t       *testing.T
	stack   *devstack.Stack
	owner   *pgxpool.Pool
	direct  client.Client
	wallets *starter.Client
	began   time.Time // real
	epoch   time.Time // what the subscriptions' clocks show then
	speed   int64

	mu       sync.Mutex
	programs []*program
	all      []*subscriber
	kills    map[string]int
	topUps   atomic.Int64
}

// program is a process that is started again whenever it ends, as by a service manager.
type program struct {
	name, path, log string
	args, env       []string
	process         *devstack.Process
}

func (p *program) start() (err error) {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	p.process, err = devstack.StartProcess(p.name, cmd, p.log)
	return err
}

func startYear(t *testing.T) *year {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // initdb's user must be able to enter it
		require.NoError(t, os.Chmod(d, 0o755))
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), ".")
	build.Dir = "go/subscription"
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	stack, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, TemporalStore: devstack.TemporalStore(os.Getenv("WALLET_TEMPORAL_STORE"))})
	require.NoError(t, err)
	t.Cleanup(func() { _ = stack.Stop() })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	url := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), url, migrations.RoleApp, "app"))
	owner, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(owner.Close)
	direct, err := client.Dial(client.Options{HostPort: stack.Temporal.Address(), Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(direct.Close)
	wallets, err := starter.New(direct, starter.Options{Lanes: 1})
	require.NoError(t, err)

	y := &year{t: t, stack: stack, owner: owner, direct: direct, wallets: wallets, kills: map[string]int{}}
	service, err := filepath.Abs("../bin/wallet")
	require.NoError(t, err)
	temporalEnv := []string{"TEMPORAL_ADDRESS=" + stack.Temporal.Address(), "TEMPORAL_NAMESPACE=" + client.DefaultNamespace}
	// The program has the rights of its README's section on deployments.
	schema, err := os.ReadFile("go/subscription/schema.sql")
	require.NoError(t, err)
	page, err := os.ReadFile("go/subscription/README.md")
	require.NoError(t, err)
	_, role, found := strings.Cut(string(page), "```sql\nCREATE ROLE")
	require.True(t, found)
	role, _, _ = strings.Cut(role, "```")
	for _, statements := range []string{string(schema), "CREATE ROLE" + role, sqlOutside} {
		_, err = owner.Exec(t.Context(), statements)
		require.NoError(t, err)
	}
	for i := range 2 {
		y.programs = append(y.programs,
			&program{name: "wallet", path: service, args: []string{"worker", "--log-level", "warn", "--http-address", "off"}, log: filepath.Join(dir, fmt.Sprint("wallet-", i, ".log")),
				env: append([]string{"WALLET_DATABASE_URL=" + stack.Postgres.URLOf(migrations.RoleApp, "app", "wallet")}, temporalEnv...)},
			&program{name: "subscription", path: filepath.Join(dir, "program"), log: filepath.Join(dir, fmt.Sprint("subscription-", i, ".log")),
				env: append([]string{"SUBSCRIPTION_DATABASE_URL=" + stack.Postgres.URLOf("subscriptions", "secret", "wallet")}, temporalEnv...)})
	}
	for _, p := range y.programs {
		require.NoError(t, p.start())
		t.Cleanup(func() {
			p.process.Kill()
			if log, err := os.ReadFile(p.log); err == nil && t.Failed() {
				t.Logf("%s:\n%s", p.log, log[:min(len(log), 3000)])
			}
		})
	}
	supervising, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for supervising.Err() == nil {
			y.mu.Lock()
			for _, p := range y.programs {
				if !p.process.Running() {
					_ = p.start()
				}
			}
			y.mu.Unlock()
			time.Sleep(200 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	y.began, y.epoch = time.Now(), time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	y.speed = int64(365*24*time.Hour) / 12 / int64(*month)
	return y
}

// until waits for a moment, in months from the beginning.
func (y *year) until(n float64) {
	time.Sleep(time.Until(y.began.Add(time.Duration(n * float64(*month)))))
}

// real is when the subscriptions' clocks show a time.
func (y *year) real(shown time.Time) time.Time {
	return y.began.Add(shown.Sub(y.epoch) / time.Duration(y.speed))
}

// try repeats what fails while something is down.
func (y *year) try(what string, do func(context.Context) error) {
	for deadline := time.Now().Add(5*time.Minute + 2**month); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			y.t.Errorf("%s: %v", what, err)
			return
		}
	}
}

func (y *year) exec(statement string) {
	y.try(statement, func(ctx context.Context) error { _, err := y.owner.Exec(ctx, statement); return err })
}

// inflict kills one process after the other, or stops a server for a second.
func (y *year) inflict(ctx context.Context) {
	if *faultEvery == 0 {
		return
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(*faultEvery/2 + time.Duration(random.Int64N(int64(*faultEvery)))):
		}
		switch n % 6 {
		case 2:
			y.kills["postgres"]++
			_ = y.stack.Postgres.StopImmediately()
			time.Sleep(time.Second)
			y.try("postgres", func(context.Context) error { return y.stack.Postgres.Launch() })
			y.try("postgres", y.stack.Postgres.Ready)
			y.awaitTemporal() // which may have its data there, and have ended
		case 5:
			y.kills["temporal"]++
			y.stack.Temporal.Process().Kill()
			time.Sleep(time.Second)
			y.awaitTemporal()
		default:
			y.mu.Lock()
			p := y.programs[2*random.IntN(2)+n%6%3] // a worker of the wallets, then one of the subscriptions
			y.kills[p.name]++
			p.process.Kill()
			y.mu.Unlock()
		}
	}
}

// awaitTemporal starts Temporal if it has ended, and waits until it answers.
func (y *year) awaitTemporal() {
	y.try("temporal", func(ctx context.Context) error {
		if !y.stack.Temporal.Process().Running() {
			if err := y.stack.Temporal.Launch(ctx); err != nil {
				return err
			}
		}
		return y.stack.Temporal.Ready(ctx)
	})
}

// awaitFeed waits until the consumer has seen everything.
func (y *year) awaitFeed() {
	y.try("the feed", func(ctx context.Context) error {
		var behind int64
		err := y.owner.QueryRow(ctx, `SELECT (SELECT coalesce(max(id), 0) FROM wallet_feed) - after_id FROM wallet_feed_consumers WHERE name = 'subscriptions'`).Scan(&behind)
		if err == nil && behind > 0 {
			err = fmt.Errorf("%d behind", behind)
		}
		return err
	})
}
