package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// startVersion starts a worker of a Worker Deployment Version on the test's queue.
func (w *world) startVersion(v worker.WorkerDeploymentVersion) *service.Service {
	// A separate client: the SDK would treat two workers with one client and queue as one.
	s, err := service.Start(context.Background(), service.Options{
		Temporal: testenv.Temporal(w.t), Namespace: client.DefaultNamespace, Pool: w.db, TaskQueue: w.queue, Logger: zap.NewNop(), Version: v,
	})
	require.NoError(w.t, err)
	return s
}

// route uses Temporal's CLI to set where a deployment's tasks go, once Temporal knows the
// version: after the worker's first poll.
func (w *world) route(args ...string) {
	w.eventually(fmt.Sprint(args), func() bool {
		out, ok := w.cli(append([]string{"worker", "deployment"}, append(args, "--yes")...)...)
		w.t.Log(out)
		return ok
	})
}

// lastVersion is the build that did the wallet's last workflow task, "" if it had no
// deployment.
func (w *world) lastVersion() (buildID string) {
	events := w.temporal.GetWorkflowHistory(context.Background(), w.workflowID(), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(w.t, err)
		if done := event.GetWorkflowTaskCompletedEventAttributes(); done != nil {
			buildID = done.GetDeploymentVersion().GetBuildId()
		}
	}
	return buildID
}

// TestAWalletMovesToTheCurrentVersion moves one running wallet from a worker without a
// deployment through a ramp to version 2, and back.
func TestAWalletMovesToTheCurrentVersion(t *testing.T) {
	w := newWorld(t) // its worker has no deployment
	name := testenv.Unique(t, "wallet")
	version := func(id string) worker.WorkerDeploymentVersion {
		return worker.WorkerDeploymentVersion{DeploymentName: name, BuildID: id}
	}
	commands := 0
	apply := func() {
		commands++
		_, err := w.wallets.Add(t.Context(), w.change(fmt.Sprint("c-", commands), "1"))
		require.NoError(t, err)
	}
	// Routing takes a moment to reach the task queue.
	moved := func(to string) {
		w.eventually("the wallet is at version "+to, func() bool { apply(); return w.lastVersion() == to })
	}

	apply()
	run, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
	require.NoError(t, err)
	one := w.startVersion(version("1"))
	apply()
	require.Empty(t, w.lastVersion(), "a version gets nothing before it is current")

	w.route("set-current-version", "--deployment-name", name, "--build-id", "1")
	moved("1")
	w.worker.Stop()
	apply()

	two := w.startVersion(version("2"))
	t.Cleanup(two.Stop)
	w.route("set-ramping-version", "--deployment-name", name, "--build-id", "2", "--percentage", "100")
	moved("2")
	w.route("set-ramping-version", "--deployment-name", name, "--build-id", "2", "--delete")
	moved("1")

	w.route("set-current-version", "--deployment-name", name, "--build-id", "2")
	moved("2")
	w.eventually("version 1 drains", func() bool {
		described, err := w.temporal.WorkerDeploymentClient().GetHandle(name).DescribeVersion(t.Context(), client.WorkerDeploymentDescribeVersionOptions{BuildID: "1"})
		require.NoError(t, err)
		return described.Info.DrainageInfo != nil
	})
	one.Stop()
	apply()
	require.Equal(t, "2", w.lastVersion())

	same, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
	require.NoError(t, err)
	require.Equal(t, run.WorkflowExecutionInfo.Execution.RunId, same.WorkflowExecutionInfo.Execution.RunId, "it is the same run")
	events, _ := w.requireSound()
	require.Len(t, events, commands+1)
}
