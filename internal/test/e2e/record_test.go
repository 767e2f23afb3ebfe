package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

var record = flag.String("record", "", "version under whose name to write the histories that workflows/replay_test.go replays")

var recorded = filepath.Join("..", "..", "..", "workflows", "testdata")

// historyOfARun is roughly how many events a run has before this test's server suggests
// continue-as-new.
const historyOfARun = 130

// TestRecordHistories makes histories with something of everything in them, and checks that
// they have it. With -record v5, for example, it writes them to workflows/testdata under that
// name, next to those of earlier versions, which stay.
func TestRecordHistories(t *testing.T) {
	if *record != "" {
		taken, err := filepath.Glob(filepath.Join(recorded, "*_"+*record+".json"))
		require.NoError(t, err)
		require.Empty(t, taken, "the histories of a released version stay: choose a NAME that is not taken")
	}
	w := newRecordedWorld(t)
	ctx := t.Context()
	other := *w // no command opens its wallet
	other.user = "u2"
	_, err := w.wallets.Add(ctx, starter.Change{UserID: other.user, Currency: "USD", CommandID: "a", Amount: wallet.MustAmount("1")})
	require.NoError(t, err)

	foreign := *w // started without search attributes, as by a client in another language
	foreign.user = "u3"
	_, err = w.temporal.SignalWithStartWorkflow(ctx, foreign.workflowID(), wallet.SignalCommand, add("a", "1"),
		client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: foreign.user, Currency: "USD"})
	require.NoError(t, err)
	foreign.settled(2)

	stray := *w // gets an encrypted signal, and its worker has no keys
	stray.user = "u4"
	_, err = w.wallets.Add(ctx, starter.Change{UserID: stray.user, Currency: "USD", CommandID: "a", Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
	require.NoError(t, w.temporal.SignalWorkflow(ctx, stray.workflowID(), "", wallet.SignalCommand, converter.NewRawValue(&commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(codec.Encoding)}, Data: []byte("unreadable"),
	})))
	stray.settled(3)

	_, err = w.wallets.Create(ctx, w.change("open", ""))
	require.NoError(t, err)
	first := w.runID()
	_, err = w.wallets.Add(ctx, w.change("more", "10"))
	require.NoError(t, err)
	batch := []wallet.Command{add("a", "5"), subtract("b", "99"), add("a", "5.00"), add("a", "6"), add("c", "1.005"), {ID: "open-2", Type: wallet.TypeCreate}}
	_, err = w.wallets.ApplyBatch(ctx, w.user, "USD", batch)
	require.NoError(t, err)
	handle, err := w.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApplyBatch, Args: []any{batch}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	require.NoError(t, err)
	require.NoError(t, handle.Get(ctx, nil))
	_, err = w.wallets.Subtract(ctx, w.change("d", "100"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.NoError(t, w.temporal.SignalWorkflow(ctx, w.workflowID(), "", wallet.SignalCommand, "malformed"))
	waiting, err := w.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "waiting", TaskQueue: "no-workers"}, "Waiting")
	require.NoError(t, err)
	require.NoError(t, w.wallets.Send(ctx, other.user, "USD", add("signaled", "1")))
	for _, target := range []string{"nobody", waiting.GetID()} {
		reply := add("reply-to-"+target, "1")
		reply.ReplyTo = &wallet.ReplyTo{WorkflowID: target, Signal: wallet.SignalCommand}
		require.NoError(t, w.wallets.Send(ctx, w.user, "USD", reply))
	}
	held := []wallet.Command{
		{ID: "held", Type: wallet.TypeHold, Amount: wallet.MustAmount("4"), ExpiresIn: "1h"},
		{ID: "held-more", Type: wallet.TypeHold, HoldID: "held", Amount: wallet.MustAmount("1"), ExpiresIn: "2h"},
		{ID: "capture", Type: wallet.TypeCapture, HoldID: "held", Amount: wallet.MustAmount("2"), Partial: true},
		{ID: "capture-too-much", Type: wallet.TypeCapture, HoldID: "held", Amount: wallet.MustAmount("99")},
		{ID: "release", Type: wallet.TypeRelease, HoldID: "held", Amount: wallet.MustAmount("1")},
		{ID: "release-unknown", Type: wallet.TypeRelease, HoldID: "nobody's"},
		{ID: "hold-too-much", Type: wallet.TypeHold, Amount: wallet.MustAmount("9999")},
		{ID: "held-shorter", Type: wallet.TypeHold, HoldID: "held", ExpiresIn: "1m"},
		{ID: "all", Type: wallet.TypeCapture, HoldID: "held"},
		{ID: "closed", Type: wallet.TypeRelease, HoldID: "held"},
		{ID: "held-on", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresIn: "1h"},
	}
	_, err = w.wallets.ApplyBatch(ctx, w.user, "USD", held)
	require.NoError(t, err)
	applied, refused := w.applyCommand(subtract("f", "2")), w.applyCommand(subtract("g", "2000"))

	w.continueAsNewWithAQueue()
	_, err = w.wallets.Add(ctx, w.change("after", "1"))
	require.NoError(t, err)
	_, err = w.wallets.Subtract(ctx, w.change("after-refused", "1000"))
	require.ErrorAs(t, err, &unapplied)
	_, err = w.wallets.ApplyBatch(ctx, w.user, "USD", []wallet.Command{{ID: "held-shortly", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresIn: "1s"}})
	require.NoError(t, err)
	w.eventually("an expiry", func() bool { return w.stateOf("held-shortly") == wallet.HoldExpired })
	scheduled := w.schedule(add("", "3"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}})
	scheduled.backfill(span(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")))
	scheduled.ran(1)
	paid := scheduled.info().RecentActions[0].StartWorkflowResult.WorkflowID
	w.requireSound()
	firstLane := w.laneOverContinueAsNew()
	firstRun := w.runWithEverything()

	const (
		signaled  = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
		step      = enumspb.EVENT_TYPE_MARKER_RECORDED // a local activity
		regular   = enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
		updated   = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED
		reply     = enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED
		noReply   = enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED
		timer     = enumspb.EVENT_TYPE_TIMER_STARTED
		expired   = enumspb.EVENT_TYPE_TIMER_FIRED
		continued = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
		labelled  = enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
		completed = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
		failed    = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED
	)
	w.saveHistory("wallet_asset", workflow.Execution{ID: w.workflowID(), RunID: first}, signaled, step, regular, updated, reply, noReply, timer, continued)
	w.saveHistory("wallet_asset_continued", workflow.Execution{ID: w.workflowID(), RunID: w.runID()}, step, updated, timer, expired)
	w.saveHistory("wallet_asset_auto_create", workflow.Execution{ID: other.workflowID()}, signaled, step, updated)
	w.saveHistory("wallet_asset_foreign", workflow.Execution{ID: foreign.workflowID()}, signaled, step, labelled)
	w.saveHistory("wallet_asset_without_keys", workflow.Execution{ID: stray.workflowID()}, signaled, step, updated)
	lane := wallet.LaneWorkflowID(w.queue, 1)
	w.saveHistory("lane", workflow.Execution{ID: lane, RunID: firstLane}, step, regular, updated, continued)
	w.saveHistory("lane_continued", workflow.Execution{ID: lane}, step, updated)
	ran := wallet.RunWorkflowID("recorded")
	w.saveHistory("run", workflow.Execution{ID: ran, RunID: firstRun}, step, regular, updated, timer, continued)
	w.saveHistory("run_continued", workflow.Execution{ID: ran}, step, regular, updated, completed)
	w.saveHistory("apply_command", workflow.Execution{ID: applied}, regular, completed)
	w.saveHistory("apply_command_scheduled", workflow.Execution{ID: paid}, regular, completed)
	w.saveHistory("apply_command_refused", workflow.Execution{ID: refused}, regular, failed)
}

// newRecordedWorld uses its own servers, because of their settings and the users' names, which
// are in the files.
func newRecordedWorld(t *testing.T) *world {
	stack, err := devstack.Start(t.Context(), devstack.Options{
		Dir: t.TempDir(), PostgresSettings: []string{"fsync=off"},
		TemporalSettings: []string{fmt.Sprint("limit.historyCount.suggestContinueAsNew=", historyOfARun)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	url := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), url, migrations.RoleApp, testenv.AppPassword))
	w := &world{t: t, queue: wallet.DefaultTaskQueue, user: "u1", owner: testenv.Pool(t, url), db: testenv.Pool(t, testenv.AppURL(t, url))}
	w.read = trail.New(w.db)
	w.temporal, err = client.Dial(client.Options{HostPort: stack.Temporal.Address(), Logger: service.SDKLogger(zap.NewNop())})
	require.NoError(t, err)
	t.Cleanup(w.temporal.Close)
	w.wallets, err = starter.New(w.temporal, starter.Options{})
	require.NoError(t, err)
	w.startWorker(w.db)
	t.Cleanup(func() { w.worker.Stop() })
	return w
}

func (w *world) runID() string {
	d, err := w.temporal.DescribeWorkflowExecution(context.Background(), w.workflowID(), "")
	require.NoError(w.t, err)
	return d.WorkflowExecutionInfo.Execution.RunId
}

// applyCommand runs the workflow ApplyCommand to its end and returns its id.
func (w *world) applyCommand(c wallet.Command) string {
	run, err := w.temporal.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{
		ID: wallet.ApplyCommandWorkflowID(w.user, "USD", c.ID), TaskQueue: w.queue,
	}, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: c})
	require.NoError(w.t, err)
	_ = run.Get(context.Background(), nil) // a refusal fails it
	return run.GetID()
}

