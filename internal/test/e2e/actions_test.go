package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// actions are what Temporal Cloud bills, by the rules on docs.temporal.io/cloud/actions, as far
// as a history shows them: not queries, heartbeats and rejected updates.
type actions struct{ starts, signals, updates, steps, activities, upserts, timers int }

func (a actions) sum() int {
	return a.starts + a.signals + a.updates + a.steps + a.activities + a.upserts + a.timers
}

func (a actions) minus(b actions) actions {
	return actions{a.starts - b.starts, a.signals - b.signals, a.updates - b.updates, a.steps - b.steps, a.activities - b.activities, a.upserts - b.upserts, a.timers - b.timers}
}

func (a actions) plus(b actions) actions { return a.minus(actions{}.minus(b)) }

func (a actions) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{a.starts, "start"}, {a.signals, "signal"}, {a.updates, "update"}, {a.steps, "local activities"}, {a.activities, "activity"}, {a.upserts, "search attributes"}, {a.timers, "timer"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprint(p.n, " ", p.name))
		}
	}
	return strings.Join(parts, ", ")
}

// countActions knows every event that a wallet's history can have; any other fails the test, so
// that nothing new goes uncounted.
func countActions(t *testing.T, events []*historypb.HistoryEvent) (a actions) {
	steps := map[int64]bool{} // workflow tasks with markers: a task's markers count once
	for i, e := range events {
		switch e.EventType {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			a.starts++
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			if i != 1 { // otherwise it came with the start, and the two count as one
				a.signals++
			}
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
			a.updates++
		case enumspb.EVENT_TYPE_MARKER_RECORDED:
			steps[e.GetMarkerRecordedEventAttributes().WorkflowTaskCompletedEventId] = true
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			a.activities += int(e.GetActivityTaskStartedEventAttributes().Attempt)
		case enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
			a.signals++
		case enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
			if _, version := e.GetUpsertWorkflowSearchAttributesEventAttributes().SearchAttributes.IndexedFields["TemporalChangeVersion"]; !version {
				a.upserts++
			}
		case enumspb.EVENT_TYPE_TIMER_STARTED:
			a.timers++
		case enumspb.EVENT_TYPE_TIMER_FIRED, enumspb.EVENT_TYPE_TIMER_CANCELED,
			enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
			enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
			enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
			enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED:
		default:
			require.Fail(t, "is this billed?", e.EventType.String())
		}
	}
	a.steps = len(steps)
	return a
}

