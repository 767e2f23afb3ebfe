package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// tlsServers are a Temporal and a Postgres that take the service over TLS only.
type tlsServers struct {
	t                   *testing.T
	stack               *devstack.Stack
	owner, password     string // the owner's URL, the service's password
	certs               string // folder
	authority, stranger *testenv.Authority
}

// startTLS starts them. They may demand a certificate of their clients; Postgres wants one
// with the name of the role.
func startTLS(t *testing.T, certificates bool) *tlsServers {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	s := &tlsServers{t: t, certs: t.TempDir(), password: rand.Text()}
	s.authority, s.stranger = testenv.NewAuthority(t, s.certs, "authority"), testenv.NewAuthority(t, s.certs, "stranger")
	cert, key := s.authority.Issue(t, "server")
	var err error
	s.stack, err = devstack.Start(t.Context(), devstack.Options{Dir: dir, TemporalStore: devstack.StorePostgres, PostgresSettings: []string{"fsync=off"},
		TemporalTLS: &devstack.TLS{CA: s.authority.CA, Cert: cert, Key: key, AnyClient: !certificates}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stack.Stop()) })
	require.NoError(t, s.stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	s.owner = s.stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), s.owner)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), s.owner, migrations.RoleApp, s.password))
	demandTLS(t, s.stack, filepath.Join(dir, "postgres", "data"), map[bool]string{true: "clientcert=verify-full"}[certificates], s.authority.CA, cert, key)
	return s
}

func (s *tlsServers) database(host, settings string) string {
	return fmt.Sprintf("WALLET_DATABASE_URL=postgres://%s:%s@%s:%d/wallet?%s", migrations.RoleApp, s.password, host, s.stack.Postgres.Port(), settings)
}

// verified is the setting of who checks the server and has a certificate.
func (s *tlsServers) verified(ca, cert, key string) string {
	return s.database("127.0.0.1", "sslmode=verify-full&sslrootcert="+ca+"&sslcert="+cert+"&sslkey="+key)
}

func (s *tlsServers) shell(settings ...string) shell {
	return shell{s.t, append(append(os.Environ(), "WALLET_HTTP_ADDRESS=127.0.0.1:0",
		"TEMPORAL_CONFIG_FILE="+filepath.Join(s.certs, "none.toml"), "TEMPORAL_ADDRESS="+s.stack.Temporal.Address()), settings...)}
}

