package devstack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

// TemporalStore is where Temporal keeps its histories.
type TemporalStore string

// The development server on a SQLite file, which is one process and starts quickly, and a
// deployment's server on the stack's Postgres.
const (
	StoreSQLite   TemporalStore = "sqlite"
	StorePostgres TemporalStore = "postgres"
)

// Temporal is a server with its Web UI on 127.0.0.1.
type Temporal struct {
	dir       string
	ports     temporalPorts
	tls       *TLS
	programs  []program // in start order
	processes []*Process
	prepare   func(context.Context) error // before each start; may be nil
}

// program is a server program, and how to check that it is ready.
type program struct {
	name  string
	path  string
	args  []string
	log   string // file name
	ready func(context.Context) error
}

// Start starts the server, also after Stop, and waits until it answers.
func (t *Temporal) Start(ctx context.Context) error {
	t.processes = nil
	if err := t.runPrepare(ctx); err != nil {
		return err
	}
	for _, p := range t.programs {
		process, err := t.launch(p)
		if err != nil {
			return err
		}
		t.processes = append(t.processes, process)
		if err := process.Await(ctx, p.ready); err != nil {
			return err
		}
	}
	return nil
}

// Launch starts the server itself again after it has ended, without waiting.
func (t *Temporal) Launch(ctx context.Context) error {
	if err := t.runPrepare(ctx); err != nil {
		return err
	}
	process, err := t.launch(t.programs[0])
	if err == nil {
		t.processes[0] = process
	}
	return err
}

// Ready returns nil if the server answers.
func (t *Temporal) Ready(ctx context.Context) error { return t.programs[0].ready(ctx) }

// Process is the server itself, since its last start.
func (t *Temporal) Process() *Process { return t.processes[0] }

func (t *Temporal) launch(p program) (*Process, error) {
	return StartProcess(p.name, exec.Command(p.path, p.args...), filepath.Join(t.dir, p.log))
}

func (t *Temporal) runPrepare(ctx context.Context) error {
	if t.prepare == nil {
		return nil
	}
	return t.prepare(ctx)
}

// Address is where Temporal clients connect.
func (t *Temporal) Address() string { return address(t.ports.Frontend) }

// UI is the address of the Web UI.
func (t *Temporal) UI() string { return "http://" + address(t.ports.UI) }

// HTTP is the address of Temporal's HTTP API.
func (t *Temporal) HTTP() string { return "http://" + address(t.ports.HTTP) }

// PID is the process of the server itself.
func (t *Temporal) PID() int { return t.processes[0].cmd.Process.Pid }

// LogPath is the log of the server itself.
func (t *Temporal) LogPath() string { return filepath.Join(t.dir, t.programs[0].log) }

// Stop stops the server; what it has acknowledged is stored.
func (t *Temporal) Stop() error {
	var errs []error
	for i := range t.processes { // the UI before the server
		errs = append(errs, t.processes[len(t.processes)-1-i].Stop(syscall.SIGINT, 20*time.Second))
	}
	return errors.Join(errs...)
}

func (t *Temporal) dial(ctx context.Context) (client.Client, error) {
	options := client.Options{HostPort: t.Address(), Logger: log.NewStructuredLogger(quiet)}
	if t.tls != nil {
		var err error
		if options.ConnectionOptions.TLS, err = t.tls.config(); err != nil {
			return nil, err
		}
	}
	return client.DialContext(ctx, options)
}

func (t *TLS) config() (*tls.Config, error) {
	authority, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{certificate}}
	config.RootCAs.AppendCertsFromPEM(authority)
	return config, nil
}

func (t *Temporal) knowsNamespace(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
	return err
}

// temporalPorts are the ports of one server and its UI. The development server chooses the
// ports between its own services.
type temporalPorts struct {
	Frontend, UI, HTTP, Metrics, PProf                                                 int
	FrontendMembership                                                                 int
	History, HistoryMembership, Matching, MatchingMembership, Worker, WorkerMembership int
}

const temporalPortCount = 12

func newTemporalPorts(free [temporalPortCount]int) temporalPorts {
	return temporalPorts{
		Frontend: free[0], UI: free[1], HTTP: free[2], Metrics: free[3], PProf: free[4],
		FrontendMembership: free[5],
		History:            free[6], HistoryMembership: free[7],
		Matching: free[8], MatchingMembership: free[9],
		Worker: free[10], WorkerMembership: free[11],
	}
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// FindTemporalCLI returns the Temporal CLI.
func FindTemporalCLI() (string, error) { return findProgram("temporal") }

// findProgram returns one of Temporal's programs: next to this program ("make" puts all into
// bin/), in bin/ of a folder above the current one, or on PATH.
func findProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), name); isProgram(path) {
			return path, nil
		}
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			if path := filepath.Join(dir, "bin", name); isProgram(path) {
				return path, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New(name + ` is not beside this program nor on PATH: run "make bin/` + name + `" in the checkout, or install it (https://docs.temporal.io/cli, https://github.com/temporalio/temporal/releases)`)
	}
	return path, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
