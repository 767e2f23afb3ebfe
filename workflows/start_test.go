package workflows_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/workflows"
)

func start() map[string]any {
	return map[string]any{"user_id": "u1", "currency": "USD", "idle_timeout": "1h"}
}

// TestAStartInputThatCannotBeUsedLosesNoCommand has idle timeouts that are none.
func TestAStartInputThatCannotBeUsedLosesNoCommand(t *testing.T) {
	for _, timeout := range []any{"1d", 86400, "-5s", "", true, map[string]any{}} {
		t.Run(fmt.Sprint(timeout), func(t *testing.T) {
			env := newEnvironment(t)
			input := start()
			input["idle_timeout"] = timeout
			env.at(0, func() { env.signal(add("a")) })
			env.at(time.Minute, env.CancelWorkflow)
			require.Error(t, env.run(input), "it was canceled")
			require.Equal(t, []string{"_auto-create", "a"}, env.order)
			require.Contains(t, env.details(), "is not a duration such as")
		})
	}
}

// TestCarriedStateOfACallerIsIgnored has a balance, results and a queue that a caller made up.
func TestCarriedStateOfACallerIsIgnored(t *testing.T) {
	env := newEnvironment(t)
	input := start()
	input["carried"] = map[string]any{
		"asset":  map[string]any{"user_id": "u1", "currency": "USD", "scale": 2, "total_amount": "1000000.00", "hold_amount": "0.00", "version": 7, "position": 7},
		"queue":  []any{map[string]any{"command": map[string]any{"id": "_expire/a", "type": "add", "amount": "0"}}},
		"recent": []any{map[string]any{"command_id": "forged", "status": "applied"}},
	}
	env.at(time.Minute, func() {
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		var state wallet.State
		require.NoError(t, value.Get(&state))
		require.Zero(t, state.Version)
		require.True(t, state.Total.IsZero())
		_, err = env.QueryWorkflow(wallet.QueryResult, "forged")
		require.ErrorContains(t, err, "no recent result")
	})
	require.NoError(t, env.run(input))
	require.Empty(t, env.order)
	require.Contains(t, env.details(), "carried is for continue")
}

// TestARunWithATimeoutEndsBeforeIt has what a caller's --execution-timeout makes of a start.
func TestARunWithATimeoutEndsBeforeIt(t *testing.T) {
	for name, options := range map[string]client.StartWorkflowOptions{
		"execution": {ID: "wallet-asset/USD/u1", WorkflowExecutionTimeout: 4 * time.Second},
		"run":       {ID: "wallet-asset/USD/u1", WorkflowRunTimeout: 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			env.SetStartWorkflowOptions(options)
			env.at(0, func() {
				for i := range 5 {
					env.signal(add(fmt.Sprint("a", i)))
				}
			})
			require.NoError(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}))
			require.Len(t, env.order, 6)
		})
	}
}

// TestUpdatesAreRefusedOnceARunHasToEnd has a server that wants a new run, which an update in
// flight keeps from beginning.
func TestUpdatesAreRefusedOnceARunHasToEnd(t *testing.T) {
	env := newEnvironment(t)
	size := 4 << 20
	env.SetCurrentHistorySize(size)
	env.SetContinueAsNewSuggested(true)
	env.fail = func(step string, attempt int) error {
		if step == wallet.StepApplyCommands && attempt < 16 { // for half a minute
			return fmt.Errorf("Postgres is slow")
		}
		return nil
	}
	var waits, accepted, refused *answers
	env.at(0, func() { waits = env.update(add("waits")) })
	env.at(10*time.Second, func() { accepted = env.update(add("accepted")) })
	env.at(20*time.Second, func() {
		env.SetCurrentHistorySize(size * 2)
		refused = env.update(add("refused"))
	})
	err := env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.ErrorAs(t, err, new(*workflow.ContinueAsNewError))
	require.True(t, waits.done)
	require.True(t, accepted.done)
	var failed *temporal.ApplicationError
	require.ErrorAs(t, refused.rejected, &failed)
	require.Equal(t, wallet.FailureBusy, failed.Type())
	require.ErrorContains(t, failed, "a new run begins as soon as")
	require.Equal(t, []string{"_auto-create", "waits", "accepted"}, env.order)
}

// TestARunEndsBeforeTemporalRefusesItsUpdates: it does at the 2,000th, and then drops the workflow task
// that would end the run.
func TestARunEndsBeforeTemporalRefusesItsUpdates(t *testing.T) {
	env := newEnvironment(t)
	var accepted []*answers
	var refused *answers
	slow := false
	env.fail = func(string, int) error {
		if slow {
			return errors.New("Postgres is slow")
		}
		return nil
	}
	for part := range 19 {
		env.at(time.Duration(part)*time.Second, func() {
			slow = part == 18
			for i := range 100 {
				accepted = append(accepted, env.update(add(fmt.Sprint("c", part, "-", i))))
			}
		})
	}
	env.at(18500*time.Millisecond, func() {
		env.SetContinueAsNewSuggested(true)
		accepted = append(accepted, env.update(add("last")))
	})
	env.at(19*time.Second, func() { refused = env.update(add("refused")) })
	env.at(20*time.Second, func() { slow = false })
	require.ErrorAs(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}), new(*workflow.ContinueAsNewError))
	for _, a := range accepted {
		require.True(t, a.done)
	}
	var failed *temporal.ApplicationError
	require.ErrorAs(t, refused.rejected, &failed)
	require.Equal(t, wallet.FailureBusy, failed.Type())
}

