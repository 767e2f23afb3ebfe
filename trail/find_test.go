package trail_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestAnIDIsFoundInAllWallets has one id in two of many wallets, of which one has refused it.
func TestAnIDIsFoundInAllWallets(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	_, err := db.Exec(t.Context(), `INSERT INTO wallets SELECT 'n' || n FROM generate_series(1, 6000) AS n`) // more than one look
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `INSERT INTO wallet_assets (user_id, currency, created_at, updated_at) SELECT 'n' || n, 'USD', now(), now() FROM generate_series(1, 6000) AS n`)
	require.NoError(t, err)
	for user, kind := range map[string]wallet.CommandType{"u0002": wallet.TypeAdd, "zoe": wallet.TypeSubtract} {
		_, err := activities.New(db).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
			AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"},
			Commands: []wallet.Received{{Command: wallet.Command{ID: "order-7", Type: kind, Amount: wallet.MustAmount("1")}}},
		})
		require.NoError(t, err)
	}
	found := map[string]wallet.Status{}
	collect := func(e wallet.Entry) error { found[e.UserID] = e.Status; return nil }
	require.NoError(t, trail.New(db).Find(t.Context(), "order-7", collect))
	require.Equal(t, map[string]wallet.Status{"u0002": wallet.StatusApplied, "zoe": wallet.StatusUnapplied}, found)
	require.NoError(t, trail.New(db).Find(t.Context(), "order-8", func(wallet.Entry) error { t.Fail(); return nil }))
}
