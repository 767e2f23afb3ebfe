// Package wallettest gives tests of programs beside the wallets real ones: on a Postgres, which it
// finds or downloads, and a Temporal, whose CLI must be on the PATH.
package wallettest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// Main is the TestMain of a package: the servers run for as long as its tests.
func Main(m *testing.M) { testenv.Main(m) }

// Wallets are a test's own, in a database of its own; a worker applies commands until the test ends.
type Wallets struct {
	*starter.Client
	Temporal        client.Client
	OwnerURL        string // of the database, for the owner of the wallets' tables
	TemporalAddress string
	TaskQueue       string
	clock           testenv.Clock
}

// Start starts wallets. All tests share one Temporal, so each needs users of its own: see Name.
func Start(t testing.TB) *Wallets {
	w := &Wallets{Temporal: testenv.Temporal(t), OwnerURL: testenv.DatabaseURL(t), TemporalAddress: testenv.TemporalAddress(t), TaskQueue: Name(t, "queue")}
	w.clock = testenv.NewClock(t, w.OwnerURL)
	worker, err := service.Start(t.Context(), service.Options{
		Temporal: w.Temporal, Namespace: client.DefaultNamespace, Pool: testenv.Pool(t, w.clock.URL), TaskQueue: w.TaskQueue, Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	t.Cleanup(worker.Stop)
	w.Client, err = starter.New(w.Temporal, starter.Options{TaskQueue: w.TaskQueue})
	require.NoError(t, err)
	return w
}

// NexusEndpoint makes an endpoint that leads to the wallets from every namespace.
func (w *Wallets) NexusEndpoint(t testing.TB) (endpoint string) {
	endpoint = strings.ReplaceAll(Name(t, "wallets"), "_", "-")
	require.NoError(t, nexushandler.RegisterEndpoint(t.Context(), w.Temporal, endpoint, client.DefaultNamespace, w.TaskQueue))
	return endpoint
}

// SetClock sets the wallets' clock to the right time and ahead. Only what a command or a read needs
// happens then: no timer of Temporal ends earlier.
func (w *Wallets) SetClock(ahead time.Duration) { w.clock.Set(ahead) }

// Name returns a name that no other test has, such as of a user.
func Name(t testing.TB, prefix string) string { return testenv.Unique(t, prefix) }

// DatabaseURL makes an empty database for the program's own tables, until the test ends.
func DatabaseURL(t testing.TB) string { return testenv.EmptyDatabaseURL(t) }
