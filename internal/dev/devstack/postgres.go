package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresUser owns the private cluster.
const postgresUser = "wallet"

// Postgres is a private cluster on 127.0.0.1.
type Postgres struct {
	process *Process
	bin     string
	dir     string // holds data, password and log
	port    int
	pass    string
	args    []string
}

// FindDeadlocks is a setting with which Postgres looks for deadlocks before the lock_timeout of the
// steps ends them.
const FindDeadlocks = "deadlock_timeout=100ms"

// startPostgres finds or creates the cluster in dir and starts it. args are further settings,
// for example "fsync=off".
func startPostgres(ctx context.Context, dir string, port int, log func(string, ...any), args ...string) (*Postgres, error) {
	data := filepath.Join(dir, "data")
	version := 0
	if text, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err == nil {
		if version, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return nil, fmt.Errorf("%s is not Postgres data of a known version: %w", data, err)
		}
	}
	bin, err := findPostgres(ctx, filepath.Join(filepath.Dir(dir), "postgres-binaries"), version, log)
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, dir: dir, port: port, args: args}
	if version == 0 {
		if err := p.init(ctx, data); err != nil {
			return nil, err
		}
	}
	pass, err := os.ReadFile(p.passwordFile())
	if err != nil {
		return nil, err
	}
	p.pass = string(pass)
	return p, p.Start(ctx)
}

// StartPostgres starts a cluster without Temporal: see startPostgres.
func StartPostgres(ctx context.Context, dir string, settings ...string) (*Postgres, error) {
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	return startPostgres(ctx, dir, ports[0], func(string, ...any) {}, settings...)
}

// Standby copies the cluster into dir and starts the copy as a hot standby, which follows it by
// streaming replication until it is promoted. It has the same databases, roles and passwords as
// p.
func (p *Postgres) Standby(ctx context.Context, dir string, settings ...string) (*Postgres, error) {
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	standby := &Postgres{bin: p.bin, dir: dir, port: ports[0], pass: p.pass, args: settings}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(data, 0o700); err != nil { // Postgres refuses other permissions
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "pg_basebackup"), "--pgdata", data,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync", "--dbname", p.URL("postgres"))
	if err := asServerUser(cmd, data); err != nil {
		return nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	return standby, standby.Start(ctx)
}

func (p *Postgres) passwordFile() string { return filepath.Join(p.dir, "password") }

// init creates the cluster. It is moved into place only once it is complete, so an interrupted
// first start can simply be repeated.
func (p *Postgres) init(ctx context.Context, data string) error {
	unfinished := data + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil { // the server's user must be able to enter it
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	password := []byte(rand.Text())
	if err := os.WriteFile(p.passwordFile(), password, 0o600); err != nil {
		return err
	}
	// initdb's user may differ from ours and reads its own copy.
	copied := p.passwordFile() + ".initdb"
	defer os.Remove(copied)
	if err := os.WriteFile(copied, password, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "--pgdata", unfinished,
		"--username", postgresUser, "--pwfile", copied, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--no-instructions")
	for _, owned := range []string{unfinished, copied} {
		if err := asServerUser(cmd, owned); err != nil {
			return err
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return os.Rename(unfinished, data)
}

// Start starts the server, also after Stop, and waits until it answers.
func (p *Postgres) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	return p.process.Await(ctx, p.Ready)
}

// Launch starts the server without waiting.
func (p *Postgres) Launch() error {
	data := filepath.Join(p.dir, "data")
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", data,
		"-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=",
		"-c", "max_connections=200")
	for _, setting := range p.args {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	if err := asServerUser(cmd, data); err != nil {
		return err
	}
	process, err := StartProcess("Postgres", cmd, p.LogPath())
	if err == nil {
		p.process = process
	}
	return err
}

// Ready returns nil if the server answers.
func (p *Postgres) Ready(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Process is the server's first process since its last start, the parent of all others.
func (p *Postgres) Process() *Process { return p.process }

// LogPath is the server's log.
func (p *Postgres) LogPath() string { return filepath.Join(p.dir, "log") }

// PID is the server's first process, the parent of all others.
func (p *Postgres) PID() int { return p.process.cmd.Process.Pid }

// Port is where the server listens.
func (p *Postgres) Port() int { return p.port }

// Through is the same cluster, reached at the port of something that stands before it, for
// connections and standbys.
func (p *Postgres) Through(port int) *Postgres {
	return &Postgres{bin: p.bin, dir: p.dir, port: port, pass: p.pass}
}

// URL returns the connection string for a database in this cluster, as its owner.
func (p *Postgres) URL(database string) string { return p.URLOf(postgresUser, p.pass, database) }

// URLOf returns the connection string for a database in this cluster, as any role.
func (p *Postgres) URLOf(role, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// CreateDatabase creates a database if it does not exist.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) error {
	return CreateDatabase(ctx, p.URL("postgres"), name)
}

const sqlDatabaseExists = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`

// CreateDatabase creates a database on the server of url if it does not exist.
func CreateDatabase(ctx context.Context, url, name string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, sqlDatabaseExists, name).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

// Stop stops the server in Postgres's fast mode: open transactions are rolled back, committed
// data is kept.
func (p *Postgres) Stop() error { return p.process.Stop(syscall.SIGINT, 20*time.Second) }

// StopImmediately stops the server in Postgres's immediate mode: as in a crash, what was only
// in memory is lost.
func (p *Postgres) StopImmediately() error { return p.process.Stop(syscall.SIGQUIT, 20*time.Second) }

// Await calls ready until it succeeds, the process ends or ctx ends.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		attempt, cancelAttempt := context.WithTimeout(ctx, 5*time.Second)
		err := ready(attempt)
		cancelAttempt()
		if err == nil {
			return nil
		}
		if ended := p.Ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s is not ready: %w", p.name, err), ctx.Err(), p.Stop(syscall.SIGINT, 5*time.Second))
		case <-time.After(25 * time.Millisecond):
		}
	}
}
