package mutations

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTestsNoticeEachMutation runs the test of each mechanism of Tested without it.
func TestTestsNoticeEachMutation(t *testing.T) {
	if os.Getenv("WALLET_TEST_MUTATIONS") == "" {
		t.Skip(`run by "make test-mutations"`)
	}
	for _, m := range Tested {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := m.WriteOverlay(repository(t), t.TempDir())
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "go", "-C", m.Package, "test", "-count=1", "-vet=off", "-overlay", overlay, "-run", "^"+m.Test+"$", ".") // some are modules of their own
			cmd.Dir = repository(t)
			out, err := cmd.CombinedOutput()
			var failed *exec.ExitError
			require.True(t, errors.As(err, &failed), "%s passes without it: %s", m.Test, out)
			require.Contains(t, string(out), "--- FAIL: "+m.Test, "it fails for another reason")
		})
	}
}
