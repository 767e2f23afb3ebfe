package wallettest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/wallettest"
)

func TestMain(m *testing.M) { wallettest.Main(m) }

func TestATestHasWalletsOfItsOwn(t *testing.T) {
	user := wallettest.Name(t, "u")
	for range 2 {
		wallets := wallettest.Start(t)
		result, err := wallets.Add(t.Context(), starter.Change{UserID: user, Currency: "EUR", CommandID: "1", Amount: wallet.MustAmount("5")})
		require.NoError(t, err)
		require.False(t, result.Replayed)
		user += "-2"
	}
}

func TestTheClockOfWalletsCanBeSet(t *testing.T) {
	wallets, user := wallettest.Start(t), wallettest.Name(t, "u")
	for _, c := range []wallet.Command{
		{ID: "1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("5")},
		{ID: "2", Type: wallet.TypeHold, Amount: wallet.MustAmount("5"), ExpiresIn: "1h"},
	} {
		_, err := wallets.Apply(t.Context(), user, "USD", c)
		require.NoError(t, err)
	}
	wallets.SetClock(2 * time.Hour)
	_, err := wallets.Apply(t.Context(), user, "USD", wallet.Command{ID: "3", Type: wallet.TypeCapture, HoldID: "2"})
	require.ErrorIs(t, err, wallet.ReasonHoldExpired)
}