// requireWorks runs a worker and a command, whose connections are over TLS, with a
// certificate of the service or without.
func (s *tlsServers) requireWorks(good shell, certificate string) {
	t := s.t
	stop := good.startWorker()
	require.Eventually(t, func() bool { // until the worker has registered the search attributes
		_, _, code := good.run("add", "u1", "USD", "12.50", "--id", "order-7")
		return code == exitDone
	}, time.Minute, 100*time.Millisecond)
	out, errs, code := good.run("balance", "u1", "USD", "-o", "json")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, `"available":"12.50"`)
	conn, err := pgx.Connect(t.Context(), s.owner)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var all, such int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE ssl AND coalesce(client_dn, '') = $2)
		FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = $1`, migrations.RoleApp, certificate).Scan(&all, &such))
	require.Positive(t, all)
	require.Equal(t, all, such, "connections of the service that are as they have to be")
	require.NotContains(t, stop(), s.password)
}

// wrong is a setting for each variable that the worker has to refuse, and what it says.
type wrong struct{ settings, message string }

func (s *tlsServers) requireRefused(good shell, rows map[string]wrong) {
	for name, row := range rows {
		s.t.Run(name, func(t *testing.T) {
			bad := good
			bad.t = t
			for _, setting := range strings.Fields(row.settings) {
				bad = bad.with(setting)
			}
			_, errs, code := bad.run("worker")
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, row.message)
			require.NotContains(t, errs, s.password)
		})
	}
}

// TestTheServiceOverTLSWithCertificatesOnBothSides runs the program on a Temporal and a
// Postgres that demand certificates, and then with everything that can be wrong.
func TestTheServiceOverTLSWithCertificatesOnBothSides(t *testing.T) {
	s := startTLS(t, true)
	authority, stranger, certs, verified := s.authority, s.stranger, s.certs, s.verified
	cert, key := authority.Issue(t, migrations.RoleApp)
	strangersCert, strangersKey := stranger.Issue(t, "someone")
	othersCert, othersKey := authority.Issue(t, "another_role")
	good := s.shell("TEMPORAL_TLS_SERVER_CA_CERT_PATH="+authority.CA, "TEMPORAL_TLS_CLIENT_CERT_PATH="+cert, "TEMPORAL_TLS_CLIENT_KEY_PATH="+key,
		verified(authority.CA, cert, key))
	s.requireWorks(good, "/CN="+migrations.RoleApp)
	s.requireRefused(good, map[string]wrong{
		"Temporal without TLS":                   {"TEMPORAL_TLS=false", "TEMPORAL_TLS=true"},
		"Temporal's authority unknown":           {"TEMPORAL_TLS_SERVER_CA_CERT_PATH=" + stranger.CA, "TEMPORAL_TLS_SERVER_CA_CERT_PATH"},
		"Temporal without our certificate":       {"TEMPORAL_TLS_CLIENT_CERT_PATH= TEMPORAL_TLS_CLIENT_KEY_PATH=", "TEMPORAL_TLS_CLIENT_CERT_PATH"},
		"Temporal with a stranger's":             {"TEMPORAL_TLS_CLIENT_CERT_PATH=" + strangersCert + " TEMPORAL_TLS_CLIENT_KEY_PATH=" + strangersKey, "TEMPORAL_TLS_CLIENT_CERT_PATH"},
		"Temporal without the key":               {"TEMPORAL_TLS_CLIENT_KEY_PATH=", "client cert or key path is present, other must be present too"},
		"Temporal's certificate of a name":       {"TEMPORAL_TLS_SERVER_NAME=temporal.example", "TEMPORAL_TLS_SERVER_NAME"},
		"a file that is not there":               {"TEMPORAL_TLS_CLIENT_CERT_PATH=" + certs + "/none.crt", "none.crt: no such file"},
		"Postgres without TLS":                   {s.database("127.0.0.1", "sslmode=disable"), "sslmode=verify-full"},
		"Postgres's authority unknown":           {verified(stranger.CA, cert, key), "sslrootcert"},
		"Postgres without our certificate":       {s.database("127.0.0.1", "sslmode=verify-full&sslrootcert="+authority.CA), "sslcert"},
		"Postgres with a stranger's":             {verified(authority.CA, strangersCert, strangersKey), "sslcert"},
		"Postgres with another role's":           {verified(authority.CA, othersCert, othersKey), "sslcert"},
		"Postgres with a file that is not there": {verified(certs+"/none.crt", cert, key), "none.crt: no such file"},
	})
}

// TestTheServiceOverTLSWithoutACertificateOfItsOwn checks the servers, which take anybody
// over TLS: the password alone tells Postgres who it is.
func TestTheServiceOverTLSWithoutACertificateOfItsOwn(t *testing.T) {
	s := startTLS(t, false)
	verified := func(host, ca string) string { return s.database(host, "sslmode=verify-full&sslrootcert="+ca) }
	good := s.shell("TEMPORAL_TLS_SERVER_CA_CERT_PATH="+s.authority.CA, verified("127.0.0.1", s.authority.CA))
	s.requireWorks(good, "")
	s.requireRefused(good, map[string]wrong{
		"Temporal without TLS":             {"TEMPORAL_TLS=false", "TEMPORAL_TLS=true"},
		"Temporal's authority unknown":     {"TEMPORAL_TLS_SERVER_CA_CERT_PATH=" + s.stranger.CA, "TEMPORAL_TLS_SERVER_CA_CERT_PATH"},
		"Temporal's certificate of a name": {"TEMPORAL_TLS_SERVER_NAME=temporal.example", "TEMPORAL_TLS_SERVER_NAME"},
		"Postgres without TLS":             {s.database("127.0.0.1", "sslmode=disable"), "sslmode=verify-full"},
		"Postgres's authority unknown":     {verified("127.0.0.1", s.stranger.CA), "sslrootcert"},
		"Postgres's certificate of a name": {verified("localhost", s.authority.CA), "wanted to match localhost"},
	})
}

// demandTLS makes Postgres take the service's role over TLS only, with what else it
// demands of it.
func demandTLS(t *testing.T, stack *devstack.Stack, data, demanded, ca, cert, key string) {
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
	demand := fmt.Sprintf("hostssl all %s all scram-sha-256 %s\nhost all %[1]s all reject\n", migrations.RoleApp, demanded)
	require.NoError(t, os.WriteFile(rules, append([]byte(demand), before...), 0o600))
	_, err = conn.Exec(t.Context(), "SELECT pg_reload_conf()")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var on string
		require.NoError(t, conn.QueryRow(t.Context(), "SHOW ssl").Scan(&on))
		return on == "on"
	}, time.Minute, 20*time.Millisecond)
	var refused int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL").Scan(&refused))
	require.Zero(t, refused, "lines that Postgres cannot read, for which it keeps the old ones")
}
