package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/doctest"
)

// TestTheOutputsInTheDocsAreReal runs each command of docs/reads.md and compares
// what it prints. "go test ./cmd/wallet -run Docs -update" writes them anew.
func TestTheOutputsInTheDocsAreReal(t *testing.T) {
	s := newPastShell(t)
	doctest.Check(t, doctest.Page{Path: docsPath("reads.md"), Dir: t.TempDir(), Env: withPrograms(s.env)})
}

func docsPath(name ...string) string {
	return filepath.Join(append([]string{"..", "..", "docs"}, name...)...)
}

// withPrograms puts wallet, and others, on the PATH.
func withPrograms(env []string, programs ...string) []string {
	path := filepath.Dir(binary)
	for _, program := range programs {
		path += string(filepath.ListSeparator) + filepath.Dir(program)
	}
	return append(env, "PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func TestMakeHelpIsAligned(t *testing.T) {
	cmd := exec.Command("make", "--no-print-directory", "help")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Greater(t, len(lines), 10)
	for _, line := range lines {
		require.Regexp(t, `^[a-z/-]+ +\S`, line)
		require.Equal(t, len(lines[0])-len(strings.TrimLeft(lines[0][len("help"):], " ")), len(line)-len(strings.TrimLeft(line[strings.Index(line, " "):], " ")), line)
	}
}

// TestTheDocsNameWhatThereIs looks for all that the docs link to, and for the tests, make
// targets and commands that they name.
func TestTheDocsNameWhatThereIs(t *testing.T) {
	root := filepath.Join("..", "..")
	names := doctest.ReadNames(t, root)
	for _, page := range doctest.Pages(t, root) {
		doctest.CheckLinks(t, page)
		doctest.CheckNames(t, page, names)
	}
	doctest.CheckCommands(t, root, newRootCommand())
}

func TestPagesDoNotReuseEachOthersCommandIDs(t *testing.T) {
	doctest.CheckIDs(t, doctest.Pages(t, filepath.Join("..", "..")))
}

// TestEachAlertSaysWhatToDo follows its runbook_url, which is of this repository.
func TestEachAlertSaysWhatToDo(t *testing.T) {
	root := filepath.Join("..", "..")
	rules, err := os.ReadFile(filepath.Join(root, "deploy", "observability", "alerts.yml"))
	require.NoError(t, err)
	doc, err := os.ReadFile(docsPath("metrics.md"))
	require.NoError(t, err)
	runbook := regexp.MustCompile(`(?m)^ +runbook_url: https://github\.com/valueledger/wallet/blob/main/(\S+)#(\S+)$`)
	alerts := strings.Split(string(rules), "- alert: ")[1:]
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		name, _, _ := strings.Cut(alert, "\n")
		url := runbook.FindStringSubmatch(alert)
		require.NotNil(t, url, "%s has no runbook_url", name)
		if url[1] == "docs/metrics.md" {
			require.Contains(t, string(doc), "| `"+name+"` |", "nobody is told what to do about it")
		}
		doctest.CheckTarget(t, name, filepath.Join(root, url[1]), url[2])
	}
}
