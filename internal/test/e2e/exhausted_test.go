package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	failurepb "go.temporal.io/api/failure/v1"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// awaitTrouble waits until a step of the wallet is pending with this failure.
func (w *world) awaitTrouble(saying string) {
	last := ""
	w.eventually("a pending step that says: "+saying, func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(context.Background(), w.workflowID(), "")
		require.NoError(w.t, err)
		for _, pending := range d.PendingActivities {
			if message := wholeMessage(pending.LastFailure); message != last {
				last = message
				w.t.Log("pending:", message)
			}
		}
		return last != "" && strings.Contains(last, saying)
	})
}

func wholeMessage(f *failurepb.Failure) string {
	if f == nil {
		return ""
	}
	return f.Message + " / " + wholeMessage(f.Cause)
}

// through sends signals and an update while Postgres has a problem, and heals it once the
// wallet reports the problem. It returns the ids of what it sent.
func (w *world) through(saying string, heal func()) []string {
	ids := append(numbered("s", 20), "update")
	for _, id := range ids[:20] {
		require.NoError(w.t, w.wallets.Send(w.t.Context(), w.user, "USD", add(id, "1")))
	}
	brief, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	_, err := w.wallets.Add(brief, w.change("update", "1"))
	require.ErrorContains(w.t, err, `command "update" has no answer yet, it may still be applied: send it again with the same id`)
	w.awaitTrouble(saying)
	heal()
	r, err := w.wallets.Add(w.t.Context(), w.change("update", "1"))
	require.NoError(w.t, err)
	require.Equal(w.t, fmt.Sprint(r.Version-1, ".00"), r.TotalAfter.String())
	return ids
}

func TestTheWorkersPoolIsFull(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{}, "pool_max_conns=2")
	var held []*pgxpool.Conn
	for range 2 {
		conn, err := w.pool.Acquire(t.Context())
		require.NoError(t, err)
		held = append(held, conn)
	}
	w.requireUnharmed(w.through("pool_max_conns", func() {
		for _, conn := range held {
			conn.Release()
		}
	})...)
}

const tooManyConnections = "SQLSTATE 53300"

func TestPostgresHasNoConnectionLeft(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{PostgresSettings: []string{"max_connections=20"}})
	app := testenv.AppURL(t, w.stack.Postgres.URL("wallet"))
	var held []*pgx.Conn
	var err error
	// Those that are given back are taken too; a server is slow to end some.
	w.eventually("all connections taken", func() bool {
		before := len(held)
		for {
			conn, err := pgx.Connect(t.Context(), app)
			if err != nil {
				require.ErrorContains(t, err, tooManyConnections)
				break
			}
			held = append(held, conn)
		}
		none := w.pool.Stat().TotalConns() == 0 && len(held) == before
		w.pool.Reset()
		var pool *pgxpool.Pool
		if pool, err = service.OpenPool(t.Context(), service.Database{URL: app, Setting: "WALLET_DATABASE_URL"}); err == nil {
			pool.Close()
		}
		return none && err != nil
	})
	require.ErrorContains(t, err, "WALLET_DATABASE_URL")
	t.Log("a starting worker says:", err)
	w.requireUnharmed(w.through(tooManyConnections, func() {
		for _, conn := range held {
			require.NoError(t, conn.Close(t.Context()))
		}
	})...)
}

func TestPostgresIsRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	stop := make(chan struct{})
	var mu sync.Mutex
	var ids []string
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprint("c-", i, "-", n)
				var err error
				if i%2 == 0 {
					_, err = w.wallets.Add(context.Background(), w.change(id, "1"))
				} else {
					err = w.wallets.Send(context.Background(), w.user, "USD", add(id, "1"))
				}
				require.NoError(t, err)
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for range 3 {
		before := w.position()
		w.eventually("progress", func() bool { return w.position() > before+100 })
		require.NoError(t, w.stack.Postgres.Stop())
		require.NoError(t, w.stack.Postgres.Start(t.Context()))
	}
	close(stop)
	group.Wait()
	w.settled(int64(1 + len(ids)))
	w.requireUnharmed(ids...)
}
