package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestTheShopChargesWallets(t *testing.T) {
	temporal, queue := testenv.Temporal(t), testenv.Unique(t, "queue")
	endpoint := strings.ReplaceAll(testenv.Unique(t, "shop"), "_", "-")
	wallets, err := service.Start(t.Context(), service.Options{
		Temporal: temporal, Namespace: client.DefaultNamespace, Pool: testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))),
		TaskQueue: queue, Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	defer wallets.Stop()
	require.NoError(t, nexushandler.RegisterEndpoint(t.Context(), temporal, endpoint, client.DefaultNamespace, queue))

	expected, err := os.ReadFile("expected.txt")
	require.NoError(t, err)
	user := testenv.Unique(t, "u")
	for range 2 { // the second time, nothing is paid twice
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &out, client.Options{HostPort: testenv.TemporalAddress(t)}, endpoint, user))
		require.Equal(t, string(expected), out.String())
	}
}
