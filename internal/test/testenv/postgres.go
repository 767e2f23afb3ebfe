package testenv

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
)

// OwnDatabase is the migrated database on a Postgres from OwnPostgres.
const OwnDatabase = "wallet"

// OwnPostgres starts the test's own Postgres, which the test may stop, copy or reconfigure. It
// has the database OwnDatabase, and the service's role can log in to it.
func OwnPostgres(t testing.TB, settings ...string) *devstack.Postgres {
	server, err := devstack.StartPostgres(context.Background(), serverDir(t), append([]string{"fsync=off"}, settings...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.CreateDatabase(t.Context(), OwnDatabase))
	_, err = migrations.Up(t.Context(), server.URL(OwnDatabase))
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), server.URL(OwnDatabase), migrations.RoleApp, AppPassword))
	return server
}

// Standby starts a hot standby of a Postgres.
func Standby(t testing.TB, primary *devstack.Postgres, settings ...string) *devstack.Postgres {
	standby, err := primary.Standby(context.Background(), serverDir(t), append([]string{"fsync=off"}, settings...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		standby.Process().Resume()
		require.NoError(t, standby.Stop())
	})
	return standby
}

// serverDir returns a folder that the server's user can enter.
func serverDir(t testing.TB) string {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// Exec runs statements on a database on a separate connection.
func Exec(t testing.TB, url string, statements ...string) {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, sql)
	}
}
