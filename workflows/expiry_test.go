package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func hold(id, amount, expiresIn string) wallet.Command {
	c := command(wallet.TypeHold, id, amount)
	c.ExpiresIn = expiresIn
	return c
}

// TestAnIdleWalletDoesNotWaitForAReleasedHold has a hold that would have expired in ten days.
func TestAnIdleWalletDoesNotWaitForAReleasedHold(t *testing.T) {
	env := newEnvironment(t)
	env.clock = env.Now
	began := env.Now()
	env.at(time.Second, func() { env.signal(command(wallet.TypeAdd, "funds", "100")); env.signal(hold("h", "10", "240h")) })
	env.at(40*time.Minute, func() {
		release := command(wallet.TypeRelease, "r", "")
		release.HoldID = "h"
		env.signal(release)
	})
	var late bool
	env.at(24*time.Hour, func() { late = true })
	require.NoError(t, env.run(idleFor(30*time.Minute)))
	require.False(t, late)
	require.Less(t, env.Now().Sub(began), 24*time.Hour)
}

// TestClocksThatDisagreeCostFewSteps has a Postgres whose clock is ten minutes behind Temporal's.
func TestClocksThatDisagreeCostFewSteps(t *testing.T) {
	env := newEnvironment(t)
	env.clock = func() time.Time { return env.Now().Add(-10 * time.Minute) }
	expiresAt := env.Now().Add(time.Hour)
	env.at(time.Second, func() {
		env.signal(command(wallet.TypeAdd, "funds", "100"))
		h := command(wallet.TypeHold, "h", "10")
		h.ExpiresAt = expiresAt.UTC().Truncate(time.Second)
		env.signal(h)
	})
	require.NoError(t, env.run(idleFor(3*time.Hour)))
	require.Contains(t, env.order, "_expire/h")
	require.Less(t, len(env.batches), 40)
}

// TestAHoldExpiresByItself checks the wallet's own timer: one at a time.
func TestAHoldExpiresByItself(t *testing.T) {
	env := newEnvironment(t)
	env.clock = env.Now
	env.at(time.Second, func() {
		env.signal(command(wallet.TypeAdd, "funds", "100"))
		env.signal(hold("long", "10", "3h"))
		env.signal(hold("short", "80", "1h"))
		env.signal(command(wallet.TypeAdd, "more", "1"))
	})
	var before, after wallet.State
	state := func(into *wallet.State) func() {
		return func() {
			value, err := env.QueryWorkflow(wallet.QueryState)
			require.NoError(t, err)
			require.NoError(t, value.Get(into))
		}
	}
	env.at(59*time.Minute, state(&before))
	env.at(62*time.Minute, state(&after))
	require.NoError(t, env.run(idleFor(30*time.Minute)), "not idle before the last hold has expired")
	require.Equal(t, []string{"90.00", "11.00"}, []string{before.Hold.String(), before.Available.String()})
	require.Equal(t, int64(2), before.OpenHolds)
	require.Equal(t, []string{"10.00", "91.00"}, []string{after.Hold.String(), after.Available.String()})
	require.Equal(t, []string{"_auto-create", "funds", "long", "short", "more", "_expire/short", "_expire/long"}, env.order)
	require.Zero(t, env.asset.Hold.Cmp(wallet.Amount{}))
}

// withADueHoldWhilePostgresIsAway has a hold of 80 of 100 expire after an hour, and one of 10 after
// three. From a minute before the first, steps fail while down.
func withADueHoldWhilePostgresIsAway(t *testing.T) (env *environment, down *bool) {
	env = newEnvironment(t)
	env.clock = env.Now
	env.at(time.Second, func() {
		env.signal(command(wallet.TypeAdd, "funds", "100"))
		env.signal(hold("long", "10", "3h"))
		env.signal(hold("short", "80", "1h"))
	})
	down = new(bool)
	env.fail = func(string, int) error {
		if *down {
			return errors.New("connection refused")
		}
		return nil
	}
	env.at(59*time.Minute, func() { *down = true })
	return env, down
}

// TestWhatIsDueIsAvailableBeforeItsEntry has a hold's time end while Postgres is away.
func TestWhatIsDueIsAvailableBeforeItsEntry(t *testing.T) {
	env, down := withADueHoldWhilePostgresIsAway(t)
	var state wallet.State
	details := ""
	env.at(time.Hour+2*time.Second, func() {
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		require.NoError(t, value.Get(&state))
		details = env.details()
		*down = false
	})
	require.NoError(t, env.run(idleFor(30*time.Minute)))
	require.Equal(t, []string{"100.00", "10.00", "90.00", "80.00"}, []string{state.Total.String(), state.Hold.String(), state.Available.String(), state.Due.String()})
	require.Equal(t, int64(2), state.OpenHolds, "the journal has no expiry yet")
	require.Contains(t, details, "90.00 USD available")
	require.Contains(t, env.order, "_expire/short")
}

// TestWhatSomebodyElseHasExpiredIsNotDue has the sweep of a worker expire a hold whose wallet's own
// step does not get through. The journal has the expiry then, and the total is not to be counted
// as available twice.
func TestWhatSomebodyElseHasExpiredIsNotDue(t *testing.T) {
	env, down := withADueHoldWhilePostgresIsAway(t)
	env.at(time.Hour+2*time.Second, func() {
		_, err := env.apply(nil)
		require.NoError(t, err)
		*down = false
	})
	var state wallet.State
	env.at(time.Hour+10*time.Minute, func() {
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		require.NoError(t, value.Get(&state))
	})
	require.NoError(t, env.run(idleFor(30*time.Minute)))
	require.Equal(t, []string{"100.00", "10.00", "90.00", "0"}, []string{state.Total.String(), state.Hold.String(), state.Available.String(), state.Due.String()})
}
