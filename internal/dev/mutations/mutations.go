// Package mutations shows that each safety mechanism is needed. A mutation is a patch
// that takes one mechanism away. "make mutations" builds the program with it, and a run
// of torture must notice: a mechanism that nothing misses is either not needed or not
// tested. The patches are applied by "go build -overlay", so the source stays as it is
// and what ships knows nothing of them.
package mutations

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Mutation takes one safety mechanism away.
type Mutation struct {
	Name      string // of the mechanism
	Mechanism string // what it does, in one sentence
	Edits     []Edit
	Faults    string   // what a run does to notice, as --faults of torture
	Problems  []string // parts of messages: a run must report a violation with one of them
}

// Edit replaces Old, which its file must contain exactly once, by New.
type Edit struct {
	File     string // from the root of the repository, with slashes
	Old, New string
}

// WriteOverlay writes the patched files, and the file that "go build -overlay" wants,
// into dir, and returns the path of the latter. root is the root of the repository, both
// are absolute.
func (m Mutation) WriteOverlay(root, dir string) (string, error) {
	patched, err := m.patch(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range patched {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, filepath.FromSlash(file))] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "overlay.json")
	return to, os.WriteFile(to, overlay, 0o644)
}

// patch gives the text of each file that is edited, after all edits. Edits of one file
// are made one after the other.
func (m Mutation) patch(root string) (map[string]string, error) {
	patched := map[string]string{}
	for _, e := range m.Edits {
		text, ok := patched[e.File]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(e.File)))
			if err != nil {
				return nil, fmt.Errorf("mutation %s: %w", m.Name, err)
			}
			text = string(read)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return nil, fmt.Errorf("mutation %s: %s must contain this text exactly once, but contains it %d times:\n%s", m.Name, e.File, n, e.Old)
		}
		patched[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	return patched, nil
}

// Packages are those whose files are edited, as arguments of the go command.
func (m Mutation) Packages() (packages []string) {
	for _, e := range m.Edits {
		packages = append(packages, "./"+path.Dir(e.File))
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}
