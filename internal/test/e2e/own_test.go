package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// ownWorld is a world on servers of the test's own, which it may slow down, fill or
// stop. The worker reaches Postgres through link; w.db does not.
type ownWorld struct {
	*world
	stack *devstack.Stack
	link  *toxiproxy.Proxy
	pool  *pgxpool.Pool // the worker's
}

// newOwnWorld starts them. parameters are added to the URL of the worker's pool, for example
// "pool_max_conns=2".
func newOwnWorld(t *testing.T, options devstack.Options, parameters ...string) *ownWorld {
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	options.PostgresSettings = append(options.PostgresSettings, "fsync=off")
	stack, err := devstack.Start(context.Background(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	owner := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), owner)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), owner, migrations.RoleApp, testenv.AppPassword))

	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	port := strconv.Itoa(stack.Postgres.Port())
	link := toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", net.JoinHostPort("127.0.0.1", port))
	require.NoError(t, link.Start())
	t.Cleanup(link.Stop)

	app := testenv.AppURL(t, owner)
	w := &ownWorld{stack: stack, link: link, world: &world{
		t: t, user: testenv.Unique(t, "u"), queue: "wallet", address: stack.Temporal.Address(),
		owner: testenv.Pool(t, owner), db: testenv.Pool(t, app),
	}}
	w.read = trail.New(w.db)
	w.temporal, err = testenv.Dial(w.address)
	require.NoError(t, err)
	t.Cleanup(w.temporal.Close)
	w.wallets, err = starter.New(w.temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)

	behind := strings.Join(append([]string{strings.Replace(app, "127.0.0.1:"+port, link.Listen, 1)}, parameters...), "&")
	w.pool, err = service.OpenPool(t.Context(), service.Database{URL: behind, Setting: "WALLET_DATABASE_URL"})
	require.NoError(t, err)
	t.Cleanup(w.pool.Close)
	w.startWorker(w.pool)
	t.Cleanup(func() { w.worker.Stop() })
	return w
}

// slow delays each round trip between the worker and Postgres by 200 ms, and also each
// statement that writes, because several are sent together.
func (w *ownWorld) slow() {
	for _, statement := range []string{
		`CREATE FUNCTION take_a_while() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$`,
		`CREATE TRIGGER slow AFTER INSERT OR UPDATE ON wallet_assets EXECUTE FUNCTION take_a_while()`,
		`CREATE TRIGGER slow AFTER INSERT ON wallet_commands EXECUTE FUNCTION take_a_while()`,
		`CREATE TRIGGER slow AFTER INSERT ON wallet_asset_events EXECUTE FUNCTION take_a_while()`,
	} {
		_, err := w.owner.Exec(context.Background(), statement)
		require.NoError(w.t, err)
	}
	_, err := w.link.Toxics.AddToxicJson(strings.NewReader(`{"type": "latency", "attributes": {"latency": 200}}`))
	require.NoError(w.t, err)
}

func (w *ownWorld) fast() {
	w.link.Toxics.ResetToxics(context.Background())
	_, err := w.owner.Exec(context.Background(), `DROP FUNCTION take_a_while() CASCADE`)
	require.NoError(w.t, err)
}

// requireUnharmed checks what no overload may change: the journal of the test's wallet has each
// of the ids exactly once and nothing else, verify finds nothing wrong in any wallet, and the
// workflow is running, answers and has nothing that fails.
func (w *world) requireUnharmed(ids ...string) {
	t := w.t
	r, err := w.wallets.Add(context.Background(), w.change("afterwards", "1"))
	require.NoError(t, err, "the wallet answers")
	_, journal := w.requireSound()
	seen := map[string]int{}
	for _, entry := range journal {
		seen[cmp.Or(entry.Result().SentID, entry.CommandID)]++
	}
	for _, id := range append(ids, "afterwards") {
		require.Equal(t, 1, seen[id], "command %s", id)
		delete(seen, id)
	}
	delete(seen, "_auto-create")
	require.Empty(t, seen, "commands that nobody sent")
	require.Equal(t, int64(len(journal)), r.Position)
	w.requireVerified()
	w.requireHealthy(w.workflowID())
}

func (w *world) requireVerified() {
	report, err := w.read.Verify(context.Background(), trail.VerifyOptions{})
	require.NoError(w.t, err)
	require.Empty(w.t, report.Findings)
}

// requireHealthy checks that a workflow is running, and that none of its tasks or activities is
// failing.
func (w *world) requireHealthy(workflowID string) {
	d, err := w.temporal.DescribeWorkflowExecution(context.Background(), workflowID, "")
	require.NoError(w.t, err)
	require.Equal(w.t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, d.WorkflowExecutionInfo.Status)
	require.Empty(w.t, d.PendingActivities)
	// One that was late on a busy machine succeeds with its next attempt.
	w.eventually("no workflow task that fails again and again", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(context.Background(), workflowID, "")
		return err == nil && d.PendingWorkflowTask.GetAttempt() <= 1
	})
}

func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(prefix, "-", i)
	}
	return ids
}
