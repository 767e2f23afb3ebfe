package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

func TestTheFourFlows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()

	r, err := w.wallets.Create(ctx, w.change("open", ""))
	require.NoError(t, err)
	require.Equal(t, int64(1), r.Version)
	again, err := w.wallets.Create(ctx, w.change("open", ""))
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, r.Hash, again.Hash)
	_, err = w.wallets.Create(ctx, w.change("open-2", ""))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.Equal(t, wallet.ReasonAlreadyExists, unapplied.Result.Reason)

	r, err = w.wallets.Add(ctx, w.change("a", "12.5"))
	require.NoError(t, err)
	require.Equal(t, "0.00", r.TotalBefore.String())
	require.Equal(t, "12.50", r.TotalAfter.String())

	r, err = w.wallets.Subtract(ctx, w.change("b", "20"))
	require.ErrorAs(t, err, &unapplied)
	require.Equal(t, wallet.ReasonInsufficientFunds, unapplied.Result.Reason)
	require.Equal(t, "12.50", unapplied.Result.TotalAfter.String())
	require.Equal(t, int64(4), unapplied.Result.Position, "a refusal has its receipt")
	require.False(t, unapplied.Result.Hash.IsZero())
	require.Equal(t, unapplied.Result, r)

	r, err = w.wallets.Subtract(ctx, w.change("c", "2.5"))
	require.NoError(t, err)
	require.Equal(t, "10.00", r.TotalAfter.String())

	_, err = w.wallets.Add(ctx, w.change("c", "2.5"))
	require.ErrorAs(t, err, &unapplied)
	require.Equal(t, wallet.ReasonIDConflict, unapplied.Result.Reason)

	state, err := w.wallets.State(ctx, w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "10.00", state.Available.String())
	require.Equal(t, int64(3), state.Counts.Applied)
	require.Equal(t, int64(1), state.Counts.Unapplied[wallet.ReasonInsufficientFunds])
	recent, err := w.wallets.Result(ctx, w.user, "USD", "b")
	require.NoError(t, err)
	require.Equal(t, wallet.ReasonInsufficientFunds, recent.Reason)

	events, journal := w.requireSound()
	require.Len(t, events, 3)
	require.Len(t, journal, 5)
}

func TestTheFirstCommandCreatesTheWallet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, err := w.wallets.Add(t.Context(), w.change("a", "1"))
	require.NoError(t, err)
	require.Equal(t, int64(2), r.Version)
	events, _ := w.requireSound()
	require.Equal(t, "_auto-create", events[0].CommandID)
	require.Equal(t, "wallet_asset.created", events[0].EventType)
}

func TestUnregisteredCurrencyTellsTheCallerAndCompletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	change := w.change("a", "1")
	change.Currency = "NOPE"
	_, err := w.wallets.Add(t.Context(), change)
	var invalid *wallet.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, wallet.ReasonUnknownCurrency, invalid.Reason)
	require.Contains(t, invalid.Message, `currency "NOPE" is not registered`)

	id := wallet.WorkflowID(w.user, "NOPE")
	require.NoError(t, w.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil), "the workflow completes")

	_, err = w.owner.Exec(t.Context(), `INSERT INTO currencies VALUES ('NOPE', 1)`)
	require.NoError(t, err)
	r, err := w.wallets.Add(t.Context(), change)
	require.NoError(t, err, "registered, the same command goes through")
	require.Equal(t, "1.0", r.TotalAfter.String())

	// A signal to such a wallet is logged, and its workflow completes too.
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "NADA", add("a", "1")))
	require.NoError(t, w.temporal.GetWorkflow(t.Context(), wallet.WorkflowID(w.user, "NADA"), "").Get(t.Context(), nil))
}

func TestSignalsFromGoAreAppliedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 100 {
		require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", add(fmt.Sprintf("s-%03d", i), "1")))
	}
	// An update after the signals comes after them.
	r, err := w.wallets.Subtract(t.Context(), w.change("all", "100"))
	require.NoError(t, err)
	require.Equal(t, "0.00", r.TotalAfter.String())
	events, _ := w.requireSound()
	require.Len(t, events, 102)
	for i := range 100 {
		require.Equal(t, fmt.Sprintf("s-%03d", i), events[i+1].CommandID)
	}
}

func TestSameIDFiftyTimesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			if i%2 == 0 {
				r, err := w.wallets.Add(context.Background(), w.change("once", "5"))
				require.NoError(t, err)
				require.Equal(t, "5.00", r.TotalAfter.String())
			} else {
				require.NoError(t, w.wallets.Send(context.Background(), w.user, "USD", add("once", "5.00")))
			}
		})
	}
	group.Wait()
	_, err := w.wallets.Add(t.Context(), w.change("last", "1"))
	require.NoError(t, err)
	events, journal := w.requireSound()
	require.Len(t, events, 3)
	require.Len(t, journal, 3)
}

func TestSignalsThatCannotBeUnderstoodAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signal := func(argument any) {
		_, err := w.temporal.SignalWithStartWorkflow(t.Context(), w.workflowID(), wallet.SignalCommand, argument,
			client.StartWorkflowOptions{ID: w.workflowID(), TaskQueue: w.queue}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: w.user, Currency: "USD"})
		require.NoError(t, err)
	}
	signal(map[string]any{"id": "number", "type": "add", "amount": 12.5})
	signal([]byte("\x00\x01not json"))
	signal("text")
	signal(map[string]any{"id": "_mine", "type": "add", "amount": "1"})
	signal(map[string]any{"id": "no-type"})
	signal(nil)
	_, err := w.wallets.Add(t.Context(), w.change("good", "1"))
	require.NoError(t, err)
	_, journal := w.requireSound()
	require.Len(t, journal, 8)
	require.Equal(t, "number", journal[1].Result().SentID)
	require.Equal(t, wallet.TypeAdd, journal[1].Type)
	require.Contains(t, journal[1].Message, "amount 12.5 is not a JSON string")
	require.Equal(t, "no-type", journal[5].Result().SentID)
	for i, e := range journal[1:7] {
		require.Equal(t, wallet.ReasonMalformed, e.Reason, i)
		require.True(t, strings.HasPrefix(e.CommandID, "_malformed-"), e.CommandID)
	}
	number, err := w.wallets.Add(t.Context(), w.change("number", "12.5"))
	require.NoError(t, err, "the corrected command has its id")
	require.False(t, number.Replayed)
}

// TestBadInputIsRefusedWithoutATrace sends raw payloads, as any SDK might.
func TestBadInputIsRefusedWithoutATrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	for value, command := range map[string]map[string]any{
		`"1e9"`:                              {"id": "a", "type": "add", "amount": "1e9"},
		`"NaN"`:                              {"id": "a", "type": "add", "amount": "NaN"},
		`"-1"`:                               {"id": "a", "type": "add", "amount": "-1"},
		`"0"`:                                {"id": "a", "type": "add", "amount": "0"},
		`12.5 is not a JSON string`:          {"id": "a", "type": "add", "amount": 12.5},
		strings.Repeat("9", 40):              {"id": "a", "type": "add", "amount": strings.Repeat("9", 40)},
		`"` + strings.Repeat("x", 60) + `"…`: {"id": strings.Repeat("x", 129), "type": "add", "amount": "1"},
		`"_x"`:                               {"id": "_x", "type": "add", "amount": "1"},
	} {
		handle, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApply, Args: []any{command}, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err == nil {
			err = handle.Get(t.Context(), nil)
		}
		var invalid *wallet.InvalidError
		require.ErrorAs(t, failure.Decode(err), &invalid)
		require.Contains(t, invalid.Message, value)
	}
	// 1.005 USD is understood, but refused and recorded.
	_, err = w.wallets.Add(t.Context(), w.change("fraction", "1.005"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.Equal(t, wallet.ReasonScaleExceeded, unapplied.Result.Reason)
	require.Contains(t, unapplied.Result.Message, "1.005")

	_, journal := w.requireSound()
	require.Len(t, journal, 2)
}

func TestAWrongWorkflowIDFailsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, row := range map[string]struct {
		id      string
		input   any
		message string
	}{
		"other id":       {"my-wallet-" + w.user, wallet.AssetRef{UserID: w.user, Currency: "USD"}, `start it as "wallet-asset/USD/` + w.user + `"`},
		"empty user":     {"wallet-asset/USD/" + w.user, wallet.AssetRef{Currency: "USD"}, "user_id is empty"},
		"slash currency": {"wallet-asset/U/D/" + w.user, wallet.AssetRef{UserID: w.user, Currency: "U/D"}, `currency "U/D" is not a currency code`},
		"no input":       {"wallet-asset/EUR/" + w.user, nil, "input is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			options := client.StartWorkflowOptions{ID: row.id, TaskQueue: w.queue, WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING}
			operation := w.temporal.NewWithStartWorkflowOperation(options, wallet.WorkflowWalletAsset, row.input)
			handle, err := w.temporal.UpdateWithStartWorkflow(t.Context(), client.UpdateWithStartWorkflowOptions{
				StartWorkflowOperation: operation,
				UpdateOptions: client.UpdateWorkflowOptions{WorkflowID: row.id, UpdateName: wallet.UpdateApply,
					Args: []any{add("a", "1")}, WaitForStage: client.WorkflowUpdateStageCompleted},
			})
			if err == nil {
				err = handle.Get(t.Context(), nil)
			}
			require.ErrorContains(t, failure.Decode(err), row.message, "the update is told why")
			err = w.temporal.GetWorkflow(t.Context(), row.id, "").Get(t.Context(), nil)
			require.ErrorContains(t, err, row.message, "and so is who looks at the workflow")
			var invalid *wallet.InvalidError
			require.ErrorAs(t, failure.Decode(err), &invalid)
		})
	}
}

func TestABatchAnswersEachCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results, err := w.wallets.ApplyBatch(t.Context(), w.user, "USD", []wallet.Command{
		add("a", "1"), subtract("b", "5"), add("c", "2.005"), add("a", "1.0"), add("a", "3"), subtract("d", "1"),
	})
	require.NoError(t, err)
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.CommandID, " ", r.Status, " ", r.Reason, " ", r.Replayed))
	}
	require.Equal(t, []string{
		"a applied  false", "b unapplied insufficient_funds false", "c unapplied scale_exceeded false",
		"a applied  true", "a unapplied id_conflict false", "d applied  false",
	}, got)
	w.requireSound()
}

func TestConcurrentCallersShareUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var group sync.WaitGroup
	for i := range 400 {
		group.Go(func() {
			r, err := w.wallets.Add(context.Background(), w.change(fmt.Sprint("c-", i), "0.25"))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("c-", i), r.CommandID)
		})
	}
	group.Wait()
	events, _ := w.requireSound()
	require.Len(t, events, 401)
	require.Equal(t, "100.00", events[400].TotalAfter.String())
	description, err := w.temporal.DescribeWorkflowExecution(t.Context(), w.workflowID(), "")
	require.NoError(t, err)
	require.Less(t, description.WorkflowExecutionInfo.HistoryLength, int64(400), "far fewer updates than calls")
}

func TestAnswersGoWhereReplyToSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The target is another wallet. It receives a Result, which is not a command, so it is
	// recorded there.
	target := w.startWaiting()
	command := add("a", "1")
	command.ReplyTo = &wallet.ReplyTo{WorkflowID: target, Signal: "answer"}
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", command))
	w.eventually("the reply", func() bool { return len(w.signalsOf(target)) == 1 })
	require.Contains(t, w.signalsOf(target)[0], `"command_id":"a"`)

	command = add("b", "1")
	command.ReplyTo = &wallet.ReplyTo{WorkflowID: "nobody", Signal: "x"}
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", command))
	_, err := w.wallets.Add(t.Context(), w.change("c", "1"))
	require.NoError(t, err, "a missing target does not disturb the wallet")
	w.requireSound()
}

func TestApplyCommandWorkflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := func(command wallet.Command, currency string) (wallet.Result, error) {
		var r wallet.Result
		run, err := w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: wallet.ApplyCommandWorkflowID(w.user, currency, command.ID), TaskQueue: w.queue,
		}, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: currency}, Command: command})
		require.NoError(t, err)
		err = run.Get(t.Context(), &r)
		return r, failure.Decode(err)
	}
	r, err := run(add("a", "7"), "USD")
	require.NoError(t, err)
	require.Equal(t, "7.00", r.TotalAfter.String())

	_, err = run(subtract("b", "8"), "USD")
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, err, &unapplied)
	require.Equal(t, wallet.ReasonInsufficientFunds, unapplied.Result.Reason)

	var invalid *wallet.InvalidError
	_, err = run(add("c", "0"), "USD")
	require.ErrorAs(t, err, &invalid)
	_, err = run(add("d", "1"), "NOPE")
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, wallet.ReasonUnknownCurrency, invalid.Reason)
	w.requireSound()
}

// TestABatchIsAnsweredTheSameToEverybody compares what the Go client derives from its brief
// answer with what other clients get.
func TestABatchIsAnsweredTheSameToEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commands := []wallet.Command{add("a", "5"), subtract("b", "9"), add("c", "1.005"), {ID: "d", Type: wallet.TypeCreate}, subtract("e", "2.50")}
	worked, err := w.wallets.ApplyBatch(t.Context(), w.user, "USD", commands)
	require.NoError(t, err)
	handle, err := w.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApplyBatch, Args: []any{commands}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	require.NoError(t, err)
	var recorded []wallet.Result
	require.NoError(t, handle.Get(t.Context(), &recorded))
	for i := range recorded {
		require.False(t, worked[i].Replayed)
		require.True(t, recorded[i].Replayed)
		recorded[i].Replayed = false
	}
	require.Equal(t, recorded, worked)

	again, err := w.wallets.ApplyBatch(t.Context(), w.user, "USD", append(commands, add("f", "1"), subtract("a", "5")))
	require.NoError(t, err)
	require.True(t, again[0].Replayed)
	require.Equal(t, "3.50", again[5].TotalAfter.String())
	require.Equal(t, wallet.ReasonIDConflict, again[6].Reason)
	w.requireSound()
}
