package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

func TestVersionSaysWhichBuildThisIs(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	out, errs, code := s.run("version", "-o", "json")
	require.Zero(t, code, errs)
	var b build
	require.NoError(t, json.Unmarshal([]byte(out), &b))
	require.Equal(t, runtime.Version(), b.Go)
	require.Equal(t, migrations.Latest(), b.Migration)
	require.NotEmpty(t, b.Version)

	// A release is told what it is, in the same way by the Dockerfile and by goreleaser.
	released := filepath.Join(t.TempDir(), "wallet")
	made, err := exec.Command("go", "build", "-ldflags", "-X main.version=1.2.3 -X main.commit=abc -X main.date=2026-01-31", "-o", released, ".").CombinedOutput()
	require.NoError(t, err, string(made))
	for _, argument := range []string{"version", "--version"} {
		text, err := exec.Command(released, argument).Output()
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text), "wallet 1.2.3 (commit abc of 2026-01-31, go"), string(text))
	}
}

func TestTheShellIsToldWhatMayCome(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	for _, row := range []struct {
		typed []string
		offer []string
	}{
		{[]string{"bal"}, []string{"balance\t"}},
		{[]string{"add", "u1", ""}, []string{"USD\n", "JPY\n"}},
		{[]string{"balance", "--output", ""}, []string{"table\n", "json\n"}},
		{[]string{"commands", "--status", ""}, []string{"applied\n", "unapplied\n"}},
		{[]string{"worker", "--log-level", "w"}, []string{"warn\n"}},
	} {
		out, _, code := s.run(append([]string{"__complete"}, row.typed...)...)
		require.Zero(t, code)
		for _, word := range row.offer {
			require.Contains(t, out, word, row.typed)
		}
	}
	out, _, _ := s.with("WALLET_DATABASE_URL=").run("__complete", "add", "u1", "")
	require.Equal(t, ":4\n", out, "without Postgres there is nothing to offer, and no files")
	for _, name := range []string{"bash", "zsh", "fish", "powershell"} {
		script, _, code := s.run("completion", name)
		require.Zero(t, code)
		require.Contains(t, script, "__complete")
	}
}

func TestABuildIDNeedsADeployment(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	_, errs, code := s.with("TEMPORAL_WORKER_BUILD_ID=1").run("worker")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "set TEMPORAL_DEPLOYMENT_NAME too")

	// Go gives a build a version if it finds a repository: not here.
	nameless := filepath.Join(t.TempDir(), "wallet")
	made, err := exec.Command("go", "build", "-buildvcs=false", "-o", nameless, ".").CombinedOutput()
	require.NoError(t, err, string(made))
	worker := exec.Command(nameless, "worker", "--deployment-name", "wallet")
	worker.Env = s.env
	made, err = worker.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(made), "this build has no version: set TEMPORAL_WORKER_BUILD_ID")
}