// TestARunEndsInATaskWithoutSteps has an update arrive at the end of a task with steps, in a run that
// has to end: the server would send it back if the run ended in that task.
func TestARunEndsInATaskWithoutSteps(t *testing.T) {
	env := newEnvironment(t)
	var second *answers
	env.at(0, func() {
		env.SetContinueAsNewSuggested(true)
		env.UpdateWorkflow(wallet.UpdateApply, "first", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Error(err) },
			OnComplete: func(any, error) { second = env.update(add("second")) },
		}, add("first"))
	})
	require.ErrorAs(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}), new(*workflow.ContinueAsNewError))
	require.True(t, second.done)
	require.Equal(t, []string{"_auto-create", "first", "second"}, env.order)
}

// TestRepliesThatAreNotDeliveredHoldNothingUp has a server that does not find out whether a target
// exists.
func TestRepliesThatAreNotDeliveredHoldNothingUp(t *testing.T) {
	env := newEnvironment(t)
	env.OnSignalExternalWorkflow(mock.Anything, "caller", "", "answer", mock.Anything).After(24 * time.Hour).Return(nil)
	replied := add("replied")
	replied.ReplyTo = &wallet.ReplyTo{WorkflowID: "caller", Signal: "answer"}
	env.at(0, func() { env.signal(replied) })
	env.at(time.Minute, func() { env.SetContinueAsNewSuggested(true); env.signal(add("next")) })
	var ended time.Time
	env.at(2*time.Minute, func() { ended = env.Now() })
	require.ErrorAs(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}), new(*workflow.ContinueAsNewError))
	require.Zero(t, ended, "the run has not waited for so long")
}

// TestManyRepliesOfAWalletThatCannotExist has more than the server allows at once.
func TestManyRepliesOfAWalletThatCannotExist(t *testing.T) {
	env := newEnvironment(t)
	began := env.Now()
	env.fail = func(string, int) error {
		if env.Now().Sub(began) < 10*time.Second {
			return errors.New("connection refused")
		}
		return failure.Encode(wallet.UnknownCurrency("USD"))
	}
	replies := 0
	env.OnSignalExternalWorkflow(mock.Anything, "caller", "", "answer", mock.Anything).Return(
		func(string, string, string, string, any) error {
			replies++
			return nil
		})
	for second := range 6 {
		env.at(time.Duration(second)*time.Second, func() {
			for i := range 433 {
				c := add(fmt.Sprint("c", second, "-", i))
				c.ReplyTo = &wallet.ReplyTo{WorkflowID: "caller", Signal: "answer"}
				env.signal(c)
			}
		})
	}
	require.NoError(t, env.run(wallet.AssetRef{UserID: "u1", Currency: "USD"}))
	require.Equal(t, 6*433, replies)
}

// TestAWalletSaysThatPostgresLostEntries has a restore of the database to an earlier time.
func TestAWalletSaysThatPostgresLostEntries(t *testing.T) {
	env := newEnvironment(t)
	var before ledger
	env.at(time.Second, func() { env.signal(add("a")) })
	env.at(2*time.Second, func() { before = *env.ledger; before.journal = maps.Clone(env.journal); env.signal(add("b")) })
	env.at(3*time.Second, func() { env.ledger.asset, env.ledger.journal = before.asset, before.journal; env.signal(add("c")) })
	env.at(4*time.Second, func() { require.Contains(t, env.details(), "lost entries of this wallet") })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Contains(t, env.details(), "position 3 was answered, and the journal went on at 3")
}

// TestARefreshSaysThatPostgresLostEntries: the next command would compare with what the refresh
// has found.
func TestARefreshSaysThatPostgresLostEntries(t *testing.T) {
	env := newEnvironment(t)
	var before ledger
	env.at(time.Second, func() { env.signal(add("a")) })
	env.at(2*time.Second, func() { before = *env.ledger; before.journal = maps.Clone(env.journal); env.signal(add("b")) })
	env.at(3*time.Second, func() {
		env.ledger.asset, env.ledger.journal = before.asset, before.journal
		env.SignalWorkflow(wallet.SignalRefresh, nil)
	})
	env.at(4*time.Second, func() { require.Contains(t, env.details(), "lost entries of this wallet") })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Contains(t, env.details(), "position 3 was answered, and the journal went on at 2")
}

// TestARefreshOutlivesItsRun has a run before that ended as one came.
func TestARefreshOutlivesItsRun(t *testing.T) {
	env := newEnvironment(t)
	_, err := env.ledger.apply(nil)
	require.NoError(t, err)
	input := idleFor(time.Hour)
	input.Carried = &workflows.Carried{Asset: env.ledger.asset, LastActivity: env.Now(), Stale: true}
	env.ledger.asset.Total = wallet.MustAmount("7")
	details := ""
	env.at(time.Minute, func() { details = env.details() })
	require.NoError(t, env.run(input))
	require.Contains(t, details, "7.00 USD available")
}

// TestAStrayCommandHidesNoResult has a signal under an id that was applied with other content.
func TestAStrayCommandHidesNoResult(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Second, func() {
		env.signal(command(wallet.TypeAdd, "order-7", "5"))
		env.signal(command(wallet.TypeAdd, "order-7", "6"))
	})
	env.at(time.Minute, func() {
		value, err := env.QueryWorkflow(wallet.QueryResult, "order-7")
		require.NoError(t, err)
		var r wallet.Result
		require.NoError(t, value.Get(&r))
		require.Equal(t, wallet.StatusApplied, r.Status)
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
}
