package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/bench"
)

func TestBenchStartsItsServersAndWritesWhatItMeasured(t *testing.T) {
	dir := t.TempDir()
	plot, markdown, profiles := filepath.Join(dir, "plot.svg"), filepath.Join(dir, "report.md"), filepath.Join(dir, "profiles")

	out, errs, code := run(t, "bench", "--mode", "update", "--clients", "2", "--duration", "300ms",
		"--plot", plot, "--markdown", markdown, "--profile-dir", profiles, "-o", "json")
	require.Equal(t, 0, code, errs)
	require.Contains(t, errs, "postgres: hot by update, 2 clients", "progress is on the other stream")

	var report bench.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.NotEmpty(t, report.Machine.Postgres)
	require.Equal(t, "fsync=on full_page_writes=on shared_buffers=128MB synchronous_commit=on", report.Machine.PostgresSet)
	require.NotEmpty(t, report.Machine.Temporal)
	require.Len(t, report.Rows, 5, "three floors, the textbook, and what was asked for")
	require.Equal(t, "postgres", report.Rows[4].Store)

	for _, file := range []string{plot, markdown} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, content)
	}
	for _, pattern := range []string{"*hot-update-2x1.client.pprof", "*hot-update-2x1.temporal.pprof"} {
		found, err := filepath.Glob(filepath.Join(profiles, pattern))
		require.NoError(t, err)
		require.Len(t, found, 1, pattern)
	}
}

func TestBenchRefusesWhatItCannotRun(t *testing.T) {
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"--scenario", "cold"}, `scenario "cold" is unknown`},
		{[]string{"--subtract", "some"}, `--subtract "some" is not a share`},
		{[]string{"--temporal-store", "tape", "--duration", "1s"}, `store "tape" of Temporal is unknown`},
	} {
		_, errs, code := run(t, append([]string{"bench"}, row.args...)...)
		require.Equal(t, 1, code)
		require.Contains(t, errs, row.message)
	}
}
