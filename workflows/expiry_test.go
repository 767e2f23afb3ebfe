package workflows_test

import (
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
