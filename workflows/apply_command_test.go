package workflows_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

// TestTheDeathOfTheWorkerThatSendsIsNoticedSoon checks the heartbeat timeout: without it the
// worker's death would go unnoticed until the activity times out.
func TestTheDeathOfTheWorkerThatSendsIsNoticedSoon(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	workflows.Register(env)
	var info activity.Info
	env.RegisterActivityWithOptions(func(ctx context.Context, in wallet.ApplyCommandInput) (wallet.Result, error) {
		info = activity.GetInfo(ctx)
		return wallet.Result{CommandID: in.Command.ID, Status: wallet.StatusApplied}, nil
	}, activity.RegisterOptions{Name: wallet.ActivitySendCommand})
	input, err := converter.GetDefaultDataConverter().ToPayload(wallet.ApplyCommandInput{
		AssetRef: wallet.AssetRef{UserID: "u", Currency: "USD"},
		Command:  wallet.Command{ID: "a", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")},
	})
	require.NoError(t, err)
	env.ExecuteWorkflow(workflows.ApplyCommand, converter.NewRawValue(input))
	require.NoError(t, env.GetWorkflowError())
	require.Positive(t, info.HeartbeatTimeout)
	require.Less(t, info.HeartbeatTimeout, info.StartToCloseTimeout)
}
