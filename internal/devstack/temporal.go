package devstack

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// Temporal is a development server with its Web UI on 127.0.0.1.
type Temporal struct {
	process *process
	cli     string
	dir     string
	Port    int
	UIPort  int
	http    int
	metrics int
}

// startTemporal starts a server on four ports: gRPC, Web UI, HTTP and metrics.
func startTemporal(ctx context.Context, cli, dir string, ports [4]int) (*Temporal, error) {
	t := &Temporal{cli: cli, dir: dir, Port: ports[0], UIPort: ports[1], http: ports[2], metrics: ports[3]}
	return t, t.Start(ctx)
}

// Start starts the server, after Stop too, and waits until it answers.
func (t *Temporal) Start(ctx context.Context) error {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command(t.cli, "server", "start-dev",
		"--ip", "127.0.0.1",
		"--port", strconv.Itoa(t.Port), "--ui-port", strconv.Itoa(t.UIPort),
		"--http-port", strconv.Itoa(t.http), "--metrics-port", strconv.Itoa(t.metrics),
		"--db-filename", filepath.Join(t.dir, "temporal.db"))
	// The server's own CLI reads the user's profile, which has no say here.
	cmd.Args = append(cmd.Args, "--disable-config-file", "--disable-config-env")
	process, err := startProcess("Temporal", cmd, filepath.Join(t.dir, "log"))
	if err != nil {
		return err
	}
	t.process = process
	return t.process.await(ctx, func(ctx context.Context) error {
		c, err := client.DialContext(ctx, client.Options{HostPort: t.Address(), Logger: log.NewStructuredLogger(quiet)})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
		return err
	})
}

// Address is where Temporal clients connect.
func (t *Temporal) Address() string { return "127.0.0.1:" + strconv.Itoa(t.Port) }

// UI is the address of the Web UI.
func (t *Temporal) UI() string { return "http://127.0.0.1:" + strconv.Itoa(t.UIPort) }

// Stop ends the server; what it has acknowledged is in its database file.
func (t *Temporal) Stop() error { return t.process.stop(syscall.SIGINT, 20*time.Second) }

// FindTemporalCLI returns the Temporal CLI: the one built beside this program
// ("make" puts both into bin/), in bin/ of a folder above the current one, or on
// PATH.
func FindTemporalCLI() (string, error) {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), "temporal"); isProgram(path) {
			return path, nil
		}
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			if path := filepath.Join(dir, "bin", "temporal"); isProgram(path) {
				return path, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	path, err := exec.LookPath("temporal")
	if err != nil {
		return "", errors.New(`the Temporal CLI is not beside this program nor on PATH: run "make bin/temporal" in the checkout, or install it (https://docs.temporal.io/cli)`)
	}
	return path, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
