package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the outputs in docs/reads.md anew")

// TestTheOutputsInTheDocsAreReal runs each command of docs/reads.md and compares
// what it prints. "go test ./cmd/wallet -run Docs -update" writes them anew.
func TestTheOutputsInTheDocsAreReal(t *testing.T) {
	s := newPastShell(t)
	path := filepath.Join("..", "..", "docs", "reads.md")
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	var real strings.Builder
	inBlock, ran := false, 0
	for _, line := range strings.SplitAfter(string(doc), "\n") {
		if strings.HasPrefix(line, "```") {
			inBlock = strings.HasPrefix(line, "```console")
		}
		command, isCommand := strings.CutPrefix(line, "$ wallet ")
		if !inBlock || isCommand || strings.HasPrefix(line, "```") {
			real.WriteString(line)
		}
		if inBlock && isCommand {
			out, errs, _ := s.run(strings.Fields(command)...)
			real.WriteString(out + errs)
			ran++
		}
	}
	require.Positive(t, ran)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(real.String()), 0o644))
		return
	}
	require.Equal(t, real.String(), string(doc))
}
