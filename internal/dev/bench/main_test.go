package bench

import (
	"testing"
	"time"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// environment is the run's servers with a database of the test's own. They are
// other processes' children: their CPU time is not known here.
func environment(t *testing.T) Environment {
	return Environment{Store: "sqlite", Temporal: testenv.Temporal(t), DatabaseURL: testenv.DatabaseURL(t)}
}

// silent is no progress.
type silent struct{}

func (silent) Begin(string, time.Duration) {}
func (silent) Advance(time.Duration)       {}
func (silent) End(Row)                     {}
