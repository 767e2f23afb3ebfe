package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// examined is what "wallet doctor" says of anna's wallet.
func (g *guide) examined() (d diagnosis, code int) {
	out, errs, code := g.run("doctor", "anna", "USD", "-o", "json")
	require.NoError(g.t, json.Unmarshal([]byte(out), &d), errs)
	require.Equal(g.t, d.Healthy, code == exitDone)
	return d, code
}

// newAnna has a worker, and a wallet of three entries, one of them a hold.
func newAnna(t *testing.T) *guide {
	g := newGuide(t)
	g.worker = g.startWorker()
	for _, args := range [][]string{{"add", "anna", "USD", "20", "--id", "top-up-1"}, {"hold", "anna", "USD", "5", "--id", "order-7"}} {
		_, errs, code := g.run(args...)
		require.Zero(t, code, errs)
	}
	t.Cleanup(func() {
		if g.worker != nil {
			g.worker()
		}
	})
	return g
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	g := newAnna(t)
	d, _ := g.examined()
	require.Empty(t, d.Findings)
	require.Equal(t, "Running", d.Run.Status)
	require.Len(t, d.Workers.Workflows, 1)
	require.EqualValues(t, 3, d.State.Position)
	require.Equal(t, d.State.Hash, d.Journal.Hash)
	require.EqualValues(t, 1, d.OpenHolds)
	out, _, code := g.run("doctor", "anna", "USD")
	require.Zero(t, code)
	require.Contains(t, out, "nothing is wrong")

	_, errs, code := g.run("doctor", "nobody", "USD")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `1 problem of the USD wallet of "nobody"`)
}

func TestDoctorFindsWhatPostgresLacks(t *testing.T) {
	g := newAnna(t)
	g.tamper(sqlLoseLastEvent)
	d, _ := g.examined()
	require.EqualValues(t, 1, d.Missing)
	require.Equal(t, []doctorReport{{"1 event is missing: the newest is of version 2, the wallet is at 3", "its next command appends them, or: wallet repair 'anna' USD"}}, d.Findings)

	g.tamper(sqlCutOff)
	d, _ = g.examined()
	require.Len(t, d.Findings, 1)
	require.Equal(t, "the journal ends at position 2, and the workflow has written up to 3", d.Findings[0].Problem)
}

func TestDoctorFindsAStepThatFails(t *testing.T) {
	g := newAnna(t)
	g.postgres.stop()
	go g.run("add", "anna", "USD", "1", "--id", "later", "--timeout", "5s")
	g.awaitPending("anna")
	d, _ := g.examined()
	require.Len(t, d.Findings, 2)
	require.Regexp(t, `^the step ApplyCommands fails, \d+ times? by now: .*connection refused`, d.Findings[0].Problem)
	require.Regexp(t, `^Postgres cannot be asked: no answer from Postgres`, d.Findings[1].Problem)
	require.Equal(t, "ApplyCommands", d.Pending[0].Step)
	require.NotZero(t, d.State, "the workflow itself answers")
	g.postgres.start()
	require.Eventually(t, func() bool { d, _ := g.examined(); return d.Healthy }, time.Minute, 200*time.Millisecond)
}

// TestAnOutageOfPostgresIsALineForEachAttempt has no stack of Go in the log, which a person reads.
func TestAnOutageOfPostgresIsALineForEachAttempt(t *testing.T) {
	g := newGuide(t)
	stop := g.startConsoleWorker()
	_, errs, code := g.run("add", "anna", "USD", "20", "--id", "top-up-1")
	require.Zero(t, code, errs)
	g.postgres.stop()
	go g.run("add", "anna", "USD", "1", "--id", "later", "--timeout", "20s")
	g.awaitPending("anna")
	g.postgres.start()
	require.Eventually(t, func() bool { d, _ := g.examined(); return d.Healthy }, time.Minute, 200*time.Millisecond)
	log := strings.TrimSpace(stop())
	failed := 0
	for _, line := range strings.Split(log, "\n") {
		require.Regexp(t, `^\d{4}-\d\d-\d\dT`, line, log)
		if strings.Contains(line, "a step failed") {
			failed++
			require.Contains(t, line, `"next": "Temporal tries it again in at most 5 s, until it works"`)
			require.Contains(t, line, "connection refused")
		}
	}
	require.Positive(t, failed, log)
}

func TestDoctorFindsAWalletThatTheWorkersCannotGoOnWith(t *testing.T) {
	g := newGuide(t)
	c, id := g.temporal(), wallet.WorkflowID("anna", "USD")
	w := worker.New(c, wallet.DefaultTaskQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ wallet.AssetRef) error { return workflow.Sleep(ctx, time.Hour) },
		workflow.RegisterOptions{Name: wallet.WorkflowWalletAsset})
	require.NoError(t, w.Start())
	_, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: wallet.DefaultTaskQueue},
		wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: "anna", Currency: "USD"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		described, err := c.DescribeWorkflowExecution(t.Context(), id, "")
		return err == nil && described.GetWorkflowExecutionInfo().GetHistoryLength() >= 5
	}, soon, 50*time.Millisecond)
	w.Stop()

	defer g.startWorker()()
	require.NoError(t, c.SignalWorkflow(t.Context(), id, "", wallet.SignalCommand, wallet.Command{ID: "a", Type: wallet.TypeCreate}))
	require.Eventually(t, func() bool {
		d, _ := g.examined()
		for _, f := range d.Findings {
			if len(d.Pending) == 1 && d.Pending[0].Attempt > 1 {
				require.Regexp(t, `^its workflow task fails, \d+ times? by now: .*TMPRL1100|^the workflow does not answer`, f.Problem)
				require.Contains(t, f.Remedy, "wallet replay --query")
				return true
			}
		}
		return false
	}, soon, 200*time.Millisecond)
}

// TestAWalletOnAnotherTaskQueueIsNamed has one whose workflow was started by a client with
// another task queue, where no worker runs.
func TestAWalletOnAnotherTaskQueueIsNamed(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t)).with("WALLET_TASK_QUEUE=wallet-new")
	user := testenv.Unique(t, "user")
	old := testenv.Unique(t, "old")
	_, errs, code := s.with("WALLET_TASK_QUEUE="+old).run("add", user, "USD", "5", "--id", "a", "--timeout", "1s")
	require.Equal(t, exitNoAnswer, code, errs)

	_, errs, code = s.run("add", user, "USD", "5", "--id", "a", "--timeout", "4s")
	require.Equal(t, exitNoAnswer, code)
	require.Contains(t, errs, `runs on task queue "`+old+`", this client uses "wallet-new": start a worker on "`+old+`", or terminate the workflow, which is safe, and send the command again`)
	require.NotContains(t, errs, `is a worker running on task queue "wallet-new"`)

	out, _, code := s.run("doctor", user, "USD")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `PROBLEM  its workflow runs on task queue "`+old+`", where no worker polls; this program uses "wallet-new"`)
	require.Contains(t, out, "REMEDY   start a worker with WALLET_TASK_QUEUE="+old+", or end its run, which is safe")
	require.Contains(t, out, "pending     workflow task, attempt 1")

	require.NoError(t, testenv.Temporal(t).TerminateWorkflow(t.Context(), wallet.WorkflowID(user, "USD"), "", "test"))
	out, _, _ = s.run("doctor", user, "USD")
	require.NotContains(t, out, "PROBLEM  its workflow runs")
	require.Contains(t, out, `PROBLEM  no worker polls task queue "wallet-new"`, "where the next command starts it")
}
