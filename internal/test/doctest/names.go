package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names are what documents may name.
type Names struct{ Tests, Targets, Commands map[string]bool }

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	makeTarget   = regexp.MustCompile(`(?m)^([a-z][\w/-]*):`)

	namedTest    = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	namedTarget  = regexp.MustCompile("`make ([a-z][\\w/-]*)")
	namedCommand = regexp.MustCompile("(?:`|\\$ )wallet ([a-z][a-z-]*)")
)

// ReadNames reads the tests and make targets of the repository. Commands are the
// caller's to add.
func ReadNames(t *testing.T, root string) Names {
	n := Names{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	add(n.Targets, makeTarget, string(makefile))
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() != ".." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		add(n.Tests, testFunction, string(text))
		return err
	}))
	return n
}

func add(to map[string]bool, pattern *regexp.Regexp, text string) {
	for _, found := range pattern.FindAllStringSubmatch(text, -1) {
		to[found[1]] = true
	}
}

// CheckNames finds what a document names and nobody has any more.
func CheckNames(t *testing.T, path string, n Names) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, kind := range []struct {
		what    string
		pattern *regexp.Regexp
		there   map[string]bool
	}{{"test", namedTest, n.Tests}, {"target", namedTarget, n.Targets}, {"command", namedCommand, n.Commands}} {
		for _, found := range kind.pattern.FindAllStringSubmatch(string(text), -1) {
			require.True(t, kind.there[found[1]], "%s names the %s %s, which is not there", path, kind.what, found[1])
		}
	}
}
