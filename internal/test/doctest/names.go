package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Names are the names that documents may use.
type Names struct{ Tests, Targets map[string]bool }

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	makeTarget   = regexp.MustCompile(`(?m)^([a-z][\w/-]*):`)

	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	namedTarget = regexp.MustCompile("`make ([a-z][\\w/-]*)")
)

// ReadNames reads the tests and make targets of the repository.
func ReadNames(t *testing.T, root string) Names {
	n := Names{map[string]bool{}, map[string]bool{}}
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

// CheckNames finds names in a document that no longer exist.
func CheckNames(t *testing.T, path string, n Names) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, kind := range []struct {
		what    string
		pattern *regexp.Regexp
		there   map[string]bool
	}{{"test", namedTest, n.Tests}, {"target", namedTarget, n.Targets}} {
		for _, found := range kind.pattern.FindAllStringSubmatch(string(text), -1) {
			require.True(t, kind.there[found[1]], "%s names the %s %s, which is not there", path, kind.what, found[1])
		}
	}
}

// CheckCommands finds commands in documents that the program does not have.
func CheckCommands(t *testing.T, root string, program *cobra.Command) {
	named := regexp.MustCompile("(?:`|\\$ )" + program.Name() + " ([a-z][a-z-]*)")
	program.InitDefaultCompletionCmd() // otherwise only added when the program runs, as help is
	program.InitDefaultHelpCmd()
	commands := map[string]bool{}
	for _, command := range program.Commands() {
		commands[command.Name()] = true
	}
	for _, page := range Pages(t, root) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, found := range named.FindAllStringSubmatch(string(text), -1) {
			require.True(t, commands[found[1]], "%s names the command %s of %s, which is not there", page, found[1], program.Name())
		}
	}
}

// Pages returns the documents of the repository.
func Pages(t *testing.T, root string) (pages []string) {
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		require.NoError(t, err)
		require.NotEmpty(t, found)
		pages = append(pages, found...)
	}
	return pages
}

var sentCommand = regexp.MustCompile("wallet (?:create|add|subtract|hold|capture|release) (\\S+) ([A-Z]+)[^`\n]* --id ([^\\s`]+)")

// CheckIDs checks that no command of a page has the id of another page's, in the same wallet:
// whoever follows one page after the other would have it refused.
func CheckIDs(t *testing.T, pages []string) {
	first := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, found := range sentCommand.FindAllStringSubmatch(string(text), -1) {
			command := strings.Join(found[1:], " ")
			if _, taken := first[command]; !taken {
				first[command] = page
			}
			require.Equal(t, first[command], page, "%s was sent on another page: use another user", command)
		}
	}
	require.NotEmpty(t, first)
}
