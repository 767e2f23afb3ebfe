package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/failure"
	"github.com/valueledger/wallet/workflows"
)

// ledger is the three steps in memory, on the same fold, with the calls it got.
type ledger struct {
	asset   wallet.Asset
	journal map[string]wallet.Entry
	order   []string // command ids as they were recorded
	batches []int
	events  int64
	ensures int
	fail    func(step string, attempt int) error
	lose    func(step string) error // the answer of what was done
	tries   map[string]int

	forgetful bool // which ids were used: a fault that a test plants
}

func newLedger() *ledger {
	return &ledger{journal: map[string]wallet.Entry{}, tries: map[string]int{},
		asset: wallet.Asset{UserID: "u1", Currency: "USD", Scale: 2}}
}

func (l *ledger) try(step string) error {
	l.tries[step]++
	if l.fail != nil {
		return l.fail(step, l.tries[step])
	}
	return nil
}

// done is the end of a step whose answer may be lost.
func (l *ledger) done(step string, err error) error {
	if err == nil && l.lose != nil {
		return l.lose(step)
	}
	return err
}

func (l *ledger) apply(commands []wallet.Received) ([]wallet.Result, error) {
	known := l.journal
	if l.forgetful {
		known = nil
	}
	after, entries, results, err := wallet.Fold(l.asset, known, commands, time.Unix(0, 0))
	if err != nil {
		return nil, failure.Encode(err)
	}
	l.asset = after
	for _, e := range entries {
		l.journal[e.CommandID] = e
		l.order = append(l.order, e.CommandID)
	}
	return results, nil
}

func (l *ledger) EnsureWalletAsset(context.Context, wallet.AssetRef) (wallet.Asset, error) {
	if err := l.try(wallet.StepEnsureWalletAsset); err != nil {
		return wallet.Asset{}, failure.Encode(err)
	}
	l.ensures++
	if !l.asset.Exists() {
		if _, err := l.apply([]wallet.Received{{Command: wallet.AutoCreate()}}); err != nil {
			return wallet.Asset{}, err
		}
	}
	return l.asset, l.done(wallet.StepEnsureWalletAsset, nil)
}

func (l *ledger) ApplyCommands(ctx context.Context, in wallet.ApplyCommandsInput) (wallet.ApplyCommandsOutput, error) {
	if err := l.try(wallet.StepApplyCommands); err != nil {
		return wallet.ApplyCommandsOutput{}, err
	}
	before := l.asset
	results, err := l.apply(in.Commands)
	if err == nil {
		l.batches = append(l.batches, len(in.Commands))
	}
	out := wallet.ApplyCommandsOutput{Asset: l.asset, Outcome: wallet.NewOutcome(before, results)}
	if err == nil && in.AndRecord && out.NeedRecording() {
		_, recordErr := l.RecordEvents(ctx, in.AssetRef)
		out.Recorded = recordErr == nil
	}
	return out, l.done(wallet.StepApplyCommands, err)
}

func (l *ledger) RecordEvents(context.Context, wallet.AssetRef) (wallet.RecordEventsOutput, error) {
	if err := l.try(wallet.StepRecordEvents); err != nil {
		return wallet.RecordEventsOutput{}, err
	}
	l.events = l.asset.Version
	return wallet.RecordEventsOutput{Version: l.events}, l.done(wallet.StepRecordEvents, nil)
}

type environment struct {
	*testsuite.TestWorkflowEnvironment
	t    require.TestingT
	sent int
	*ledger
}

func newEnvironment(t require.TestingT) *environment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	env := &environment{suite.NewTestWorkflowEnvironment(), t, 0, newLedger()}
	workflows.Register(env)
	for name, step := range map[string]any{
		wallet.StepEnsureWalletAsset: env.EnsureWalletAsset,
		wallet.StepApplyCommands:     env.ApplyCommands,
		wallet.StepRecordEvents:      env.RecordEvents,
	} {
		env.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: name})
	}
	env.SetStartWorkflowOptions(startOptions("wallet-asset/USD/u1"))
	env.SetTestTimeout(time.Minute)
	return env
}

