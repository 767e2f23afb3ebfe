package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/devstack"
	"github.com/valueledger/wallet/internal/testenv"
	"github.com/valueledger/wallet/migrations"
)

// TestTheServiceOverTLSWithCertificatesOnBothSides runs the program on a Temporal and a
// Postgres that demand certificates, and then with everything that can be wrong.
func TestTheServiceOverTLSWithCertificatesOnBothSides(t *testing.T) {
	dir, certs := t.TempDir(), t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	authority, stranger := testenv.NewAuthority(t, certs, "authority"), testenv.NewAuthority(t, certs, "stranger")
	serverCert, serverKey := authority.Issue(t, "server")
	cert, key := authority.Issue(t, migrations.RoleApp)
	strangersCert, strangersKey := stranger.Issue(t, "someone")
	othersCert, othersKey := authority.Issue(t, "another_role")

	stack, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, TemporalStore: devstack.StorePostgres,
		TemporalTLS: &devstack.TLS{CA: authority.CA, Cert: serverCert, Key: serverKey}, PostgresSettings: []string{"fsync=off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	owner := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), owner)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), owner, testenv.AppPassword))
	demandCertificates(t, stack, filepath.Join(dir, "postgres", "data"), authority.CA, serverCert, serverKey)

	database := func(settings string) string {
		return fmt.Sprintf("WALLET_DATABASE_URL=postgres://%s:%s@127.0.0.1:%d/wallet?%s", migrations.RoleApp, testenv.AppPassword, stack.Postgres.Port(), settings)
	}
	verified := func(ca, cert, key string) string {
		return database("sslmode=verify-full&sslrootcert=" + ca + "&sslcert=" + cert + "&sslkey=" + key)
	}
	good := shell{t, append(os.Environ(),
		"TEMPORAL_CONFIG_FILE="+filepath.Join(certs, "none.toml"), "TEMPORAL_ADDRESS="+stack.Temporal.Address(),
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH="+authority.CA, "TEMPORAL_TLS_CLIENT_CERT_PATH="+cert, "TEMPORAL_TLS_CLIENT_KEY_PATH="+key,
		verified(authority.CA, cert, key))}

	stop := good.startWorker()
	require.Eventually(t, func() bool { // until the worker has registered the search attributes
		_, _, code := good.run("add", "u1", "USD", "12.50", "--id", "order-7")
		return code == exitApplied
	}, time.Minute, 100*time.Millisecond)
	out, errs, code := good.run("balance", "u1", "USD", "-o", "json")
	require.Equal(t, exitApplied, code, errs)
	require.Contains(t, out, `"available":"12.50"`)
	require.Positive(t, connections(t, owner, true))
	require.Zero(t, connections(t, owner, false))
	stop()

	for name, row := range map[string]struct {
		settings string // one for each variable
		message  string
	}{
		"Temporal without TLS":                   {"TEMPORAL_TLS=false", "TEMPORAL_TLS=true"},
		"Temporal's authority unknown":           {"TEMPORAL_TLS_SERVER_CA_CERT_PATH=" + stranger.CA, "TEMPORAL_TLS_SERVER_CA_CERT_PATH"},
		"Temporal without our certificate":       {"TEMPORAL_TLS_CLIENT_CERT_PATH= TEMPORAL_TLS_CLIENT_KEY_PATH=", "TEMPORAL_TLS_CLIENT_CERT_PATH"},
		"Temporal with a stranger's":             {"TEMPORAL_TLS_CLIENT_CERT_PATH=" + strangersCert + " TEMPORAL_TLS_CLIENT_KEY_PATH=" + strangersKey, "TEMPORAL_TLS_CLIENT_CERT_PATH"},
		"Temporal without the key":               {"TEMPORAL_TLS_CLIENT_KEY_PATH=", "client cert or key path is present, other must be present too"},
		"Temporal's certificate of a name":       {"TEMPORAL_TLS_SERVER_NAME=temporal.example", "TEMPORAL_TLS_SERVER_NAME"},
		"a file that is not there":               {"TEMPORAL_TLS_CLIENT_CERT_PATH=" + certs + "/none.crt", "none.crt: no such file"},
		"Postgres without TLS":                   {database("sslmode=disable"), "sslmode=verify-full"},
		"Postgres's authority unknown":           {verified(stranger.CA, cert, key), "sslrootcert"},
		"Postgres without our certificate":       {database("sslmode=verify-full&sslrootcert=" + authority.CA), "sslcert"},
		"Postgres with a stranger's":             {verified(authority.CA, strangersCert, strangersKey), "sslcert"},
		"Postgres with another role's":           {verified(authority.CA, othersCert, othersKey), "sslcert"},
		"Postgres with a file that is not there": {verified(certs+"/none.crt", cert, key), "none.crt: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := good
			wrong.t = t
			for _, setting := range strings.Fields(row.settings) {
				wrong = wrong.with(setting)
			}
			_, errs, code := wrong.run("worker")
			require.Equal(t, exitError, code)
			require.Contains(t, errs, row.message)
			require.NotContains(t, errs, testenv.AppPassword+"@")
		})
	}
}

// demandCertificates makes Postgres take the service's role over TLS only, with a
// certificate of its own name.
func demandCertificates(t *testing.T, stack *devstack.Stack, data, ca, cert, key string) {
	info, err := os.Stat(data)
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), stack.Postgres.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for setting, from := range map[string]string{"ssl_ca_file": ca, "ssl_cert_file": cert, "ssl_key_file": key} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		path := filepath.Join(data, setting)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		owner := info.Sys().(*syscall.Stat_t)
		require.NoError(t, os.Chown(path, int(owner.Uid), int(owner.Gid)))
		_, err = conn.Exec(t.Context(), "ALTER SYSTEM SET "+setting+" = '"+setting+"'")
		require.NoError(t, err)
	}
	_, err = conn.Exec(t.Context(), "ALTER SYSTEM SET ssl = on")
	require.NoError(t, err)
	rules := filepath.Join(data, "pg_hba.conf")
	before, err := os.ReadFile(rules)
	require.NoError(t, err)
	demand := fmt.Sprintf("hostssl all %s all scram-sha-256 clientcert=verify-full\nhost all %[1]s all reject\n", migrations.RoleApp)
	require.NoError(t, os.WriteFile(rules, append([]byte(demand), before...), 0o600))
	_, err = conn.Exec(t.Context(), "SELECT pg_reload_conf()")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var on string
		require.NoError(t, conn.QueryRow(t.Context(), "SHOW ssl").Scan(&on))
		return on == "on"
	}, time.Minute, 20*time.Millisecond)
}

// connections counts the service's that are, or are not, over TLS with its certificate.
func connections(t *testing.T, url string, certified bool) (n int) {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
		WHERE usename = $1 AND (ssl AND client_dn = '/CN=' || $1) IS NOT DISTINCT FROM $2`, migrations.RoleApp, certified).Scan(&n))
	return n
}
