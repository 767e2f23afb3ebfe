//go:build mutations

package torture

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/mutate"
)

// missed is what a run must find when a mechanism is taken away: one of these problems.
// "No final answer" is none of them, since an impatient run finds it by itself.
var missed = map[mutate.Mechanism][]string{
	mutate.RowLock:        {"a step ran into a constraint"},
	mutate.Dedupe:         {"a step ran into a constraint"},
	mutate.RequestHash:    {"that is an id_conflict"},
	mutate.OneTransaction: {"a step ran into a constraint", "the balance is total"},
	mutate.EventsOfAll:    {"has no event", "its event is version"},
	mutate.Drain:          {"was accepted, but is not recorded"},
	mutate.Handlers:       {"was left without an answer"},
	mutate.Fallback:       {"the Go client gave up", "was accepted, but is not recorded"},
	mutate.SignalsFirst:   {"and comes before it"},
	mutate.AppendOnly:     {"somebody changed the trail"},
}

// runs are short; a mutation that leaves wallets stuck for good takes the patience too.
const (
	mutationRun     = "30s"
	mutantsPatience = "25s"
	soundPatience   = "3m"
	mutationSeed    = "11"
)

func TestARunMissesEachMechanism(t *testing.T) {
	for _, mechanism := range mutate.Mechanisms {
		t.Run(string(mechanism), func(t *testing.T) {
			found := mutated(t, mechanism, mutantsPatience)
			for _, v := range found {
				for _, problem := range missed[mechanism] {
					if strings.Contains(v.Problem, problem) {
						t.Logf("%d violations, such as %s", len(found), v)
						return
					}
				}
			}
			t.Errorf("no violation of %q among %d: %s", missed[mechanism], len(found), found)
		})
	}
	t.Run("nothing", func(t *testing.T) { require.Empty(t, mutated(t, "", soundPatience)) })
}

// mutated runs the program that "make mutations" has built.
func mutated(t *testing.T, m mutate.Mechanism, patience string) []Violation {
	cmd := exec.CommandContext(t.Context(), "../../bin/wallet-mutations", "torture", "-o", "json",
		"--seed", mutationSeed, "--duration", mutationRun, "--patience", patience, "--wallets", "12")
	cmd.Env = append(os.Environ(), mutate.Variable+"="+string(m))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	var report Report
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		require.NoError(t, errors.Join(jsonErr, err), "%s", exit.Stderr)
	}
	require.Equal(t, len(report.Violations) > 0, err != nil, "a violation is an error")
	return report.Violations
}
