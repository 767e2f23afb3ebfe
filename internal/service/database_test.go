package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func database(url string) service.Database {
	return service.Database{URL: url, Setting: "WALLET_DATABASE_URL"}
}

// start starts and stops a worker, and returns what it logged.
func start(t *testing.T, pool *pgxpool.Pool) (*observer.ObservedLogs, error) {
	core, logs := observer.New(zap.InfoLevel)
	s, err := service.Start(context.Background(), service.Options{
		Temporal: testenv.Temporal(t), Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: testenv.Unique(t, "queue"), Logger: zap.New(core),
	})
	if err == nil {
		s.Stop()
	}
	return logs, err
}

// url is the database on one or several servers, for the service's role.
func url(parameters string, servers ...*devstack.Postgres) string {
	var hosts []string
	for _, server := range servers {
		hosts = append(hosts, fmt.Sprint("127.0.0.1:", server.Port()))
	}
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable%s", migrations.RoleApp, testenv.AppPassword, strings.Join(hosts, ","), testenv.OwnDatabase, parameters)
}

// inRecovery reports whether a pool leads to a standby.
func inRecovery(t *testing.T, pool *pgxpool.Pool) (is bool) {
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT pg_is_in_recovery()`).Scan(&is))
	return is
}

// TestTheServerThatTakesWritesIsFound puts a standby first in the URL, and then promotes it:
// without a check a former primary would take a worker's writes.
func TestTheServerThatTakesWritesIsFound(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	standby := testenv.Standby(t, primary)

	_, err := service.OpenPool(t.Context(), database(url("", standby)))
	require.ErrorContains(t, err, fmt.Sprintf("no Postgres to write to at 127.0.0.1:%d/wallet (WALLET_DATABASE_URL)", standby.Port()))
	require.ErrorContains(t, err, fmt.Sprintf("the server 127.0.0.1:%d is a standby (in recovery) and does not accept writes: connect to the primary", standby.Port()))
	unchecked := testenv.Pool(t, url("", standby))
	_, err = start(t, unchecked)
	require.ErrorContains(t, err, "is a standby (in recovery)")

	open := func(of func(context.Context, service.Database) (*pgxpool.Pool, error), url string) *pgxpool.Pool {
		pool, err := of(t.Context(), database(url))
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}
	worker := open(service.OpenPool, url("&target_session_attrs=any", standby, primary))
	require.False(t, inRecovery(t, worker))
	require.False(t, inRecovery(t, open(service.OpenReadPool, url("", standby, primary))), "a standby lags behind")
	require.True(t, inRecovery(t, open(service.OpenReadPool, url("&target_session_attrs=any", standby, primary))), "it was asked for")
	require.True(t, inRecovery(t, open(service.OpenReadPool, url("", standby))))

	require.NoError(t, primary.Stop())
	require.True(t, inRecovery(t, open(service.OpenReadPool, url("", primary, standby))), "there is no other")
	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_promote()`)
	require.Eventually(t, func() bool {
		_, err := worker.Exec(t.Context(), `INSERT INTO wallets (user_id) VALUES ('after') ON CONFLICT DO NOTHING`)
		return err == nil
	}, time.Minute, 100*time.Millisecond, "the worker's pool follows")
	require.NoError(t, primary.Start(t.Context())) // for its Stop
}

func TestAWorkerThatMayNotWriteDoesNotStart(t *testing.T) {
	owner := testenv.DatabaseURL(t)
	app := testenv.AppURL(t, owner)
	pool, err := service.OpenPool(t.Context(), database(app))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = start(t, pool)
	require.NoError(t, err)

	var columns string
	require.NoError(t, testenv.Pool(t, owner).QueryRow(t.Context(), `SELECT string_agg(column_name, ', ') FROM information_schema.column_privileges
		WHERE table_name = 'wallet_assets' AND grantee = 'wallet_app' AND privilege_type = 'UPDATE'`).Scan(&columns))
	for _, right := range []string{"INSERT", "UPDATE (" + columns + ")", "SELECT"} {
		testenv.Exec(t, owner, `REVOKE `+right+` ON wallet_assets FROM wallet_app`)
		_, err = start(t, pool)
		verb, _, _ := strings.Cut(right, " ")
		require.ErrorContains(t, err, "lacks rights that a worker needs ("+verb+" wallet_assets): connect as wallet_app or a member of it")
		testenv.Exec(t, owner, `GRANT `+right+` ON wallet_assets TO wallet_app`)
	}

	name := pool.Config().ConnConfig.Database
	testenv.Exec(t, owner, `ALTER DATABASE `+name+` SET default_transaction_read_only = on`)
	_, err = service.OpenPool(t.Context(), database(app))
	require.ErrorContains(t, err, "begins transactions read-only: set default_transaction_read_only to off")
	reader, err := service.OpenReadPool(t.Context(), database(app))
	require.NoError(t, err, "who reads may well do so read-only")
	reader.Close()
}

// TestWhatIsRiskyIsLogged uses the test run's server, which does not sync, under an address
// that is not local.
func TestWhatIsRiskyIsLogged(t *testing.T) {
	app := testenv.AppURL(t, testenv.DatabaseURL(t))
	for host, lines := range map[string]int{"127.0.0.1": 0, "0.0.0.0": 1} {
		pool, err := service.OpenPool(t.Context(), database(strings.Replace(app, "127.0.0.1", host, 1)))
		require.NoError(t, err)
		logs, err := start(t, pool)
		pool.Close()
		require.NoError(t, err)
		syncs := logs.FilterMessageSnippet("can lose or damage committed data").All()
		require.Len(t, syncs, 1)
		require.Equal(t, []any{"fsync"}, syncs[0].ContextMap()["off"])
		require.Equal(t, lines, logs.FilterMessageSnippet("sslmode=verify-full").Len())
	}
}

// TestConnectionsOfAWorkerNoticeThatItsHostIsGone asks Postgres for its keepalive settings.
func TestConnectionsOfAWorkerNoticeThatItsHostIsGone(t *testing.T) {
	pool, err := service.OpenPool(t.Context(), database(testenv.AppURL(t, testenv.DatabaseURL(t))))
	require.NoError(t, err)
	defer pool.Close()
	for setting, want := range map[string]string{
		"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3", "tcp_user_timeout": "30000",
	} {
		var value string
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&value))
		require.Equal(t, want, value, setting)
	}
}
