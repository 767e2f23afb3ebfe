// Package e2e tests the whole system: Go callers and the temporal CLI on a real Temporal, a
// real worker and a real Postgres.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// world is a worker on the test's own database and task queue.
type world struct {
	t        *testing.T
	address  string // of Temporal
	temporal client.Client
	db       *pgxpool.Pool // the service's
	owner    *pgxpool.Pool // of the tables
	queue    string
	wallets  *starter.Client
	read     trail.Reader
	user     string
	worker   *service.Service
}

func newWorld(t *testing.T) *world { return newWorldOn(t, testenv.Temporal(t)) }

// newWorldOn returns a world whose worker and callers use the test's own Temporal client.
func newWorldOn(t *testing.T, temporal client.Client) *world {
	return newWorldIn(t, temporal, testenv.DatabaseURL(t))
}

// newWorldIn returns a world whose database is the test's own.
func newWorldIn(t *testing.T, temporal client.Client, url string) *world {
	w := &world{t: t, address: testenv.TemporalAddress(t), temporal: temporal, queue: testenv.Unique(t, "queue"), user: testenv.Unique(t, "u")}
	w.owner, w.db = testenv.Pool(t, url), testenv.Pool(t, testenv.AppURL(t, url))
	w.read = trail.New(w.db)
	var err error
	w.wallets, err = starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)
	w.startWorker(w.db)
	t.Cleanup(func() { w.worker.Stop() })
	return w
}

// startWorker starts a worker like a deployment's: with only the rights it needs.
func (w *world) startWorker(db *pgxpool.Pool) {
	excess, err := migrations.ExcessRights(context.Background(), db)
	require.NoError(w.t, err)
	require.Empty(w.t, excess)
	w.worker, err = service.Start(context.Background(), service.Options{
		Temporal: w.temporal, Namespace: client.DefaultNamespace, Pool: db, TaskQueue: w.queue, Logger: zap.NewNop(),
	})
	require.NoError(w.t, err)
}

func (w *world) change(id, amount string) starter.Change {
	c := starter.Change{UserID: w.user, Currency: "USD", CommandID: id}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	return c
}

func add(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)}
}

func subtract(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}
}

// requireSound reads the whole trail of the test's USD wallet, checks every promise about a
// single wallet, and returns the events and the journal.
func (w *world) requireSound() ([]trail.Event, []wallet.Entry) {
	t := w.t
	events := allPages(t, func(last *trail.Event) ([]trail.Event, error) {
		f := trail.EventFilter{UserID: w.user, Currency: "USD"}
		if last != nil {
			f.AfterVersion = last.Version
		}
		return w.read.Events(context.Background(), f)
	})
	journal := allPages(t, func(last *wallet.Entry) ([]wallet.Entry, error) {
		f := trail.CommandFilter{UserID: w.user, Currency: "USD"}
		if last != nil {
			f.AfterPosition = last.Position
		}
		return w.read.Commands(context.Background(), f)
	})
	total, prev, applied := wallet.Amount{}, wallet.Hash{}, 0
	for i, e := range journal {
		require.Equal(t, int64(i+1), e.Position)
		require.Equal(t, prev, e.PrevHash)
		require.Equal(t, e.Hash, e.ComputeHash())
		require.Zero(t, total.Cmp(e.TotalBefore), "totals chain")
		prev, total = e.Hash, e.TotalAfter
		if e.Status != wallet.StatusApplied {
			continue
		}
		require.Less(t, applied, len(events), "command %s has no event", e.CommandID)
		event := events[applied]
		applied++
		require.Equal(t, int64(applied), e.Version)
		require.Equal(t, e.Version, event.Version)
		require.Equal(t, e.CommandID, event.CommandID)
		require.Equal(t, e.Hash, event.Hash)
		require.Zero(t, e.TotalAfter.Cmp(event.TotalAfter))
	}
	require.Len(t, events, applied)
	asset, err := w.read.Asset(context.Background(), w.user, "USD")
	require.NoError(t, err)
	require.Zero(t, asset.Total.Cmp(total))
	require.Equal(t, prev, asset.Hash)
	return events, journal
}

// allPages reads page after page, each after the last row of the previous one.
func allPages[T any](t *testing.T, page func(last *T) ([]T, error)) (all []T) {
	var last *T
	for {
		rows, err := page(last)
		require.NoError(t, err)
		if all = append(all, rows...); len(rows) < trail.MaxPage {
			return all
		}
		last = &rows[len(rows)-1]
	}
}

// eventually waits for a condition. It does not check how long that takes, only that it happens
// before the test's end.
func (w *world) eventually(what string, condition func() bool) {
	deadline := time.Now().Add(4 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(w.t, "never came: "+what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) position() int64 {
	asset, err := w.read.Asset(context.Background(), w.user, "USD")
	if err != nil {
		return 0
	}
	return asset.Position
}

// settled waits until the journal has reached a position and the trail has caught up. The
// events of signalled commands are recorded by the step after the one that advances the
// position, and nothing announces it.
func (w *world) settled(position int64) {
	w.eventually(fmt.Sprint("position ", position, " and its events"), func() bool {
		asset, err := w.read.Asset(context.Background(), w.user, "USD")
		if err != nil || asset.Position < position {
			return false
		}
		last, err := w.read.Events(context.Background(), trail.EventFilter{UserID: w.user, Currency: "USD", AfterVersion: asset.Version - 1})
		return err == nil && len(last) > 0
	})
}

// cli runs the temporal CLI against the run's server and returns the output of both streams,
// and whether it succeeded.
func (w *world) cli(args ...string) (string, bool) {
	cli, err := devstack.FindTemporalCLI()
	require.NoError(w.t, err)
	cmd := exec.Command(cli, append(args, "--address", w.address, "--disable-config-file", "--disable-config-env")...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (w *world) workflowID() string { return wallet.WorkflowID(w.user, "USD") }

func (w *world) startInput() string {
	data, err := json.Marshal(wallet.AssetRef{UserID: w.user, Currency: "USD"})
	require.NoError(w.t, err)
	return string(data)
}

func contains(t *testing.T, text string, parts ...string) {
	for _, part := range parts {
		require.True(t, strings.Contains(text, part), "%q is missing in:\n%s", part, text)
	}
}
