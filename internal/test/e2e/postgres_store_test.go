package e2e

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/internal/service/schedules"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// TestTemporalOnPostgresKeepsItsWallets starts a stack like "wallet-dev run --temporal-store
// postgres", on an empty folder and again on its data.
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

		t.Run("schedules with the longest names", func(t *testing.T) {
			s := schedules.Client{
				Times:     schedules.Times{Temporal: temporal, Namespace: client.DefaultNamespace},
				TaskQueue: wallet.DefaultTaskQueue, Converter: converter.GetDefaultDataConverter(),
			}
			user := strings.Repeat("u", 128)
			for _, name := range []string{strings.Repeat("n", 98), strings.Repeat("€", wallet.MaxScheduleBytes/3)} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				in := wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"}, Command: add("", "10")}
				require.NoError(t, s.Create(ctx, name, in, client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}}, ""))
				handle := temporal.ScheduleClient().GetHandle(ctx, name)
				require.NoError(t, handle.Trigger(ctx, client.ScheduleTriggerOptions{}))
				var started *client.ScheduleWorkflowExecution
				require.Eventually(t, func() bool {
					description, err := handle.Describe(ctx)
					if err != nil || len(description.Info.RecentActions) == 0 {
						return false
					}
					started = description.Info.RecentActions[0].StartWorkflowResult
					return true
				}, time.Minute, 300*time.Millisecond)
				var result wallet.Result
				require.NoError(t, temporal.GetWorkflow(ctx, started.WorkflowID, started.FirstExecutionRunID).Get(ctx, &result))
				require.Equal(t, wallet.StatusApplied, result.Status)
				require.NoError(t, handle.Delete(ctx))
			}
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
	require.NoError(t, migrations.AllowLogin(ctx, stack.Postgres.URL("wallet"), migrations.RoleApp, testenv.AppPassword))
	pool, err := service.OpenPool(ctx, service.Database{URL: testenv.AppURL(t, stack.Postgres.URL("wallet"))})
	require.NoError(t, err)
	defer pool.Close()
	options := client.Options{HostPort: stack.Temporal.Address()}
	resourceid.EscapeHeader(&options)
	temporal, err := client.DialContext(ctx, options)
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
