package devstack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// startTemporalOnSQLite starts the CLI's development server, which includes the Web UI. If cli
// is empty, FindTemporalCLI finds it.
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
			// Otherwise the server's CLI would read the user's profile, which must not matter
			// here.
			"--disable-config-file", "--disable-config-env"},
	}}
	for _, setting := range settings {
		t.programs[0].args = append(t.programs[0].args, "--dynamic-config-value", setting)
	}
	return t, t.Start(ctx)
}