func (e *environment) signal(argument any) { e.SignalWorkflow(wallet.SignalCommand, argument) }

// answers collects what an update got.
type answers struct {
	rejected error
	accepted bool
	value    any
	err      error
	done     bool
}

func (e *environment) update(argument any) *answers {
	a := &answers{}
	e.UpdateWorkflow(wallet.UpdateApply, fmt.Sprint("update-", time.Now().UnixNano()), &testsuite.TestUpdateCallback{
		OnAccept:   func() { a.accepted = true },
		OnReject:   func(err error) { a.rejected = err },
		OnComplete: func(value any, err error) { a.value, a.err, a.done = value, err, true },
	}, argument)
	return a
}

func (e *environment) run(input any) error {
	e.ExecuteWorkflow(wallet.WorkflowWalletAsset, input)
	require.True(e.t, e.IsWorkflowCompleted())
	return e.GetWorkflowError()
}

func (e *environment) at(d time.Duration, do func()) { e.RegisterDelayedCallback(do, d) }

func command(t wallet.CommandType, id, amount string) wallet.Command {
	c := wallet.Command{ID: id, Type: t}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	return c
}

func subtract(id string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1000")}
}

func add(id string) wallet.Command { return command(wallet.TypeAdd, id, "1") }

// idleFor makes a workflow that ends by itself once the test's commands are done.
func idleFor(d time.Duration) workflows.WalletAssetInput {
	return workflows.WalletAssetInput{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}, IdleTimeout: wallet.Duration{Duration: d}}
}

func TestStartedWithoutACommandItTouchesNothing(t *testing.T) {
	env := newEnvironment(t)
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Empty(t, env.tries)
}

func TestItNeverCompletesByDefault(t *testing.T) {
	env := newEnvironment(t)
	env.at(24*365*time.Hour, env.CancelWorkflow)
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	var canceled *temporal.CanceledError
	require.ErrorAs(t, err, &canceled, "it was still there after a year")
}

func TestIdleTimeoutCountsFromTheLastCommand(t *testing.T) {
	env := newEnvironment(t)
	env.at(50*time.Minute, func() { env.signal(add("a")) })
	env.at(100*time.Minute, func() { env.signal(add("b")) })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"_auto-create", "a", "b"}, env.order)
}

func TestOrderOverSignalsAndUpdates(t *testing.T) {
	env := newEnvironment(t)
	var want []string
	for i := range 20 {
		id := fmt.Sprintf("c-%02d", i)
		want = append(want, id)
		env.at(time.Millisecond*time.Duration(i+1), func() {
			if i%3 == 0 {
				env.update(add(id))
			} else {
				env.signal(add(id))
			}
		})
	}
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, want, env.order[1:])
}

// TestSignalsBeforeAnUpdateGoFirst has both arrive while a step is under way.
func TestSignalsBeforeAnUpdateGoFirst(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(step string, attempt int) error { // the first step falls back to a regular activity, which takes time
		if step == wallet.StepApplyCommands && attempt < 8 {
			return errors.New("connection refused")
		}
		return nil
	}
	env.at(time.Millisecond, func() { env.signal(add("first")) })
	env.at(2500*time.Millisecond, func() {
		env.signal(add("signal-1"))
		env.signal(add("signal-2"))
		env.update(add("update"))
		env.signal(add("signal-3"))
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"_auto-create", "first", "signal-1", "signal-2", "update", "signal-3"}, env.order)
}

func TestWhatIsQueuedGoesInOneBatchOfAtMost500(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() {
		for i := range 900 { // the test environment takes 1,000 at a time
			env.signal(add(fmt.Sprint("c-", i)))
		}
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []int{1, 500, 399}, env.batches, "the first goes at once")
	require.Equal(t, 1, env.ensures, "once per run")
	require.Equal(t, int64(901), env.events)
}

