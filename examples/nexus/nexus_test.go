package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/wallettest"
)

func TestMain(m *testing.M) { wallettest.Main(m) }

func TestTheShopChargesWallets(t *testing.T) {
	wallets, user := wallettest.Start(t), wallettest.Name(t, "u")
	endpoint := wallets.NexusEndpoint(t)
	expected, err := os.ReadFile("expected.txt")
	require.NoError(t, err)
	for range 2 { // the second time, nothing is paid twice
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &out, client.Options{HostPort: wallets.TemporalAddress}, endpoint, user))
		require.Equal(t, string(expected), out.String())
	}
}
