package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

func newKey(id string) string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return id + ":" + base64.StdEncoding.EncodeToString(secret)
}

func parseKeys(t *testing.T, text string) *codec.Keys {
	keys, err := codec.Parse(text)
	require.NoError(t, err)
	return keys
}

// dialWith connects to the run's Temporal with keys, like workers and callers.
func dialWith(t *testing.T, keys string) client.Client {
	options := client.Options{HostPort: testenv.TemporalAddress(t), Logger: service.SDKLogger(zap.NewNop())}
	parseKeys(t, keys).Secure(&options)
	c, err := client.Dial(options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// workWith replaces the worker by one with other keys, which the callers use too.
func (w *world) workWith(keys string) {
	w.worker.Stop()
	w.temporal = dialWith(w.t, keys)
	w.startWorker(w.db)
	w.wallets = w.callerWith(keys)
}

func (w *world) callerWith(keys string) *starter.Client {
	wallets, err := starter.New(dialWith(w.t, keys), starter.Options{TaskQueue: w.queue})
	require.NoError(w.t, err)
	return wallets
}

// history returns a workflow's history as Temporal stores it.
func history(t *testing.T, id string) (events []*historypb.HistoryEvent) {
	iterator := testenv.Temporal(t).GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		event, err := iterator.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

func historyText(t *testing.T, id string) string {
	var text strings.Builder
	for _, event := range history(t, id) {
		text.WriteString(event.String())
	}
	return text.String()
}

// TestWhatTemporalKeepsOfACommandIsUnreadable puts marker texts into everything that a caller
// sends, and looks for them in the histories. Without keys it must find all of them, which
// shows that the test can fail.
func TestWhatTemporalKeepsOfACommandIsUnreadable(t *testing.T) {
	for name, keys := range map[string]string{"with keys": newKey("k1"), "without": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOn(t, dialWith(t, keys))
			ctx := t.Context()
			command := add("planted-id-1", "918273.64")
			command.Description, command.Actor, command.Metadata = "planted-description", "planted-actor", map[string]string{"planted-key": "planted-value"}
			_, err := w.wallets.Apply(ctx, w.user, "USD", command)
			require.NoError(t, err)
			var unapplied *wallet.UnappliedError
			_, err = w.wallets.Subtract(ctx, w.change("planted-id-2", "77665544.33"))
			require.ErrorAs(t, err, &unapplied)
			require.Contains(t, unapplied.Result.Message, "918273.64", "failures are decoded")
			command.ID, command.Description = "planted-id-3", "planted-signal"
			require.NoError(t, w.wallets.Send(ctx, w.user, "USD", command))
			require.NoError(t, w.temporal.SignalWorkflow(ctx, w.workflowID(), "", wallet.SignalCommand, "planted-malformed"))
			w.settled(5)

			// A failing step shows its failure, and this one contains the amount.
			_, err = w.owner.Exec(ctx, `ALTER TABLE wallet_commands ADD CONSTRAINT planted_constraint CHECK (amount <> 4711.11)`)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() {
				_, err := w.wallets.Add(context.WithoutCancel(ctx), w.change("planted-id-4", "4711.11"))
				done <- err
			}()
			var pending string
			w.eventually("a pending step with its failure", func() bool {
				description, err := testenv.Temporal(t).DescribeWorkflowExecution(ctx, w.workflowID(), "")
				require.NoError(t, err)
				for _, a := range description.PendingActivities {
					if a.LastFailure != nil {
						pending = a.String()
					}
				}
				return pending != ""
			})
			_, err = w.owner.Exec(ctx, `ALTER TABLE wallet_commands DROP CONSTRAINT planted_constraint`)
			require.NoError(t, err)
			require.NoError(t, <-done)

			input := wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: subtract("planted-id-5", "88776655.44")}
			run, err := w.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
				ID: "apply-" + w.user, TaskQueue: w.queue}, wallet.WorkflowApplyCommand, input)
			require.NoError(t, err)
			require.Error(t, run.Get(ctx, nil))

			state, err := w.wallets.State(ctx, w.user, "USD")
			require.NoError(t, err, "queries are decoded")
			require.Equal(t, "1841258.39", state.Total.String())

			readable := func(text, planted string) {
				require.Equal(t, keys == "", strings.Contains(text, planted), planted)
			}
			wallets, carried := historyText(t, w.workflowID()), historyText(t, run.GetID())
			for _, planted := range []string{"planted-id-1", "918273.64", "planted-description", "planted-actor", "planted-value",
				"77665544.33", "planted-id-3", "planted-signal", "planted-malformed", "planted-id-4", "4711.11", "planted_constraint", " · USD", "apply 1 command"} {
				readable(wallets, planted)
			}
			readable(carried, "planted-id-5")
			readable(carried, "88776655.44")
			readable(carried, "cannot subtract")
			readable(pending, "planted_constraint")
			_, journal := w.requireSound()
			require.Len(t, journal, 7)
			require.Contains(t, journal[4].Metadata["payload"], "planted-malformed", "the journal has what was sent, not how")
		})
	}
}

