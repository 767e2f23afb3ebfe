package mutations

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/torture"
)

// wallet-dev has the command torture, which runs the program wallet next to it as its workers.
const (
	workers = "./cmd/wallet"
	program = "./cmd/wallet-dev"
)

// Runs are short; a mutation that leaves wallets permanently stuck also uses up the patience.
const (
	duration        = "30s"
	mutantsPatience = "20s"
	soundPatience   = "3m"
	seed            = "11"
)

// TestTortureNoticesEachMutation runs torture without each mechanism, and once with all of
// them. Choose with "make mutations MECHANISM='row_lock|nothing'".
func TestTortureNoticesEachMutation(t *testing.T) {
	if os.Getenv("WALLET_TEST_MUTATIONS") == "" {
		t.Skip(`run by "make mutations"`)
	}
	chosen := 0
	for _, m := range All {
		t.Run(m.Name, func(t *testing.T) {
			chosen++
			violations := tortured(t, m, "--faults", m.Faults, fmt.Sprint("--standby=", m.Faults == "promotion"), "--patience", mutantsPatience)
			for _, v := range violations {
				for _, problem := range m.Problems {
					if strings.Contains(v.Problem, problem) {
						t.Logf("%d violations, such as %s", len(violations), v.Problem)
						return
					}
				}
			}
			t.Errorf("no violation of %q among %d: %s", m.Problems, len(violations), violations)
		})
	}
	t.Run("nothing", func(t *testing.T) {
		chosen++
		require.Empty(t, tortured(t, Mutation{Name: "nothing"}, "--patience", soundPatience))
	})
	require.Positive(t, chosen, "no mechanism has such a name")
}

// tortured builds the program with a mutation and returns what a run of torture finds.
func tortured(t *testing.T, m Mutation, args ...string) []torture.Violation {
	dir := t.TempDir()
	overlay, err := m.WriteOverlay(repository(t), dir)
	require.NoError(t, err)
	goCommand(t, "build", "-overlay", overlay, "-o", dir, workers, program)

	args = append([]string{"torture", "-o", "json", "--seed", seed, "--duration", duration, "--wallets", "12", "--load", string(cmp.Or(m.Load, torture.LoadAll))}, args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "wallet-dev"), args...)
	cmd.Dir = repository(t) // its bin/ has the Temporal CLI
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	var report torture.Report
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		require.NoError(t, errors.Join(jsonErr, err), "%s", exit.Stderr)
	}
	require.Equal(t, len(report.Violations) > 0, err != nil, "a violation is an error")
	return report.Violations
}
