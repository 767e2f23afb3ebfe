package doctest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const page = "Prose.\n\n" +
	"```console\n$ x=$((40 + \\\n  2)); echo $x at place\nold\n$ false\n$ echo $?\n```\n" +
	"<!-- test: between -->\n" +
	"```sh\ntest $x = 42\n```\n" +
	"```sql\nSELECT 1\n```\n" +
	"<!-- not run: it would fail -->\n```sh\nfalse\n```\n" +
	"<!-- go: a.go f -->\n```go\nold\n```\n"

// TestAPageIsWrittenAnew uses a page with outdated outputs and source.
func TestAPageIsWrittenAnew(t *testing.T) {
	dir, did := t.TempDir(), ""
	path := filepath.Join(dir, "page.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a\n\n// f does.\nfunc f() {}\n\nvar x int\n"), 0o644))
	*update = true
	defer func() { *update = false }()
	p := Page{
		Path: path, Root: dir, Dir: dir, Env: os.Environ(), Names: [][2]string{{"place", "there"}},
		SQL:   func(statement string) { did += statement },
		Steps: map[string]func(){"between": func() { did += "between, " }},
	}
	Check(t, p)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "Prose.\n\n"+
		"```console\n$ x=$((40 + \\\n  2)); echo $x at place\n42 at place\n$ false\n$ echo $?\n1\n```\n"+
		"<!-- test: between -->\n"+
		"```sh\ntest $x = 42\n```\n"+
		"```sql\nSELECT 1\n```\n"+
		"<!-- not run: it would fail -->\n```sh\nfalse\n```\n"+
		"<!-- go: a.go f -->\n```go\n// f does.\nfunc f() {}\n```\n", string(written))
	require.Equal(t, "between, SELECT 1\n", did)
	*update = false
	Check(t, p)
}

func TestOnlyWhatIsMadeAnewIsMasked(t *testing.T) {
	require.Equal(t, mask("12.50 at 2026-01-31 18:30:00.123456Z"), mask("12.50 at 2026-02-01 07:00:00.000001Z"))
	require.NotEqual(t, mask("12.50 at 2026-01-31"), mask("12.51 at 2026-01-31"))
}

func TestHeadingsHaveTheAnchorsOfGitHub(t *testing.T) {
	require.Equal(t, []string{"1-the-program", "id_conflict", "events-and-commands-page-by-page"},
		slugs("# 1. The program\ntext\n## id_conflict\n### Events and commands, page by page\n"))
}