func TestABatchIsBoundedInBytes(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() {
		for i := range 400 {
			c := add(fmt.Sprint("c-", i))
			c.Metadata = map[string]string{"k": strings.Repeat("v", 4000)}
			env.signal(c)
		}
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Len(t, env.order, 401)
	require.Greater(t, len(env.batches), 1)
}

func TestAnUpdateFailsTypedWhenUnapplied(t *testing.T) {
	env := newEnvironment(t)
	var refused, good *answers
	env.at(time.Millisecond, func() { good = env.update(command(wallet.TypeAdd, "a", "5")) })
	env.at(2*time.Millisecond, func() { refused = env.update(command(wallet.TypeSubtract, "b", "9")) })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.NoError(t, good.err)
	require.Equal(t, "5.00", good.value.(wallet.Result).TotalAfter.String())
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, failure.Decode(refused.err), &unapplied)
	require.Equal(t, wallet.ReasonInsufficientFunds, unapplied.Result.Reason)
}

func TestAMalformedUpdateIsRejectedByTheValidator(t *testing.T) {
	env := newEnvironment(t)
	var a, b *answers
	env.at(time.Millisecond, func() {
		a = env.update(map[string]any{"id": "a", "type": "add", "amount": 1})
		b = env.update([]byte("raw"))
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	for _, got := range []*answers{a, b} {
		var invalid *wallet.InvalidError
		require.ErrorAs(t, failure.Decode(got.rejected), &invalid)
	}
	require.Contains(t, b.rejected.Error(), `payload encoding "binary/plain" is not supported`)
	require.Empty(t, env.order)
}

func TestAnUndecodableSignalIsRecorded(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() {
		env.signal([]byte("\x00\xff"))
		env.signal(map[string]any{"id": "readable", "type": "add", "amount": 1.5})
		env.signal("text")
		env.signal(add("good"))
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Len(t, env.order, 5)
	require.Regexp(t, `^_malformed-.*-1$`, env.order[1])
	require.Equal(t, "readable", env.order[2])
	require.Regexp(t, `^_malformed-.*-3$`, env.order[3])
	require.Equal(t, "good", env.order[4])
	require.Equal(t, wallet.ReasonMalformed, env.journal["readable"].Reason)
}

func TestCreateNeedsNoPreHook(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() { env.signal(command(wallet.TypeCreate, "open", "")); env.signal(add("a")) })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"open", "a"}, env.order)
	require.Zero(t, env.ensures)
}

func TestAMissingRowSendsBackToThePreHook(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() { env.signal(add("a")) })
	env.at(time.Second, func() { // the row is gone
		fresh := newLedger()
		env.asset, env.journal = fresh.asset, fresh.journal
		env.signal(add("b"))
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"_auto-create", "a", "_auto-create", "b"}, env.order)
	require.Equal(t, 2, env.ensures)
}

func TestAStepFallsBackToARegularActivityUntilItWorks(t *testing.T) {
	for _, step := range []string{wallet.StepEnsureWalletAsset, wallet.StepApplyCommands, wallet.StepRecordEvents} {
		t.Run(step, func(t *testing.T) {
			env := newEnvironment(t)
			regular := 0
			env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
				regular++
				require.Equal(t, step, info.ActivityType.Name)
			})
			env.fail = func(s string, attempt int) error {
				if s == step && attempt <= 8 { // the test environment gives up after 10
					return errors.New("connection refused")
				}
				return nil
			}
			env.at(time.Millisecond, func() { env.signal(add("a")) })
			env.at(time.Minute*10, func() { env.signal(add("b")) })
			require.NoError(t, env.run(idleFor(time.Hour)))
			require.Equal(t, []string{"_auto-create", "a", "b"}, env.order)
			require.Equal(t, int64(3), env.events)
			require.Positive(t, regular)
		})
	}
}

