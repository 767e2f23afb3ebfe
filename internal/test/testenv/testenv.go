// Package testenv gives tests a real Postgres and a real Temporal: the test run's servers
// ("make test" starts one of each for all packages with the command in testenv/run), or, with a
// plain "go test", a pair for the test binary.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"log/slog"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// The variables that pass the run's servers to a test binary.
const (
	envPostgres = "WALLET_TEST_POSTGRES_URL"
	envTemporal = "WALLET_TEST_TEMPORAL_ADDRESS"
)

// AppPassword is the password of the service's role, on a server that lives only as long as the
// tests.
const AppPassword = "app"

// templateDatabase is migrated once; each test's database is a copy of it.
const templateDatabase = "wallet_template"

// With runs do with the variables set and both servers running.
func With(ctx context.Context, do func() error) (err error) {
	if os.Getenv(envPostgres) != "" {
		return do()
	}
	dir, remove, err := devstack.TemporaryFolder("wallet-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	stack, err := devstack.Start(ctx, devstack.Options{
		Dir: dir,
		// Tests crash processes, never the machine.
		PostgresSettings: []string{"fsync=off", devstack.FindDeadlocks},
		Log:              func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	if err := prepare(ctx, stack); err != nil {
		return err
	}
	server := stack.Postgres.URL("postgres")
	if citus := citusServers(); len(citus) > 0 {
		if err := prepareCitus(ctx, citus); err != nil {
			return err
		}
		server = citus[0]
	}
	for name, value := range map[string]string{envPostgres: server, envTemporal: stack.Temporal.Address()} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
		defer os.Unsetenv(name)
	}
	return do()
}

func prepare(ctx context.Context, stack *devstack.Stack) error {
	if err := stack.Postgres.CreateDatabase(ctx, templateDatabase); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, stack.Postgres.URL(templateDatabase)); err != nil {
		return err
	}
	if err := migrations.AllowLogin(ctx, stack.Postgres.URL(templateDatabase), migrations.RoleApp, AppPassword); err != nil {
		return err
	}
	c, err := Dial(stack.Temporal.Address())
	if err != nil {
		return err
	}
	defer c.Close()
	return starter.RegisterSearchAttributes(ctx, c, client.DefaultNamespace)
}

// Main is the TestMain of a package that needs the servers.
func Main(m *testing.M) {
	code := 1
	err := With(context.Background(), func() error {
		code = m.Run()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

var databases atomic.Int64

// DatabaseURL creates the test's own migrated database, which is dropped afterwards, and
// returns its URL for the owner of its tables; AppURL returns the URL for the service.
func DatabaseURL(t testing.TB) string {
	server := os.Getenv(envPostgres)
	require.NotEmpty(t, server, "the package has no TestMain with testenv.Main")
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	servers, tries := []string{server}, 1
	if citus := citusServers(); len(citus) > 0 {
		servers, tries = citus, 20
	}
	admin := func(sql string) {
		for _, server := range servers {
			err := execOn(context.Background(), server, sql)
			for try := 1; err != nil && try < tries; try++ { // the daemon of Citus has just connected
				time.Sleep(100 * time.Millisecond)
				err = execOn(context.Background(), server, sql)
			}
			require.NoError(t, err)
		}
	}
	admin("CREATE DATABASE " + name + " TEMPLATE " + templateDatabase)
	t.Cleanup(func() { admin("DROP DATABASE " + name + " WITH (FORCE)") })
	url := inDatabase(server, name)
	if os.Getenv(envAsOnCitus) != "" {
		asOnCitus(t, url, name)
	}
	return url
}

// AppURL returns the same database's URL for the service's role.
func AppURL(t testing.TB, ownerURL string) string {
	parsed, err := url.Parse(ownerURL)
	require.NoError(t, err)
	parsed.User = url.UserPassword(migrations.RoleApp, AppPassword)
	return parsed.String()
}

// EmptyDatabaseURL creates a database without tables, which is dropped afterwards.
func EmptyDatabaseURL(t testing.TB) string {
	url := DatabaseURL(t)
	pool := Pool(t, url)
	_, err := pool.Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	require.NoError(t, err)
	return url
}

// Pool connects to a database until the end of the test.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	pool, err := pgxpool.New(context.Background(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// TemporalAddress is where the run's Temporal listens.
func TemporalAddress(t testing.TB) string {
	address := os.Getenv(envTemporal)
	require.NotEmpty(t, address, "the package has no TestMain with testenv.Main")
	return address
}

// Temporal connects to the run's Temporal until the end of the test.
func Temporal(t testing.TB) client.Client {
	c, err := Dial(TemporalAddress(t))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// Dial connects to a Temporal like a worker; the SDK logs only problems.
func Dial(address string) (client.Client, error) {
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	options := client.Options{HostPort: address, Logger: log.NewStructuredLogger(quiet)}
	service.WorkerConnection(&options)
	resourceid.EscapeHeader(&options)
	return client.Dial(options)
}

// Unique returns a name that no other test in this run uses.
func Unique(t testing.TB, prefix string) string {
	return fmt.Sprintf("%s-%s-%d", prefix, filepath.Base(t.Name()), time.Now().UnixNano())
}
