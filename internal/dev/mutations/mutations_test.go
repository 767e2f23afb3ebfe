package mutations

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository returns the absolute path of the repository's root.
func repository(t *testing.T) string {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	return root
}

func goCommand(t *testing.T, args ...string) {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = repository(t)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestEachMutationFitsTheSource is for anyone who changes code that a mutation patches: it
// reports within seconds that an edit no longer matches.
func TestEachMutationFitsTheSource(t *testing.T) {
	all := slices.Clone(All)
	for _, m := range Tested {
		all = append(all, m.Mutation)
	}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			overlay, err := m.WriteOverlay(repository(t), t.TempDir())
			require.NoError(t, err)
			for _, folder := range m.Packages() { // some are modules of their own
				goCommand(t, "-C", folder, "build", "-overlay", overlay, "-o", os.DevNull, ".")
			}
		})
	}
}

func TestAnEditMustMatchExactlyOnce(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "file.go"), []byte("one two two"), 0o644))
	patch := func(edits ...Edit) (string, error) {
		patched, err := Mutation{Name: "row_lock", Edits: edits}.patch(root)
		return patched["file.go"], err
	}
	text, err := patch(Edit{"file.go", "one", "1"}, Edit{"file.go", "1 two", "12"})
	require.NoError(t, err)
	require.Equal(t, "12 two", text, "the second edit is made of what the first left")

	_, err = patch(Edit{"file.go", "three", "3"})
	require.EqualError(t, err, "mutation row_lock: file.go must contain this text exactly once, but contains it 0 times:\nthree")
	_, err = patch(Edit{"file.go", "two", "2"})
	require.EqualError(t, err, "mutation row_lock: file.go must contain this text exactly once, but contains it 2 times:\ntwo")
	_, err = patch(Edit{"other.go", "one", "1"})
	require.ErrorContains(t, err, "mutation row_lock: ")
	require.ErrorIs(t, err, os.ErrNotExist)
}