// TestEncryptionIsSwitchedOnAndKeysAreChanged goes through the life cycle of keys in
// docs/security.md. No command may ever wait or get lost.
func TestEncryptionIsSwitchedOnAndKeysAreChanged(t *testing.T) {
	w := newWorld(t)
	one, two := newKey("k1"), newKey("k2")
	command := func(by *starter.Client, id string) {
		_, err := by.Add(t.Context(), w.change(id, "1"))
		require.NoError(t, err)
		require.NoError(t, by.Send(t.Context(), w.user, "USD", add(id+"-signal", "1")))
	}
	command(w.wallets, "before")

	w.workWith("plain," + one) // everybody can read it
	command(w.callerWith(""), "plain")
	command(w.callerWith(one), "one-ahead")
	w.workWith(one) // it encrypts
	command(w.callerWith("plain,"+one), "plain-behind")
	command(w.wallets, "one")
	text := historyText(t, w.workflowID())
	require.Contains(t, text, "plain-behind")
	require.NotContains(t, text, "one-signal")

	w.workWith(one + "," + two) // everybody can read it
	command(w.callerWith(one), "still-one")
	w.workWith(two + "," + one) // it encrypts
	command(w.callerWith(one+","+two), "one-again")
	command(w.wallets, "two")

	// A cancelled run handles what has arrived. The next run has only the new key.
	require.NoError(t, w.temporal.CancelWorkflow(t.Context(), w.workflowID(), ""))
	_ = w.temporal.GetWorkflow(t.Context(), w.workflowID(), "").Get(t.Context(), nil)
	w.workWith(two)
	command(w.wallets, "only-two")
	w.settled(19)
	events, _ := w.requireSound()
	require.Len(t, events, 19)
}

// TestWithoutKeysAnEncryptedSignalIsMalformed: a client that encrypts while nobody else does
// stops no wallet. A worker that has keys by then continues the run, or stops visibly, but
// never reads another command in its place.
func TestWithoutKeysAnEncryptedSignalIsMalformed(t *testing.T) {
	w := newWorld(t)
	key := newKey("k1")
	_, err := w.wallets.Add(t.Context(), w.change("before", "1"))
	require.NoError(t, err)
	stray := dialWith(t, key)
	for _, id := range []string{"stray-1", "stray-2"} {
		require.NoError(t, stray.SignalWorkflow(t.Context(), w.workflowID(), "", wallet.SignalCommand, add(id, "5")))
	}
	handle, err := stray.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApply, Args: []any{add("stray-3", "5")}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(t.Context(), nil)
	}
	require.ErrorContains(t, err, `payload is encrypted with key "k1", and this program has no keys`)
	result, err := w.wallets.Add(t.Context(), w.change("after", "1"))
	require.NoError(t, err)
	require.Equal(t, "2.00", result.TotalAfter.String())
	_, journal := w.requireSound()
	require.Equal(t, []wallet.Reason{"", "", wallet.ReasonMalformed, wallet.ReasonMalformed, ""}, reasons(journal))

	run := workflow.Execution{ID: w.workflowID(), RunID: w.runID()}
	quiet := service.SDKLogger(zap.NewNop())
	require.NoError(t, replay.Check(quiet, w.history(run), run))
	require.Equal(t, `payload encoding "binary/encrypted" is not supported: send json/plain`, journal[2].Message)
	for _, keys := range []string{key, newKey("k2")} {
		t.Setenv(codec.Setting, keys)
		require.Error(t, replay.Check(quiet, w.history(run), run))
	}
}