// billed counts the actions of a workflow's current run; none if there is no such run.
func (w *world) billed(workflowID string) actions {
	var events []*historypb.HistoryEvent
	for all := w.temporal.GetWorkflowHistory(context.Background(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); all.HasNext(); {
		e, err := all.Next()
		if err != nil {
			return actions{}
		}
		events = append(events, e)
	}
	return countActions(w.t, events)
}

// taskDone waits until the wallet's workflow has no task, so that its history is whole.
func (w *world) taskDone() {
	w.eventually("the end of the workflow's task", func() bool {
		d, err := w.temporal.DescribeWorkflowExecution(context.Background(), w.workflowID(), "")
		return err == nil && d.PendingWorkflowTask == nil && len(d.PendingActivities) == 0
	})
}

// TestWhatACommandCostsInActions measures the table in docs/deploy.md.
func TestWhatACommandCostsInActions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var table strings.Builder
	table.WriteString("| sent as | commands | actions |\n|---|--:|--:|\n")
	settled := int64(0)
	measure := func(sentAs string, commands int, send func()) {
		before := w.billed(w.workflowID())
		send()
		settled += int64(commands)
		w.settled(settled)
		w.taskDone() // the step is in Postgres before its marker is in the history
		after := w.billed(w.workflowID()).minus(before)
		if id := wallet.ApplyCommandWorkflowID(w.user, "USD", sentAs); strings.Contains(sentAs, "ApplyCommand") {
			after = after.plus(w.billed(id))
		}
		fmt.Fprintf(&table, "| %s | %d | %d |\n", sentAs, commands, after.sum())
		t.Log(sentAs, after)
	}
	var unapplied *wallet.UnappliedError

	settled++ // the command that opens the wallet
	measure("an update that starts the wallet", 1, func() {
		_, err := w.wallets.Add(ctx, w.change("first", "1"))
		require.NoError(t, err)
	})
	measure("an update", 1, func() {
		_, err := w.wallets.Add(ctx, w.change("a", "1"))
		require.NoError(t, err)
	})
	measure("an update that is refused, on the record", 1, func() {
		_, err := w.wallets.Subtract(ctx, w.change("b", "1000"))
		require.ErrorAs(t, err, &unapplied)
	})
	measure("a batch of 500", 500, func() {
		batch := make([]wallet.Command, wallet.MaxBatch)
		for i := range batch {
			batch[i] = add(fmt.Sprint("batch-", i), "1")
		}
		_, err := w.wallets.ApplyBatch(ctx, w.user, "USD", batch)
		require.NoError(t, err)
	})
	measure("a signal", 1, func() { require.NoError(t, w.wallets.Send(ctx, w.user, "USD", add("c", "1"))) })
	measure("the workflow ApplyCommand", 1, func() {
		command := add("the workflow ApplyCommand", "1") // also used as the id
		w.applyCommand(command)
	})

	target := w.startWaiting()
	measure("a signal with reply_to", 1, func() {
		command := add("d", "1")
		command.ReplyTo = &wallet.ReplyTo{WorkflowID: target, Signal: "answer"}
		require.NoError(t, w.wallets.Send(ctx, w.user, "USD", command))
		w.eventually("the reply", func() bool { return len(w.signalsOf(target)) == 1 })
	})

	w.user, settled = w.user+"-other", 1
	measure("a signal that starts the wallet", 1, func() { require.NoError(t, w.wallets.Send(ctx, w.user, "USD", add("a", "1"))) })
	w.user, settled = w.user+"-language", 1
	measure("the same, by a client that sets no search attributes", 1, func() {
		_, err := w.temporal.SignalWithStartWorkflow(ctx, w.workflowID(), wallet.SignalCommand, add("a", "1"),
			client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: w.user, Currency: "USD"})
		require.NoError(t, err)
	})

	w.user, settled = w.user+"-idle", 1
	ends, err := starter.New(w.temporal, starter.Options{TaskQueue: w.queue, IdleTimeout: time.Second})
	require.NoError(t, err)
	measure("an update that starts the wallet with `idle_timeout`, which then ends it", 1, func() {
		_, err := ends.Add(ctx, w.change("first", "1"))
		require.NoError(t, err)
		require.NoError(t, w.temporal.GetWorkflow(ctx, w.workflowID(), "").Get(ctx, nil))
	})

	lane, inLanes := wallet.LaneWorkflowID(w.queue, 1), w.laneCaller(1)
	for i, sentAs := range []string{"an update that starts a lane", "an update of a lane, with up to 500 commands"} {
		before := w.billed(lane)
		_, err := inLanes.Add(ctx, w.change(fmt.Sprint("lane-", i), "1"))
		require.NoError(t, err)
		after := w.billed(lane).minus(before)
		fmt.Fprintf(&table, "| %s | %d | %d |\n", sentAs, 1, after.sum())
		t.Log(sentAs, after)
	}

	file := w.writeRunFile(4000, 1000)
	w.stageFile(w.user+"-run", file)
	w.startRun(wallet.RunInput{RunID: w.user + "-run"})
	require.NoError(t, w.temporal.GetWorkflow(ctx, wallet.RunWorkflowID(w.user+"-run"), "").Get(ctx, nil))
	run := w.billed(wallet.RunWorkflowID(w.user + "-run"))
	fmt.Fprintf(&table, "| a run of 4,000 lines | %d | %d |\n", 4000, run.sum())
	t.Log("a run", run)

	compareWithDocs(t, "actions", table.String())
}

// compareWithDocs compares a named part of docs/deploy.md, marked by comments, with what was
// measured, or rewrites it.
func compareWithDocs(t *testing.T, part, measured string) {
	path := filepath.Join("..", "..", "..", "docs", "deploy.md")
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	begin, end := "<!-- "+part+": measured by a test -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(string(doc), begin)
	require.True(t, found)
	written, after, found := strings.Cut(rest, end)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+measured+end+after), 0o644))
		return
	}
	require.Equal(t, measured, written)
}
