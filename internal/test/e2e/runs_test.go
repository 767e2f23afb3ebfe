package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// runFile is a file with what its run must come to.
type runFile struct {
	path     string
	totals   map[string]int64 // of each user's wallet
	failures []string         // "line reason"
	lines    int64
}

// writeRunFile writes a file of lines for some users: credits, and debits, of which those that a
// wallet has not enough for by the order of the lines are refused.
func (w *world) writeRunFile(lines, users int) runFile {
	f := runFile{path: filepath.Join(w.t.TempDir(), "credits.csv"), totals: map[string]int64{}, lines: int64(lines)}
	var b strings.Builder
	b.WriteString("user_id,currency,type,amount,id,description\n")
	r := rand.New(rand.NewPCG(1, 2))
	for i := range lines {
		user, amount, kind, id := fmt.Sprint(w.user, "-", r.IntN(users)), r.Int64N(9)+1, "add", ""
		if r.IntN(3) == 0 {
			kind, amount = "subtract", amount*3
		}
		if r.IntN(2) == 0 {
			id = fmt.Sprint("order-", i)
		}
		switch {
		case kind == "add":
			f.totals[user] += amount
		case f.totals[user] >= amount:
			f.totals[user] -= amount
		default:
			f.failures = append(f.failures, fmt.Sprint(i+2, " insufficient_funds"))
		}
		fmt.Fprintf(&b, "%s,USD,%s,%d,%s,\"line %d, of the run\"\n", user, kind, amount, id, i)
	}
	require.NoError(w.t, os.WriteFile(f.path, []byte(b.String()), 0o600))
	return f
}

func (w *world) stageFile(id string, f runFile) wallet.RunStatus {
	status, err := runs.StageFile(context.Background(), w.db, runs.File{ID: id, Path: f.path})
	require.NoError(w.t, err)
	return status
}

func (w *world) startRun(in wallet.RunInput) {
	require.NoError(w.t, w.wallets.StartRun(context.Background(), in))
}

func (w *world) runStatus(id string) wallet.RunStatus {
	status, err := runs.Status(context.Background(), w.db, id)
	require.NoError(w.t, err)
	return status
}

