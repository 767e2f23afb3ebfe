package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// bouncedConnections is how many connections to Postgres pgbouncer has for all clients: far
// fewer than the clients open.
const bouncedConnections = 3

// TestTheServiceBehindPgbouncer runs two workers through pgbouncer in transaction mode, where
// each transaction of a connection may use a different Postgres connection.
func TestTheServiceBehindPgbouncer(t *testing.T) {
	for _, mode := range []string{"cache_describe", "exec"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			w.worker.Stop()
			bounced := startPgbouncer(t, w.db.Config().ConnString())
			database := bounced + "&default_query_exec_mode=" + mode
			for range 2 {
				pool, err := service.OpenPool(t.Context(), service.Database{URL: database, Setting: "the test"})
				require.NoError(t, err)
				t.Cleanup(pool.Close)
				w.temporal = testenv.Temporal(t)
				w.startWorker(pool)
				t.Cleanup(w.worker.Stop)
			}

			// A follower of the feed gets no notification, so it polls.
			follower, err := service.OpenPool(t.Context(), service.Database{URL: database, Setting: "the test"})
			require.NoError(t, err)
			t.Cleanup(follower.Close)
			followed, following := atomic.Int64{}, make(chan error, 1)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() {
				following <- feed.Follow(ctx, follower, feed.FollowOptions{}, func(feed.Event) error { followed.Add(1); return nil })
			}()

			const wallets, callers = 8, 5
			var group sync.WaitGroup
			for i := range wallets * callers {
				user, caller := fmt.Sprint(w.user, "-", i%wallets), i/wallets
				group.Go(func() {
					for n := range 10 {
						id := fmt.Sprint(caller, "-", n)
						change := starter.Change{UserID: user, Currency: "USD", CommandID: id, Amount: wallet.MustAmount("1")}
						_, err := w.wallets.Add(context.Background(), change)
						require.NoError(t, err)
						again, err := w.wallets.Add(context.Background(), change)
						require.NoError(t, err)
						require.True(t, again.Replayed)
						require.NoError(t, w.wallets.Send(context.Background(), user, "USD", add("s-"+id, "0.50")))
					}
				})
			}
			group.Wait()
			user := w.user
			for i := range wallets {
				w.user = fmt.Sprint(user, "-", i)
				w.settled(1 + 2*10*callers)
				events, _ := w.requireSound()
				require.Len(t, events, 1+2*10*callers)
				require.Equal(t, "75.00", events[len(events)-1].TotalAfter.String())
			}
			w.eventually("the follower has every event", func() bool { return followed.Load() == wallets*(1+2*10*callers) })
			stop()
			require.NoError(t, <-following)
			require.Greater(t, transactions(t, bounced), int64(wallets*callers), "they went through it")
		})
	}
}

// startPgbouncer starts pgbouncer in front of a Postgres until the end of the test, and returns
// the URL of the same database through it.
func startPgbouncer(t *testing.T, database string) string {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's, which is not on everybody's PATH
	}
	if err != nil {
		const message = `pgbouncer is missing: "make test-deploy" installs it as root on Debian`
		if os.Getenv("WALLET_TEST_DEPLOY") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	server, err := url.Parse(database)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // it runs as another user
	require.NoError(t, os.Chmod(dir, 0o755))
	port := freePort(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	users := write("users.txt", fmt.Sprintf("%q %q\n", migrations.RoleApp, testenv.AppPassword))
	settings := write("pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
stats_users = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 200
`, server.Hostname(), server.Port(), port, users, migrations.RoleApp, bouncedConnections))

	args := []string{settings}
	if os.Geteuid() == 0 { // as root it refuses to run
		args = []string{"-u", "nobody", settings}
	}
	cmd := exec.Command(program, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "signal: killed"
		if t.Failed() {
			t.Log(log.String())
		}
	})
	server.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), server.String()+"&default_query_exec_mode=exec")
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	}, time.Minute, 50*time.Millisecond)
	return server.String()
}

func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// transactions asks pgbouncer's console how many transactions it has handled for the test's
// database.
func transactions(t *testing.T, bounced string) (total int64) {
	console, err := url.Parse(bounced)
	require.NoError(t, err)
	name := console.Path[1:]
	console.Path = "/pgbouncer"
	conn, err := pgx.Connect(t.Context(), console.String()+"&default_query_exec_mode=simple_protocol")
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SHOW STATS_TOTALS")
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToMap)
	require.NoError(t, err)
	for _, row := range all {
		if row["database"] == name {
			count, err := row["xact_count"].(pgtype.Numeric).Int64Value()
			require.NoError(t, err)
			total = count.Int64
		}
	}
	return total
}
