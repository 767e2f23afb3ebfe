package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// The test binary also acts as a worker if these are set.
const (
	envWorkerDatabase = "E2E_WORKER_DATABASE"
	envWorkerQueue    = "E2E_WORKER_QUEUE"
	envWorkerTemporal = "E2E_WORKER_TEMPORAL"
	envWorkerName     = "E2E_WORKER_NAME"
)

func TestMain(m *testing.M) {
	if os.Getenv(envWorkerDatabase) != "" {
		workForever()
	}
	testenv.Main(m)
}

// workForever is a worker process that runs until it is killed.
func workForever() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	pool, err := service.OpenPool(ctx, service.Database{URL: os.Getenv(envWorkerDatabase), Setting: envWorkerDatabase})
	check(err)
	c, err := client.Dial(client.Options{
		HostPort: os.Getenv(envWorkerTemporal), Identity: os.Getenv(envWorkerName), Logger: service.SDKLogger(zap.NewNop()),
	})
	check(err)
	_, err = service.Start(ctx, service.Options{
		Temporal: c, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: os.Getenv(envWorkerQueue), Logger: zap.NewNop(),
	})
	check(err)
	select {}
}

// startProcess starts a worker as a separate process, for the test's database and task queue,
// with a name that shows up in histories. It is killed at the end of the test, or earlier.
func (w *world) startProcess(name string) (kill func()) { return w.startProcessOf(os.Args[0], name) }

// startProcessOf starts another build of this test's binary.
func (w *world) startProcessOf(binary, name string) (kill func()) {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(),
		envWorkerDatabase+"="+w.db.Config().ConnString(), envWorkerQueue+"="+w.queue,
		envWorkerTemporal+"="+testenv.TemporalAddress(w.t), envWorkerName+"="+name)
	cmd.Stderr = os.Stderr
	require.NoError(w.t, cmd.Start())
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // "signal: killed"
		})
	}
	w.t.Cleanup(kill)
	return kill
}

// lastWorker is the name of the worker that did a wallet's last workflow task.
func (w *world) lastWorker(user string) (name string) {
	events := w.temporal.GetWorkflowHistory(context.Background(), wallet.WorkflowID(user, "USD"), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(w.t, err)
		if done := event.GetWorkflowTaskCompletedEventAttributes(); done != nil {
			name = done.GetIdentity()
		}
	}
	return name
}

// TestThreeWorkersShareTheWalletsAndOneDies kills a worker in the middle of a batch: its
// transaction waits for a row that the test has locked.
func TestThreeWorkersShareTheWalletsAndOneDies(t *testing.T) {
	w := newWorld(t)
	w.worker.Stop()
	kill := map[string]func(){}
	for _, name := range []string{"one", "two", "three"} {
		kill[name] = w.startProcess(name)
	}

	// Open wallets until each worker has some.
	users, of := []string{}, map[string]string{}
	w.eventually("work for each of three workers", func() bool {
		user := fmt.Sprint(w.user, "-", len(users))
		_, err := w.wallets.Add(t.Context(), starter.Change{UserID: user, Currency: "USD", CommandID: "first", Amount: wallet.MustAmount("1")})
		require.NoError(t, err)
		users, of[w.lastWorker(user)] = append(users, user), user
		return len(of) == 3
	})

	victim := of["two"]
	tx, err := w.owner.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, victim)
	require.NoError(t, err)

	var callers sync.WaitGroup
	send := func(user string) {
		callers.Go(func() {
			batch := make([]wallet.Command, 100)
			for i := range batch {
				batch[i] = add(fmt.Sprint("b-", i), "1")
			}
			results, err := w.wallets.ApplyBatch(context.Background(), user, "USD", batch)
			require.NoError(t, err)
			require.Len(t, results, 100)
			require.Equal(t, "101.00", results[99].TotalAfter.String())
		})
	}
	send(victim)
	w.eventually("the batch waits for the row", func() (waiting bool) {
		err := w.owner.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND usename = 'wallet_app')`).Scan(&waiting)
		require.NoError(t, err)
		return waiting
	})
	kill["two"]()
	for _, user := range users {
		if user != victim {
			send(user) // the others have nothing to wait for
		}
	}
	require.NoError(t, tx.Rollback(t.Context()))
	callers.Wait()

	for _, user := range users {
		w.user = user
		events, _ := w.requireSound()
		require.Len(t, events, 102, "created, first, and the batch once")
	}
	require.NotEqual(t, "two", w.lastWorker(victim))
}
