// Package mutations shows that each safety mechanism is needed. A mutation is a patch that
// removes one mechanism. "make mutations" builds the program with it, and a run of torture must
// notice: a mechanism whose absence goes unnoticed is either not needed or not tested. "go
// build -overlay" applies the patches, so the source stays unchanged and the released program
// contains nothing of them.
package mutations

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valueledger/wallet/internal/dev/torture"
)

// Mutation removes one safety mechanism.
type Mutation struct {
	Name      string // the mechanism's name
	Mechanism string // what it does, in one sentence
	Edits     []Edit
	Faults    string       // the faults that reveal it, as torture's --faults
	Load      torture.Load // what reveals it, as torture's --load; LoadAll if empty
	Problems  []string     // parts of messages: a run must report a violation with one of them
}

// Edit replaces Old, which must occur exactly once in its file, with New.
type Edit struct {
	File     string // from the root of the repository, with slashes
	Old, New string
}

// WriteOverlay writes the patched files, and the file for "go build -overlay", into dir, and
// returns the path of the latter. root is the root of the repository; both paths are absolute.
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

// patch returns the text of each edited file. Edits of one file are applied in order.
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

// Packages returns the folders of the packages whose files are edited.
func (m Mutation) Packages() (packages []string) {
	for _, e := range m.Edits {
		packages = append(packages, "./"+path.Dir(e.File))
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}
