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

	"github.com/valueledger/wallet/internal/dev/mutate"
)

// missed is what a run must find when a mechanism is taken away: one of these problems,
// under faults of these classes. "No final answer" is none of them, since an impatient
// run finds it by itself.
var missed = map[mutate.Mechanism]struct {
	faults   string
	problems []string
}{
	mutate.RowLock:        {tamperClass, []string{"a step ran into a constraint"}},
	mutate.Dedupe:         {tamperClass, []string{"a step ran into a constraint"}},
	mutate.RequestHash:    {tamperClass, []string{"that is an id_conflict"}},
	mutate.OneTransaction: {postgresTarget, []string{"a step ran into a constraint", "the balance is total"}},
	mutate.EventsOfAll:    {postgresTarget, []string{"has no event", "its event is version"}},
	mutate.Drain:          {tamperClass, []string{"was accepted, but is not recorded"}},
	mutate.Handlers:       {tamperClass, []string{"was left without an answer"}},
	mutate.Fallback:       {postgresTarget, []string{"the Go client gave up", "was accepted, but is not recorded"}},
	mutate.SignalsFirst:   {tamperClass, []string{"and comes before it"}},
	mutate.AppendOnly:     {tamperClass, []string{"the hash chain is broken"}},
}

// runs are short; a mutation that leaves wallets stuck for good takes the patience too.
const (
	mutationRun     = "30s"
	mutantsPatience = "20s"
	soundPatience   = "3m"
	mutationSeed    = "11"
)

func TestARunMissesEachMechanism(t *testing.T) {
	for _, mechanism := range mutate.Mechanisms {
		t.Run(string(mechanism), func(t *testing.T) {
			want := missed[mechanism]
			found := mutated(t, mechanism, "--faults", want.faults, "--patience", mutantsPatience)
			for _, v := range found {
				for _, problem := range want.problems {
					if strings.Contains(v.Problem, problem) {
						t.Logf("%d violations, such as %s", len(found), v.Problem)
						return
					}
				}
			}
			t.Errorf("no violation of %q among %d: %s", want.problems, len(found), found)
		})
	}
	t.Run("nothing", func(t *testing.T) { require.Empty(t, mutated(t, "", "--patience", soundPatience)) })
}

// mutated runs the programs that "make mutations" has built.
func mutated(t *testing.T, m mutate.Mechanism, args ...string) []Violation {
	args = append([]string{"torture", "-o", "json", "--seed", mutationSeed, "--duration", mutationRun, "--wallets", "12"}, args...)
	cmd := exec.CommandContext(t.Context(), "../../../bin/mutations/wallet-dev", args...)
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