// TestRecordingGoesWithApplying counts the steps: recording has one of its own only
// where it did not work along with applying, or where nothing was applied and the
// trail may be incomplete from before.
func TestRecordingGoesWithApplying(t *testing.T) {
	for name, row := range map[string]struct {
		first, second wallet.Command
		failing       int
		steps         int // of which the first is EnsureWalletAsset
	}{
		"applied":                {add("a"), add("b"), 0, 3},
		"recording failed":       {add("a"), add("b"), 1, 4},
		"refused first":          {subtract("a"), add("b"), 0, 4},
		"refused later":          {add("a"), subtract("b"), 0, 3},
		"a retry of what counts": {add("a"), add("a"), 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			steps := 0 // the test environment does not know their names
			env.SetOnLocalActivityCompletedListener(func(_ *activity.Info, _ converter.EncodedValue, err error) {
				require.NoError(t, err)
				steps++
			})
			env.fail = func(step string, attempt int) error {
				if step == wallet.StepRecordEvents && attempt <= row.failing {
					return errors.New("connection refused")
				}
				return nil
			}
			env.at(time.Millisecond, func() { env.signal(row.first) })
			env.at(time.Minute, func() { env.signal(row.second) })
			require.NoError(t, env.run(idleFor(time.Hour)))
			require.Equal(t, row.steps, steps)
			require.Equal(t, env.asset.Version, env.events)
		})
	}
}

func TestContinueAsNewCarriesWhatNobodyWaitsFor(t *testing.T) {
	env := newEnvironment(t)
	const sent = 3*900 + 1 // the last 900 pass the limit of 2,000
	send := func(n int) {
		for i := range n {
			env.signal(add(fmt.Sprint("c-", env.sent+i)))
		}
		env.sent += n
	}
	env.at(time.Millisecond, func() { send(900) })
	env.at(2*time.Millisecond, func() { send(900) })
	// The last come while a step is under way, so that the run does not end before all
	// of them are there: the test environment drops what comes after its end.
	failures := 0
	env.at(time.Minute, func() { failures = 8; send(1) })
	env.at(time.Minute+2500*time.Millisecond, func() { send(900) })
	env.fail = func(step string, _ int) error {
		if step == wallet.StepApplyCommands && failures > 0 {
			failures--
			return errors.New("connection refused")
		}
		return nil
	}
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &next)
	var input workflows.WalletAssetInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
	require.Equal(t, "u1", input.UserID)
	require.NotEmpty(t, input.Carried.Queue)
	require.Equal(t, sent, len(env.order)-1+len(input.Carried.Queue), "nothing is lost")

	// The next run goes on where this one ended.
	second := newEnvironment(t)
	second.ledger.asset, second.ledger.journal, second.ledger.order = env.asset, env.journal, env.order
	input.IdleTimeout = wallet.Duration{Duration: time.Hour}
	require.NoError(t, second.run(input))
	require.Len(t, second.order, sent+1)
	for i := range sent {
		require.Equal(t, fmt.Sprint("c-", i), second.order[i+1])
	}
}

// TestContinueAsNewUnderLoad has updates and signals arrive all the time around a
// suggested continue-as-new, and no answer is missing.
func TestContinueAsNewUnderLoad(t *testing.T) {
	env := newEnvironment(t)
	var waiting []*answers
	for i := range 50 {
		env.at(time.Millisecond*time.Duration(i+1), func() {
			env.signal(add(fmt.Sprint("s-", i)))
			waiting = append(waiting, env.update(add(fmt.Sprint("u-", i))))
		})
	}
	env.at(26*time.Millisecond+time.Microsecond, func() { env.SetContinueAsNewSuggested(true) })
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &next)
	accepted := 0
	for i, a := range waiting { // Temporal tells the callers of the others to try again
		if a.accepted {
			accepted++
			require.True(t, a.done, "update %d was answered before the run ended", i)
			require.NoError(t, a.err)
		}
	}
	// Which command was the last before the end is the test environment's affair.
	// Each signal came before the update of its number, so both of every accepted
	// number are done or carried.
	require.GreaterOrEqual(t, accepted, 26)
	var input workflows.WalletAssetInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
	kept := append([]string{}, env.order[1:]...)
	for _, received := range input.Carried.Queue {
		kept = append(kept, received.Command.ID)
	}
	for i := range accepted {
		require.Contains(t, kept, fmt.Sprint("s-", i))
		require.Contains(t, kept, fmt.Sprint("u-", i))
	}
	require.Equal(t, int64(len(env.order)-1), input.Carried.Counts.Applied)
}

