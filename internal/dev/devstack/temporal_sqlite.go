package devstack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// startTemporalOnSQLite starts the CLI's development server, which has the Web UI
// in the same process. cli is found by FindTemporalCLI if empty.
func startTemporalOnSQLite(ctx context.Context, cli, dir string, ports temporalPorts, settings []string) (_ *Temporal, err error) {
	if cli == "" {
		if cli, err = FindTemporalCLI(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	t := &Temporal{dir: dir, ports: ports}
	t.programs = []program{{
		name: "Temporal", path: cli, log: "log", ready: t.knowsNamespace,
		args: []string{"server", "start-dev",
			"--ip", "127.0.0.1",
			"--port", strconv.Itoa(ports.Frontend), "--ui-port", strconv.Itoa(ports.UI),
			"--http-port", strconv.Itoa(ports.HTTP), "--metrics-port", strconv.Itoa(ports.Metrics),
			"--db-filename", filepath.Join(dir, "temporal.db"),
			// The server's own CLI reads the user's profile, which has no say here.
			"--disable-config-file", "--disable-config-env"},
	}}
	for _, setting := range settings {
		t.programs[0].args = append(t.programs[0].args, "--dynamic-config-value", setting)
	}
	return t, t.Start(ctx)
}
