package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheShopOfTheNexusDoc runs the commands of docs/nexus.md next to "wallet-dev run", which
// must have created the endpoint that the shop uses.
func TestTheShopOfTheNexusDoc(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	dir := t.TempDir()
	dev := exec.Command(filepath.Join(programs, "wallet-dev"), "run", "--dir", dir)
	dev.Env = append(os.Environ(), "TEMPORAL_CONFIG_FILE="+filepath.Join(dir, "none.toml"))
	var errs bytes.Buffer
	dev.Stderr = &errs
	stdout, err := dev.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, dev.Start())
	defer func() {
		require.NoError(t, dev.Process.Signal(syscall.SIGINT))
		require.NoError(t, dev.Wait(), errs.String())
		require.NotContains(t, errs.String(), "INFO", "no log among the results")
	}()
	ready := false
	for lines := bufio.NewScanner(stdout); !ready && lines.Scan(); {
		ready = strings.Contains(lines.Text(), "Try in another terminal")
	}
	require.True(t, ready, errs.String())

	env := filepath.Join(dir, "env")
	found, err := exec.Command("sh", "-c", `. "$0" && command -v wallet`, env).Output()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(programs, "wallet")+"\n", string(found))

	doc, err := os.ReadFile(filepath.Join(root, "docs", "nexus.md"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(doc), "```sh\n")
	commands, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	commands = strings.ReplaceAll(commands, ". .wallet/env", ". '"+env+"'")
	shop := exec.Command("sh", "-e", "-c", commands)
	shop.Dir, shop.Env = root, dev.Env
	var problems bytes.Buffer
	shop.Stderr = &problems
	out, err := shop.Output()
	require.NoError(t, err, problems.String())
	expected, err := os.ReadFile(filepath.Join(root, "examples", "nexus", "expected.txt"))
	require.NoError(t, err)
	require.Equal(t, string(expected), string(out))
}