func TestCancelAnswersWhatHasArrived(t *testing.T) {
	env := newEnvironment(t)
	var last *answers
	env.at(time.Millisecond, func() {
		env.signal(add("a"))
		last = env.update(add("b"))
		env.CancelWorkflow()
	})
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	var canceled *temporal.CanceledError
	require.ErrorAs(t, err, &canceled)
	require.True(t, last.done)
	require.NoError(t, last.err)
	require.Equal(t, []string{"_auto-create", "a", "b"}, env.order)
}

// TestACancelIsNotLostWhereTheRunIsDueToContinue has both come while a step is
// under way, and nothing or more commands with them.
func TestACancelIsNotLostWhereTheRunIsDueToContinue(t *testing.T) {
	for _, more := range []int{0, 3} {
		env := newEnvironment(t)
		env.fail = func(step string, _ int) error {
			if step == wallet.StepApplyCommands && env.tries[step] == 1 {
				return errors.New("connection refused") // so that it goes on as a regular activity
			}
			if step == wallet.StepApplyCommands && env.tries[step] == 2 {
				env.CancelWorkflow()
				env.SetContinueAsNewSuggested(true)
				for i := range more {
					env.signal(add(fmt.Sprint("more-", i)))
				}
			}
			return nil
		}
		env.at(time.Millisecond, func() { env.signal(add("first")) })
		err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
		var canceled *temporal.CanceledError
		require.ErrorAs(t, err, &canceled)
		require.Len(t, env.order, 2+more, "and everything that came is done")
	}
}

func TestAnUnknownCurrencyAnswersReplyTo(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(string, int) error { return wallet.UnknownCurrency("USD") }
	var got wallet.Result
	env.OnSignalExternalWorkflow(mock.Anything, "caller", "", "answer", mock.Anything).Return(
		func(_, _, _, _ string, argument any) error { got = argument.(wallet.Result); return nil }).Once()
	command := add("a")
	command.ReplyTo = &wallet.ReplyTo{WorkflowID: "caller", Signal: "answer"}
	env.at(time.Millisecond, func() { env.signal(command) })
	require.NoError(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}))
	require.Equal(t, wallet.ReasonUnknownCurrency, got.Reason)
	require.Equal(t, "a", got.CommandID)
}

func TestAnUnknownCurrencyEndsTheWorkflowAndTellsEachCaller(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(string, int) error { return wallet.UnknownCurrency("USD") }
	var a *answers
	env.at(time.Millisecond, func() { env.signal(add("a")); a = env.update(add("b")) })
	require.NoError(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}))
	var invalid *wallet.InvalidError
	require.ErrorAs(t, failure.Decode(a.err), &invalid)
	require.Equal(t, wallet.ReasonUnknownCurrency, invalid.Reason)
	require.Equal(t, 1, env.tries[wallet.StepEnsureWalletAsset], "not retried")
}

func TestQueriesTellStateAndRecentResults(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() {
		env.signal(command(wallet.TypeAdd, "a", "5"))
		env.signal(command(wallet.TypeSubtract, "b", "9"))
	})
	env.at(time.Second, func() {
		var state wallet.State
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		require.NoError(t, value.Get(&state))
		require.Equal(t, "5.00", state.Available.String())
		require.Equal(t, int64(2), state.Version)
		require.Equal(t, int64(3), state.Position)
		require.Equal(t, int64(1), state.Counts.Applied)
		require.Equal(t, int64(1), state.Counts.Unapplied[wallet.ReasonInsufficientFunds])
		value, err = env.QueryWorkflow(wallet.QueryResult, "b")
		require.NoError(t, err)
		var r wallet.Result
		require.NoError(t, value.Get(&r))
		require.Equal(t, wallet.StatusUnapplied, r.Status)
		_, err = env.QueryWorkflow(wallet.QueryResult, "nobody")
		require.ErrorContains(t, err, `no recent result for command "nobody"`)
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
}

func TestAWrongWorkflowIDFails(t *testing.T) {
	env := newEnvironment(t)
	env.SetStartWorkflowOptions(startOptions("my-wallet"))
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.ErrorContains(t, err, `start it as "wallet-asset/USD/u1"`)
}
