package bench

import (
	"testing"
	"time"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// environment is the test run's servers with the test's own database. They are children of
// other processes, so their CPU time is unknown here.
func environment(t *testing.T) Environment {
	return Environment{Store: "sqlite", Temporal: testenv.Temporal(t), DatabaseURL: testenv.DatabaseURL(t)}
}

// silent reports no progress.
type silent struct{}

func (silent) Begin(string, time.Duration) {}
func (silent) Advance(time.Duration)       {}
func (silent) End(Row)                     {}
