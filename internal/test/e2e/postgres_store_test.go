package e2e

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// TestTemporalOnPostgresKeepsItsWallets starts a stack as "wallet-dev run
// --temporal-store postgres" does, on an empty folder and again on its data.
func TestTemporalOnPostgresKeepsItsWallets(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	change := starter.Change{UserID: "u1", Currency: "USD", CommandID: "order-7", Amount: wallet.MustAmount("12.50")}

	onPostgresStack(t, dir, func(stack *devstack.Stack, temporal client.Client, wallets *starter.Client) {
		result, err := wallets.Add(t.Context(), change)
		require.NoError(t, err)
		require.Equal(t, "12.50", result.TotalAfter.String())

		t.Run("nexus", func(t *testing.T) {
			c := newNexusCaller(&world{t: t, temporal: temporal, queue: wallet.DefaultTaskQueue, user: "u1"})
			answer, err := c.do("balance", wallet.AssetRef{UserID: "u1", Currency: "USD"})
			require.NoError(t, err)
			require.Equal(t, "12.50", answer["available"])
		})

		response, err := http.Get(stack.Temporal.UI())
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
	})
	onPostgresStack(t, dir, func(_ *devstack.Stack, temporal client.Client, wallets *starter.Client) {
		run, err := temporal.DescribeWorkflowExecution(t.Context(), wallet.WorkflowID("u1", "USD"), "")
		require.NoError(t, err, "the first stack's workflow is there")
		require.Positive(t, run.GetWorkflowExecutionInfo().GetHistoryLength())

		result, err := wallets.Add(t.Context(), change)
		require.NoError(t, err)
		require.True(t, result.Replayed)
	})
}

func onPostgresStack(t *testing.T, dir string, do func(*devstack.Stack, client.Client, *starter.Client)) {
	ctx := context.Background()
	stack, err := devstack.Start(ctx, devstack.Options{
		Dir: dir, TemporalStore: devstack.StorePostgres, PostgresSettings: []string{"fsync=off"},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, stack.Stop()) }()
	require.NoError(t, stack.Postgres.CreateDatabase(ctx, "wallet"))
	_, err = migrations.Up(ctx, stack.Postgres.URL("wallet"))
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(ctx, stack.Postgres.URL("wallet"), testenv.AppPassword))
	pool, err := service.OpenPool(ctx, service.Database{URL: testenv.AppURL(t, stack.Postgres.URL("wallet"))})
	require.NoError(t, err)
	defer pool.Close()
	temporal, err := client.DialContext(ctx, client.Options{HostPort: stack.Temporal.Address()})
	require.NoError(t, err)
	defer temporal.Close()
	worker, err := service.Start(ctx, service.Options{
		Temporal: temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: wallet.DefaultTaskQueue, Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	defer worker.Stop()
	wallets, err := starter.New(temporal, starter.Options{})
	require.NoError(t, err)
	do(stack, temporal, wallets)
}