// continueAsNewWithAQueue locks the wallet's row, so that a step becomes a regular activity,
// and sends signals until the history is long enough.
func (w *world) continueAsNewWithAQueue() {
	ctx, first := context.Background(), w.runID()
	tx, err := w.owner.Begin(ctx)
	require.NoError(w.t, err)
	defer tx.Rollback(ctx) //nolint:errcheck // it is after the test's failure
	_, err = tx.Exec(ctx, `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, w.user)
	require.NoError(w.t, err)
	require.NoError(w.t, w.wallets.Send(ctx, w.user, "USD", add("held", "1")))
	w.eventually("a pending regular activity", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(ctx, w.workflowID(), "")
		require.NoError(w.t, err)
		return len(d.PendingActivities) > 0
	})
	sent := 0
	w.eventually("a long history", func() bool {
		require.NoError(w.t, w.wallets.Send(ctx, w.user, "USD", add(fmt.Sprint("queued-", sent), "0.01")))
		sent++
		d, err := w.temporal.DescribeWorkflowExecution(ctx, w.workflowID(), "")
		require.NoError(w.t, err)
		return d.WorkflowExecutionInfo.HistoryLength > historyOfARun
	})
	require.NoError(w.t, tx.Rollback(ctx))
	w.eventually("the next run", func() bool { return w.runID() != first })
	carried := w.history(workflow.Execution{ID: w.workflowID(), RunID: w.runID()}).Events[0].GetWorkflowExecutionStartedEventAttributes()
	contains(w.t, string(carried.Input.Payloads[0].Data), `"queue":[{"command":{"id":"queued-`)
}

// laneOverContinueAsNew sends commands in a lane, of which some are refused and some returned, until
// its second run, and returns the first. A locked table makes one step a regular activity.
func (w *world) laneOverContinueAsNew() (firstRun string) {
	ctx, c := context.Background(), w.laneCaller(1)
	send := func(name string, commands ...wallet.Command) {
		var calls sync.WaitGroup
		for i, command := range commands {
			command.ID = fmt.Sprint(name, "-", i)
			calls.Go(func() {
				r, err := c.Apply(ctx, fmt.Sprint("lane-", i%3), "USD", command)
				answered(w.t, r, err)
			})
		}
		calls.Wait()
	}
	send("first", add("", "1"), add("", "2"), subtract("", "99"), wallet.Command{Type: wallet.TypeCreate}, wallet.Command{Type: wallet.TypeHold, Amount: wallet.MustAmount("1")})
	d, err := w.temporal.DescribeWorkflowExecution(ctx, wallet.LaneWorkflowID(w.queue, 1), "")
	require.NoError(w.t, err)
	firstRun = d.WorkflowExecutionInfo.Execution.RunId
	_, err = c.Apply(ctx, "lane-0", "NONE", add("returned", "1"))
	require.ErrorAs(w.t, err, new(*wallet.InvalidError))
	tx, err := w.owner.Begin(ctx)
	require.NoError(w.t, err)
	defer tx.Rollback(ctx) //nolint:errcheck // it is after the test's failure
	_, err = tx.Exec(ctx, `LOCK TABLE wallet_assets IN EXCLUSIVE MODE`)
	require.NoError(w.t, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Apply(ctx, "lane-1", "USD", add("waited", "1"))
		waiting <- err
	}()
	w.eventually("a pending regular activity", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(ctx, wallet.LaneWorkflowID(w.queue, 1), "")
		require.NoError(w.t, err)
		return len(d.PendingActivities) > 0
	})
	require.NoError(w.t, tx.Rollback(ctx))
	require.NoError(w.t, <-waiting)
	for n := 0; ; n++ {
		send(fmt.Sprint("more-", n), add("", "1"), add("", "2"))
		d, err := w.temporal.DescribeWorkflowExecution(ctx, wallet.LaneWorkflowID(w.queue, 1), "")
		require.NoError(w.t, err)
		if d.WorkflowExecutionInfo.Execution.RunId != firstRun {
			return firstRun
		}
	}
}

// runWithEverything applies lines of which some are refused and some wait for a locked wallet, and is
// paused and resumed until its second run, and cancelled there.
func (w *world) runWithEverything() (firstRun string) {
	ctx := context.Background()
	path := filepath.Join(w.t.TempDir(), "lines.jsonl")
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, `{"user_id":"lane-%d","currency":"USD","type":"subtract","amount":"%d"}`+"\n", i%3, 1+i%2*1000)
	}
	require.NoError(w.t, os.WriteFile(path, []byte(lines.String()), 0o600))
	w.stageFile("recorded", runFile{path: path})
	tx, err := w.owner.Begin(ctx)
	require.NoError(w.t, err)
	defer tx.Rollback(ctx) //nolint:errcheck // it is after the test's failure
	_, err = tx.Exec(ctx, `SELECT FROM wallet_assets WHERE user_id = 'lane-0' FOR UPDATE`)
	require.NoError(w.t, err)
	w.startRun(wallet.RunInput{RunID: "recorded"})
	w.eventually("lines that wait", func() bool { s := w.runStatus("recorded"); return s.Waiting > 0 && s.Done()+s.Waiting == s.Lines })
	firstRun = w.runOverContinueAsNew("recorded")
	_, err = w.wallets.CancelRun(ctx, "recorded")
	require.NoError(w.t, err)
	return firstRun
}

func (w *world) history(run workflow.Execution) *historypb.History {
	history, err := replay.History(context.Background(), w.temporal, run)
	require.NoError(w.t, err)
	return history
}

// saveHistory checks that a history has these events, and replays.
func (w *world) saveHistory(name string, run workflow.Execution, wanted ...enumspb.EventType) {
	history := w.history(run)
	there := map[enumspb.EventType]bool{}
	for _, event := range history.Events {
		there[event.EventType] = true
	}
	for _, eventType := range wanted {
		require.True(w.t, there[eventType], "%s has no event %s", name, eventType)
	}
	require.NoError(w.t, replay.Check(service.SDKLogger(zap.NewNop()), history, run))
	if *record != "" {
		require.NoError(w.t, replay.Save(filepath.Join(recorded, name+"_"+*record+".json"), history))
	}
}