func reasons(journal []wallet.Entry) (reasons []wallet.Reason) {
	for _, e := range journal {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// TestACommandUnderAnUnknownKeyWaitsForIt: giving callers a key before the workers stops the
// wallets that get such commands, visibly, and loses none.
func TestACommandUnderAnUnknownKeyWaitsForIt(t *testing.T) {
	one, two := newKey("k1"), newKey("k2")
	for name, row := range map[string]struct{ before, after, problem string }{
		"the worker has another key": {one, two + "," + one, "does not have that key"},
		"another under its id":       {newKey("k2"), two, "has a different key with that id"},
		"the worker has no keys":     {"", two, "has no keys"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOn(t, dialWith(t, row.before))
			ahead := w.callerWith(row.after)
			stops := func(id string) {
				w.eventually("a failed workflow task of "+id, func() bool {
					for _, event := range history(t, id) {
						if failed := event.GetWorkflowTaskFailedEventAttributes(); failed != nil {
							var options client.Options
							parseKeys(t, row.before).Secure(&options)
							err := options.FailureConverter.FailureToError(failed.Failure)
							require.ErrorContains(t, err, `payload is encrypted with key "k2", and this program `+row.problem)
							return true
						}
					}
					return false
				})
			}
			// A wallet started with such an input does not fail.
			require.NoError(t, ahead.Send(t.Context(), w.user, "USD", add("first", "3")))
			stops(w.workflowID())
			// A running one stops at the signal, and refuses an update without recording it.
			other := *w
			other.user += "-runs"
			handled := int64(0)
			if row.before != "" && row.problem != "has a different key with that id" {
				_, err := other.wallets.Add(t.Context(), other.change("before", "1"))
				require.NoError(t, err)
				_, err = ahead.Add(t.Context(), other.change("update", "1"))
				require.ErrorContains(t, err, row.problem)
				handled = 2
			}
			require.NoError(t, ahead.Send(t.Context(), other.user, "USD", add("signal", "2")))
			stops(other.workflowID())
			// Nor does an ApplyCommand workflow fail.
			carrier := "apply-" + w.user
			_, err := dialWith(t, row.after).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: carrier, TaskQueue: w.queue},
				wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "JPY"}, Command: add("carried", "4")})
			require.NoError(t, err)
			stops(carrier)
			require.Zero(t, w.position())
			require.Equal(t, handled, other.position(), "nothing is recorded as malformed")

			w.workWith(row.after)
			var carried wallet.Result
			require.NoError(t, w.temporal.GetWorkflow(t.Context(), carrier, "").Get(t.Context(), &carried))
			require.Equal(t, "4", carried.TotalAfter.String())
			r, err := w.wallets.Add(t.Context(), w.change("second", "1"))
			require.NoError(t, err)
			require.Equal(t, "4.00", r.TotalAfter.String(), "after the first")
			r, err = w.wallets.Add(t.Context(), other.change("update", "1"))
			require.NoError(t, err)
			require.Equal(t, max(1, handled)+2, r.Position, "after the signal")
			w.requireSound()
			other.requireSound()
		})
	}
}
