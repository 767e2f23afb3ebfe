package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// CheckLinks checks that the files and headings that a document links to exist.
func CheckLinks(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, found := range link.FindAllStringSubmatch(string(text), -1) {
		file, anchor := found[1], strings.TrimPrefix(found[2], "#")
		if strings.Contains(file, "://") {
			continue
		}
		target := path
		if file != "" {
			target = filepath.Join(filepath.Dir(path), file)
		}
		CheckTarget(t, path, target, anchor)
	}
}

// CheckTarget checks that one linked file or folder, and the heading in it, exists.
func CheckTarget(t *testing.T, from, target, anchor string) {
	there, err := os.ReadFile(target)
	if err != nil {
		info, statErr := os.Stat(target)
		require.NoError(t, statErr, "%s links to %s", from, target)
		require.True(t, info.IsDir(), "%s: %v", from, err)
	}
	if anchor != "" {
		require.Contains(t, slugs(string(there)), anchor, "%s links to a heading of %s", from, target)
	}
}

// slugs returns the anchors that GitHub makes for headings.
func slugs(text string) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		slug := noSlug.ReplaceAllString(strings.ToLower(found[1]), "")
		all = append(all, strings.ReplaceAll(slug, " ", "-"))
	}
	return all
}
