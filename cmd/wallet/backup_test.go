package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// TestABackupOfABusyLedgerIsRestored does what docs/deploy.md says: dump under load,
// lose everything since, restore, verify, send again.
func TestABackupOfABusyLedgerIsRestored(t *testing.T) {
	lost := testenv.DatabaseURL(t)
	program := postgresPrograms(t, lost)
	s, dir := newShell(t, lost), t.TempDir()
	stop := s.startWorker()
	load := startLoad(t, s)

	load.until(200)
	heads := s.save(filepath.Join(dir, "heads.jsonl"), "head", "--all")
	load.until(300)
	dump := filepath.Join(dir, "wallet.dump")
	program("pg_dump", "--format=custom", "--file="+dump, "--dbname="+lost)
	load.until(load.answered.Load() + 200)
	load.stop()
	load.add("opened-later", "a") // a wallet that no backup has
	later := s.save(filepath.Join(dir, "later.jsonl"), "head", "--all")
	stop()

	restored := testenv.EmptyDatabaseURL(t)
	program("pg_restore", "--exit-on-error", "--dbname="+restored, dump)
	s = s.with("WALLET_DATABASE_URL=" + testenv.AppURL(t, restored)).with("WALLET_OWNER_DATABASE_URL=" + restored)
	for _, args := range [][]string{{"migrate", "up"}, {"repair"}, {"verify"}, {"verify", "--heads", heads}} {
		out, errs, code := s.run(args...)
		require.Zero(t, code, "%s: %s%s", args, out, errs)
	}
	out, _, code := s.run("verify", "--heads", later)
	require.Equal(t, exitFailed, code, "what came after the backup is missing")
	require.Contains(t, out, "opened-later")

	// The wallets' workflows run on. They remember more than the ledger does, until their
	// next command.
	stop = s.startWorker()
	defer stop()
	remembered, err := load.wallets.State(t.Context(), load.prefix+"-opened-later", "USD")
	require.NoError(t, err)
	require.Equal(t, "1.00", remembered.Total.String())
	out, _, code = s.run("balance", load.prefix+"-opened-later", "USD")
	require.Equal(t, exitFailed, code, out)
	load.again()
	out, errs, code := s.run("verify")
	require.Zero(t, code, out, errs)
	for user, total := range load.totals() {
		out, _, _ := s.run("balance", user, "USD", "-o", "json")
		require.Contains(t, out, fmt.Sprintf(`"total":"%d.00"`, total))
	}
}

// postgresPrograms runs programs of Postgres, those of the server's version: another one
// may not understand the other's dump.
func postgresPrograms(t *testing.T, database string) func(name string, args ...string) {
	var major string
	err := testenv.Pool(t, database).QueryRow(t.Context(), `SELECT (current_setting('server_version_num')::int / 10000)::text`).Scan(&major)
	require.NoError(t, err)
	for _, folder := range []string{"", "/usr/lib/postgresql/" + major + "/bin/"} {
		version, err := exec.Command(folder+"pg_dump", "--version").Output()
		if err != nil || !strings.Contains(string(version), ") "+major+".") {
			continue
		}
		return func(name string, args ...string) {
			out, err := exec.Command(folder+name, args...).CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
	message := "no pg_dump of version " + major + ` here: "make test-deploy" installs one as root on Debian`
	if os.Getenv(envNoSkip) != "" {
		t.Fatal(message)
	}
	t.Skip(message)
	return nil
}

// envNoSkip is set where what these tests need has to be there.
const envNoSkip = "WALLET_TEST_DEPLOY"

// save writes a command's output to a file.
func (s shell) save(path string, args ...string) string {
	out, errs, code := s.run(args...)
	require.Zero(s.t, code, errs)
	require.NoError(s.t, os.WriteFile(path, []byte(out), 0o644))
	return path
}

// load is callers who add 1, each time under a new id, and remember what was answered.
type load struct {
	t        *testing.T
	wallets  *starter.Client
	prefix   string
	answered atomic.Int64
	ended    atomic.Bool
	group    sync.WaitGroup
	mu       sync.Mutex
	sent     []starter.Change
}

func startLoad(t *testing.T, s shell) *load {
	l := &load{t: t, prefix: testenv.Unique(t, "u")}
	queue := ""
	for _, v := range s.env {
		if name, value, _ := strings.Cut(v, "="); name == "WALLET_TASK_QUEUE" {
			queue = value
		}
	}
	var err error
	l.wallets, err = starter.New(testenv.Temporal(t), starter.Options{TaskQueue: queue})
	require.NoError(t, err)
	for caller := range 4 {
		l.group.Go(func() {
			for n := 0; !l.ended.Load(); n++ {
				l.add(fmt.Sprint("user-", caller), fmt.Sprint("c-", n))
			}
		})
	}
	return l
}

func (l *load) add(user, id string) {
	change := starter.Change{UserID: l.prefix + "-" + user, Currency: "USD", CommandID: id, Amount: wallet.MustAmount("1")}
	_, err := l.wallets.Add(context.Background(), change)
	require.NoError(l.t, err)
	l.mu.Lock()
	l.sent = append(l.sent, change)
	l.mu.Unlock()
	l.answered.Add(1)
}

// until waits until so many commands are answered.
func (l *load) until(n int64) {
	for l.answered.Load() < n {
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *load) stop() {
	l.ended.Store(true)
	l.group.Wait()
}

// again sends all once more, with the same ids.
func (l *load) again() {
	replayed, anew := 0, 0
	for _, change := range l.sent {
		r, err := l.wallets.Add(l.t.Context(), change)
		require.NoError(l.t, err)
		if r.Replayed {
			replayed++
		} else {
			anew++
		}
	}
	require.GreaterOrEqual(l.t, replayed, 300, "what the backup had")
	require.GreaterOrEqual(l.t, anew, 1, "what it had not")
}

func (l *load) totals() map[string]int {
	totals := map[string]int{}
	for _, change := range l.sent {
		totals[change.UserID]++
	}
	return totals
}
