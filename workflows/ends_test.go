package workflows_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/workflows"
)

func TestContinueAsNewCarriesWhatNobodyWaitsFor(t *testing.T) {
	env := newEnvironment(t)
	const sent = 3*900 + 1 // the last 900 exceed the limit of 2,000
	send := func(n int) {
		for i := range n {
			env.signal(add(fmt.Sprint("c-", env.sent+i)))
		}
		env.sent += n
	}
	env.at(time.Millisecond, func() { send(900) })
	env.at(2*time.Millisecond, func() { send(900) })
	// The last signals arrive during a step. Otherwise the run could end before all of them
	// arrive, and the test environment drops whatever comes after its end.
	failures := 0
	env.at(time.Minute, func() { failures = 12; send(1) })
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

	// The next run continues where this one ended.
	second := newEnvironment(t)
	second.ledger.asset, second.ledger.journal, second.ledger.order = env.asset, env.journal, env.order
	input.IdleTimeout = wallet.Duration{Duration: time.Hour}
	require.NoError(t, second.run(input))
	require.Len(t, second.order, sent+1)
	for i := range sent {
		require.Equal(t, fmt.Sprint("c-", i), second.order[i+1])
	}
}

// TestContinueAsNewUnderLoad sends updates and signals continuously around a suggested
// continue-as-new. No answer may be missing.
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
	for i, a := range waiting { // Temporal tells the other callers to try again
		if a.accepted {
			accepted++
			require.True(t, a.done, "update %d was answered before the run ended", i)
			require.NoError(t, a.err)
		}
	}
	// The test environment decides which command comes last before the end. Each signal came
	// before the update with its number, so both commands of every accepted number must be done
	// or carried.
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

// TestACancelIsNotLostWhereTheRunIsDueToContinue sends a cancel during a step of a run that
// must continue as new, with and without further commands.
func TestACancelIsNotLostWhereTheRunIsDueToContinue(t *testing.T) {
	for _, more := range []int{0, 3} {
		env := newEnvironment(t)
		env.fail = func(step string, _ int) error {
			if step == wallet.StepApplyCommands && env.tries[step] == 1 {
				return errors.New("connection refused") // makes it continue as a regular activity
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
