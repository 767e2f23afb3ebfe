package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheArchivesHaveWhatTheirDocumentsLinkTo reads the globs of .goreleaser.yaml as
// goreleaser does: * stays in its folder, a last ** is all that is below.
func TestTheArchivesHaveWhatTheirDocumentsLinkTo(t *testing.T) {
	root := filepath.Join("..", "..")
	config, err := os.ReadFile(filepath.Join(root, ".goreleaser.yaml"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(config), "    files:\n")
	require.True(t, found)
	var globs []string
	for _, glob := range regexp.MustCompile(`(?m)^      - (\S+)$`).FindAllStringSubmatch(list, -1) {
		pattern := strings.NewReplacer(`\*\*`, `.*`, `\*`, `[^/]*`).Replace(regexp.QuoteMeta(glob[1]))
		globs = append(globs, pattern)
	}
	inArchive := regexp.MustCompile(`^(` + strings.Join(globs, "|") + `)$`)

	listed, err := exec.Command("git", "-C", root, "ls-files").Output()
	require.NoError(t, err)
	archived := map[string]bool{}
	for _, file := range strings.Fields(string(listed)) {
		if inArchive.MatchString(file) {
			for ; file != "."; file = filepath.Dir(file) { // folders are linked to as well
				archived[file] = true
			}
		}
	}
	require.True(t, archived["docs/deploy.md"])
	links := regexp.MustCompile(`\]\(([^)#\s:]+)(#[^)\s]*)?\)`)
	for file := range archived {
		if filepath.Ext(file) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		for _, link := range links.FindAllStringSubmatch(string(text), -1) {
			require.Contains(t, archived, filepath.Join(filepath.Dir(file), link[1]), "%s links to it", file)
		}
	}
}
