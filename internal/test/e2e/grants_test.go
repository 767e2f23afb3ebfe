package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// TestAGrantExpiresByItself leaves the expiry to the timer of the wallet's workflow.
func TestAGrantExpiresByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	change := w.change("credits", "10")
	change.ExpiresIn = "1s"
	r, err := w.wallets.Add(context.Background(), change)
	require.NoError(t, err)
	require.Equal(t, r.RecordedAt.Add(time.Second), r.GrantExpiresAt)
	_, err = w.wallets.Add(context.Background(), w.change("own", "3"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		asset, err := w.read.Asset(context.Background(), w.user, "USD")
		return err == nil && asset.OpenGrants == 0 && asset.Total.Cmp(wallet.MustAmount("3")) == 0
	}, 30*time.Second, 50*time.Millisecond)
}
