package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

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

// TestSignalsBeforeAnUpdateGoFirst sends both during a step.
func TestSignalsBeforeAnUpdateGoFirst(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(step string, attempt int) error { // the first step takes time: it falls back to a regular activity
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
		for i := range 900 { // the test environment accepts 1,000 at a time
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
	for _, id := range env.order[1:4] {
		require.Regexp(t, `^_malformed-[0-9a-f]{64}$`, id)
	}
	require.Equal(t, "good", env.order[4])
	require.Equal(t, wallet.ReasonMalformed, env.journal[env.order[2]].Reason)
	require.Equal(t, "readable", env.journal[env.order[2]].Result().SentID)
}

func TestCreateNeedsNoPreHook(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() { env.signal(command(wallet.TypeCreate, "open", "")); env.signal(add("a")) })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"open", "a"}, env.order)
	require.Zero(t, env.ensures)
}

func TestARowThatIsGoneComesBackWithTheNextCommand(t *testing.T) {
	env := newEnvironment(t)
	env.at(time.Millisecond, func() { env.signal(add("a")) })
	env.at(time.Second, func() { // the row is gone
		fresh := newLedger()
		env.asset, env.journal = fresh.asset, fresh.journal
		env.signal(add("b"))
	})
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Equal(t, []string{"_auto-create", "a", "_auto-create", "b"}, env.order)
	require.Equal(t, 1, env.ensures)
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
				if s == step && attempt <= 8 { // the test environment gives up after 10 tries
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

// TestRecordingGoesWithApplying counts the steps: recording is a separate step only if it
// failed as part of applying, or if nothing was applied and the trail may be incomplete from
// before.
func TestRecordingGoesWithApplying(t *testing.T) {
	for name, row := range map[string]struct {
		first, second wallet.Command
		failing       int
		steps         int // including EnsureWalletAsset, the first
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
