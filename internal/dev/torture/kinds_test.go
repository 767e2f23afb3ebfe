package torture

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/model"
)

// TestBothModelsHaveARuleForEachType: they list the types by themselves, and panic at others.
func TestBothModelsHaveARuleForEachType(t *testing.T) {
	for _, kind := range wallet.CallersKinds() {
		c := wallet.Command{ID: "a", Type: kind.Type, HoldID: "h"}
		require.NotPanics(t, func() { balance{exists: true, total: "1"}.apply(c, false, time.Now(), 2) }, kind.Type)
		require.NotPanics(t, func() { model.New(2).Apply([]model.Command{{ID: "a", Type: string(kind.Type), HoldID: "h"}}) }, kind.Type)
	}
	made := wallet.Command{ID: "a", Type: "made up"}
	require.Panics(t, func() { balance{exists: true, total: "1"}.apply(made, false, time.Now(), 2) })
	require.Panics(t, func() { model.New(2).Apply([]model.Command{{ID: "a", Type: "made up"}}) })

	sent := map[wallet.CommandType]bool{}
	script := Plan{Options: Options{Seed: 1, Clients: 1}, Wallets: make([]Wallet, 8)}.Script(0)
	for range 2000 {
		for _, send := range script.Next().Sends {
			for _, c := range send.Commands {
				sent[c.Type] = true
			}
		}
	}
	for _, kind := range wallet.CallersKinds() {
		require.True(t, sent[kind.Type], fmt.Sprintf("no script sends a %s", kind.Type))
	}
}
