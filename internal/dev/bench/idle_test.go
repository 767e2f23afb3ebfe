package bench

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// TestIdleWalletsOutliveRestarts also checks that those with a timeout end, and no others.
func TestIdleWalletsOutliveRestarts(t *testing.T) {
	var out bytes.Buffer
	err := OnStack(t.Context(), t.TempDir(), devstack.StorePostgres, zap.NewNop(), func(string, ...any) {}, func(e Environment) error {
		return Idle(t.Context(), e, IdleOptions{Sizes: []int{20, 30}, Woken: 10, Window: time.Millisecond}, &out)
	})
	require.NoError(t, err, out.String())
	require.Contains(t, out.String(), "30 wallets: worker")
	require.Regexp(t, `(?s)10 wallets each.*running workflows in all: 40\n.*running workflows in all: 40\n`, out.String())
}
