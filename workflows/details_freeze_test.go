package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestDetailsSayThatAWalletIsFrozenOrClosed(t *testing.T) {
	env := newEnvironment(t)
	var open, frozen, closed string
	var state wallet.State
	env.at(time.Second, func() { env.signal(command(wallet.TypeAdd, "funds", "1")) })
	env.at(time.Minute, func() {
		open = env.details()
		freeze := command(wallet.TypeFreeze, "freeze", "")
		freeze.What = "debits"
		env.signal(freeze)
	})
	env.at(2*time.Minute, func() {
		frozen = env.details()
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		require.NoError(t, value.Get(&state))
		env.signal(command(wallet.TypeUnfreeze, "unfreeze", ""))
		env.signal(command(wallet.TypeSubtract, "out", "1"))
		env.signal(command(wallet.TypeClose, "close", ""))
	})
	env.at(3*time.Minute, func() { closed = env.details() })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.NotContains(t, open, "Frozen")
	require.Contains(t, frozen, "> **Frozen:** debits.")
	require.Equal(t, wallet.FrozenDebits, state.Frozen)
	require.NotContains(t, closed, "Frozen")
	require.Contains(t, closed, "> **Closed.** A create opens it again.")
}

// TestTheEndOfAFreezeIsShown without a command, and without a step.
func TestTheEndOfAFreezeIsShown(t *testing.T) {
	env := newEnvironment(t)
	env.clock = env.Now
	var during, after string
	var state wallet.State
	steps := 0
	env.at(time.Second, func() {
		freeze := command(wallet.TypeFreeze, "freeze", "")
		freeze.What, freeze.ExpiresIn = "debits", "1h"
		env.signal(freeze)
	})
	env.at(time.Minute, func() { during, steps = env.details(), len(env.batches) })
	env.at(time.Hour+time.Minute, func() {
		after = env.details()
		value, err := env.QueryWorkflow(wallet.QueryState)
		require.NoError(t, err)
		require.NoError(t, value.Get(&state))
		require.Len(t, env.batches, steps)
	})
	require.NoError(t, env.run(idleFor(2*time.Hour)))
	require.Contains(t, during, "> **Frozen:** debits until ")
	require.NotContains(t, after, "Frozen")
	require.Empty(t, state.Frozen)
	require.Zero(t, state.DebitsFrozenUntil)
}
