package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/workflows"
)

// The example from docs/workflow-changes.md: a WalletAsset with a new step before its first
// command, once written naively and once correctly.

func changedCarelessly(ctx workflow.Context, payload converter.RawValue) error {
	if err := lookUpLimits(ctx); err != nil {
		return err
	}
	return workflows.WalletAsset(ctx, payload)
}

func changedWithAVersion(ctx workflow.Context, payload converter.RawValue) error {
	if workflow.GetVersion(ctx, "look up limits", workflow.DefaultVersion, 1) >= 1 {
		if err := lookUpLimits(ctx); err != nil {
			return err
		}
	}
	return workflows.WalletAsset(ctx, payload)
}

func lookUpLimits(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	return workflow.ExecuteActivity(ctx, "LookUpLimits").Get(ctx, nil)
}

func TestAChangeNeedsAVersionForTheRunsThatAreThere(t *testing.T) {
	history, err := replay.Load("testdata/wallet_asset_v1.json")
	require.NoError(t, err)
	run := workflow.Execution{
		ID:    wallet.WorkflowID("u1", "USD"),
		RunID: history.Events[0].GetWorkflowExecutionStartedEventAttributes().OriginalExecutionRunId,
	}
	replayWith := func(changed any) error {
		replayer := worker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: wallet.WorkflowWalletAsset})
		return replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{OriginalExecution: run})
	}
	require.ErrorContains(t, replayWith(changedCarelessly), "[TMPRL1100]")
	require.NoError(t, replayWith(changedWithAVersion), "the run goes on as it began")

	// A new run takes the new step.
	env := newEnvironment(t)
	lookedUp := 0
	env.RegisterActivityWithOptions(func(context.Context) error { lookedUp++; return nil }, activity.RegisterOptions{Name: "LookUpLimits"})
	env.RegisterWorkflowWithOptions(changedWithAVersion, workflow.RegisterOptions{Name: "ChangedWalletAsset"})
	env.at(time.Second, func() { env.signal(add("a")) })
	env.ExecuteWorkflow("ChangedWalletAsset", idleFor(time.Hour))
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, 1, lookedUp)
	require.Equal(t, []string{"_auto-create", "a"}, env.order)
}
