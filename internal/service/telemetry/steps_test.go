package telemetry_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// TestATimeAheadOfTheClockIsCounted has Postgres's clock an hour ahead for one command.
func TestATimeAheadOfTheClockIsCounted(t *testing.T) {
	const metric = "wallet_time_ahead_total"
	w := watch(t)
	defer w.Stop()
	add := func(id string) {
		_, err := w.wallets.Add(t.Context(), w.change(id, "1"))
		require.NoError(t, err)
	}
	require.Contains(t, w.scrape(), metric)
	add("before")
	w.clock.Set(4 * time.Second)
	add("within the tolerance")
	require.Zero(t, w.count(metric))
	w.clock.Set(time.Hour)
	add("in an hour")
	require.EqualValues(t, 1, w.count(metric), "at once")
	w.clock.Set(0)
	add("after")
	add("after that")
	require.EqualValues(t, 3, w.count(metric), "and as long as entries go by that time")
	inLane, err := starter.New(w.temporal, starter.Options{TaskQueue: w.queue, Lanes: 1})
	require.NoError(t, err)
	_, err = inLane.Add(t.Context(), w.change("in a lane", "1"))
	require.NoError(t, err)
	require.EqualValues(t, 4, w.count(metric))
	_, err = w.wallets.Transfer(t.Context(), starter.Transfer{ID: w.user, FromUserID: w.user, ToUserID: w.user + "-2", Currency: "USD", Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
	require.GreaterOrEqual(t, w.count(metric), 5.0, "and one where the workflow of a wallet was told of it")
	logged := w.logs.FilterMessageSnippet("ahead of this worker's clock").All()
	require.Len(t, logged, 1)
	require.Regexp(t, "^(59m5|1h0m)", logged[0].ContextMap()["ahead"])
	require.Equal(t, "wallet-asset/USD/"+w.user, logged[0].ContextMap()["WorkflowID"])
}