// requireRan wants each line of a file done once.
func (w *world) requireRan(status wallet.RunStatus, f runFile) {
	t := w.t
	require.Equal(t, wallet.RunDone, status.State)
	require.Equal(t, []int64{f.lines, f.lines - int64(len(f.failures)), int64(len(f.failures)), 0, 0},
		[]int64{status.Lines, status.Applied, status.Refused, status.Invalid, status.Waiting})
	var failures []string
	for failure, err := range runs.Failures(context.Background(), w.db, status.RunID) {
		require.NoError(t, err)
		failures = append(failures, fmt.Sprint(failure.Line, " ", failure.Reason))
	}
	require.Equal(t, f.failures, failures)
	found, err := w.db.Query(context.Background(), `SELECT user_id, total_amount::bigint FROM wallet_assets`)
	require.NoError(t, err)
	totals := map[string]int64{}
	for found.Next() {
		var user string
		var total int64
		require.NoError(t, found.Scan(&user, &total))
		totals[user] = total
	}
	require.NoError(t, found.Err())
	for user, total := range f.totals {
		require.Equal(t, total, totals[user], user)
	}
	var entries, deadlocks int64
	require.NoError(t, w.db.QueryRow(context.Background(), `SELECT count(*) FROM wallet_commands WHERE command_id <> '_auto-create'`).Scan(&entries))
	require.Equal(t, f.lines, entries)
	require.NoError(t, w.owner.QueryRow(context.Background(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
	report, err := trail.New(w.db).Verify(context.Background(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

func TestARunOverAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, id := w.writeRunFile(20_000, 300), testenv.Unique(t, "run")
	require.Equal(t, wallet.RunStaged, w.stageFile(id, f).State)
	w.startRun(wallet.RunInput{RunID: id})
	status, err := w.wallets.AwaitRun(t.Context(), id)
	require.NoError(t, err)
	require.Zero(t, status.Replayed)
	w.requireRan(status, f)
	d, err := w.temporal.DescribeWorkflowExecution(t.Context(), wallet.RunWorkflowID(id), "")
	require.NoError(t, err)
	require.LessOrEqual(t, d.WorkflowExecutionInfo.HistoryLength, f.lines/50, "at most 0.02 events a line")

	// Again: it reports.
	require.Equal(t, wallet.RunDone, w.stageFile(id, f).State)
	w.startRun(wallet.RunInput{RunID: id})
	again, err := w.wallets.AwaitRun(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, status.Done(), again.Done())
	w.requireRan(again, f)

	// Another file under its id.
	other := w.writeRunFile(10, 3)
	_, err = runs.StageFile(t.Context(), w.db, runs.File{ID: id, Path: other.path})
	require.ErrorAs(t, err, new(*runs.OtherFileError))
	require.ErrorContains(t, err, status.SHA256.String())
	require.ErrorContains(t, err, "start this file under another --id")
	_, err = w.wallets.PauseRun(t.Context(), id)
	require.ErrorIs(t, err, starter.ErrRunNotRunning)
}

// TestARunIsPausedResumedAndCancelled does that again and again while it works.
func TestARunIsPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, id := w.writeRunFile(60_000, 500), testenv.Unique(t, "run")
	w.stageFile(id, f)
	w.startRun(wallet.RunInput{RunID: id, Parallel: 2})
	await := func(lines int64) {
		w.eventually(fmt.Sprint(lines, " lines"), func() bool { return w.runStatus(id).Done() >= lines })
	}
	for n := range 3 {
		await(int64(n+1) * 5000)
		paused, err := w.wallets.PauseRun(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, wallet.RunPaused, paused.State)
		before := w.runStatus(id)
		require.Equal(t, paused.Done(), before.Done())
		w.startRun(wallet.RunInput{RunID: id}) // which does not resume it
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, before.Done(), w.runStatus(id).Done())
		resumed, err := w.wallets.ResumeRun(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, wallet.RunRunning, resumed.State)
	}
	await(20_000)
	cancelled, err := w.wallets.CancelRun(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, wallet.RunCancelled, cancelled.State)
	result, err := w.wallets.AwaitRun(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, cancelled.Done(), result.Done())
	require.Equal(t, cancelled.Done(), w.runStatus(id).Done())
	require.Less(t, cancelled.Done(), f.lines)
	w.startRun(wallet.RunInput{RunID: id})
	_, err = w.wallets.AwaitRun(t.Context(), id)
	require.ErrorAs(t, err, new(*wallet.InvalidError))
	require.ErrorContains(t, err, "was cancelled after")

	w.startRun(wallet.RunInput{RunID: id, Resume: true})
	await(cancelled.Done() + 1000)
	require.NoError(t, w.temporal.CancelWorkflow(t.Context(), wallet.RunWorkflowID(id), ""))
	_, err = w.wallets.AwaitRun(t.Context(), id)
	require.ErrorAs(t, err, new(*temporal.CanceledError))
	require.Equal(t, wallet.RunCancelled, w.runStatus(id).State)
	w.startRun(wallet.RunInput{RunID: id, Resume: true})
	status, err := w.wallets.AwaitRun(t.Context(), id)
	require.NoError(t, err)
	w.requireRan(status, f)
}

// TestARunOutlivesWhateverEndsIt stops workers, kills Postgres and Temporal, terminates and starts the
// workflow, pauses and resumes it, twenty times in all.
func TestARunOutlivesWhateverEndsIt(t *testing.T) {
	t.Parallel()
	w := newOwnWorld(t, devstack.Options{})
	id := testenv.Unique(t, "run")
	f := w.writeRunFile(100_000, 700)
	w.stageFile(id, f)
	w.startRun(wallet.RunInput{RunID: id})
	for n := range 20 {
		wanted := int64(n) * f.lines / 25
		w.eventually(fmt.Sprint(wanted, " lines"), func() bool {
			status, err := runs.Status(context.Background(), w.db, id)
			return err == nil && status.Done() >= wanted
		})
		switch n % 5 {
		case 0:
			w.worker.Stop()
			w.startWorker(w.pool)
		case 1:
			_ = w.stack.Postgres.StopImmediately()
			require.NoError(t, w.stack.Postgres.Start(context.Background()))
		case 2:
			_ = w.temporal.TerminateWorkflow(context.Background(), wallet.RunWorkflowID(id), "", "the test's")
			w.stageFile(id, f)
			w.startRun(wallet.RunInput{RunID: id})
		case 3:
			_, err := w.wallets.PauseRun(context.Background(), id)
			require.NoError(t, err)
			_, err = w.wallets.ResumeRun(context.Background(), id)
			require.NoError(t, err)
		case 4:
			w.stack.Temporal.Process().Kill()
			require.NoError(t, w.stack.Temporal.Start(context.Background()))
		}
	}
	status, err := w.wallets.AwaitRun(context.Background(), id)
	require.NoError(t, err)
	w.requireRan(status, f)
}

// TestARunGoesOnInANewRun has a server that asks for it after few events.
func TestARunGoesOnInANewRun(t *testing.T) {
	t.Parallel()
	w := newRecordedWorld(t)
	f := w.writeRunFile(10_000, 100)
	w.stageFile("long", f)
	w.startRun(wallet.RunInput{RunID: "long"})
	w.runOverContinueAsNew("long")
	status, err := w.wallets.AwaitRun(t.Context(), "long")
	require.NoError(t, err)
	w.requireRan(status, f)
}

// runOverContinueAsNew pauses and resumes a run until its next run has begun.
func (w *world) runOverContinueAsNew(id string) (firstRun string) {
	d, err := w.temporal.DescribeWorkflowExecution(context.Background(), wallet.RunWorkflowID(id), "")
	require.NoError(w.t, err)
	firstRun = d.WorkflowExecutionInfo.Execution.RunId
	w.eventually("the next run", func() bool {
		_, err := w.wallets.PauseRun(context.Background(), id)
		require.NoError(w.t, err)
		d, err = w.temporal.DescribeWorkflowExecution(context.Background(), wallet.RunWorkflowID(id), "")
		require.NoError(w.t, err)
		_, err = w.wallets.ResumeRun(context.Background(), id)
		require.NoError(w.t, err)
		return d.WorkflowExecutionInfo.Execution.RunId != firstRun
	})
	return firstRun
}
