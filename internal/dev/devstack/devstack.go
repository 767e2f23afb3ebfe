// Package devstack runs what Wallet needs on one machine, for wallet-dev and for tests: a
// private Postgres cluster and a Temporal server, on 127.0.0.1 only, with all their files in
// one folder. They end with the program that started them.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// Options say where a stack lives and listens. Port 0 means a free port.
type Options struct {
	Dir              string        // everything is written here
	TemporalStore    TemporalStore // StoreSQLite if empty
	TemporalCLI      string        // for StoreSQLite; found by FindTemporalCLI if empty
	PostgresPort     int
	TemporalPort     int
	UIPort           int
	PostgresSettings []string             // such as "fsync=off"
	TemporalSettings []string             // dynamic configuration, such as "limit.historyCount.suggestContinueAsNew=100"
	Log              func(string, ...any) // reports slow steps; nil for silence
	TemporalTLS      *TLS                 // for StorePostgres; nil for none
	// PostgresProxyPort is where Temporal reaches Postgres, if something stands between them; 0
	// for Postgres itself.
	PostgresProxyPort int
}

// TLS has the files of a server that requires client certificates: the authority for both
// sides, and the server's certificate for 127.0.0.1, which its clients use too.
type TLS struct {
	CA, Cert, Key string
	AnyClient     bool // requires no client certificate
}

// Stack is a running Postgres and Temporal.
type Stack struct {
	Postgres *Postgres
	Temporal *Temporal
	lock     *flock.Flock
}

// Start starts both servers and waits until they answer. If it fails, it leaves nothing
// running.
func Start(ctx context.Context, o Options) (*Stack, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.TemporalStore == "" {
		o.TemporalStore = StoreSQLite
	}
	if o.TemporalStore != StoreSQLite && o.TemporalStore != StorePostgres {
		return nil, fmt.Errorf("store %q of Temporal is unknown: use %s or %s", o.TemporalStore, StoreSQLite, StorePostgres)
	}
	s := &Stack{lock: flock.New(filepath.Join(dir, "lock"))}
	if locked, err := s.lock.TryLock(); err != nil {
		return nil, err
	} else if !locked {
		return nil, fmt.Errorf("another process runs the servers in %s: stop it first, or choose another folder with --dir", dir)
	}
	free, err := FreePorts(1 + temporalPortCount)
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	for i, fixed := range []int{o.PostgresPort, o.TemporalPort, o.UIPort} {
		if fixed != 0 {
			free[i] = fixed
		}
	}
	ports, temporalDir := newTemporalPorts([temporalPortCount]int(free[1:])), filepath.Join(dir, "temporal")
	var start errgroup.Group
	start.Go(func() (err error) {
		s.Postgres, err = startPostgres(ctx, filepath.Join(dir, "postgres"), free[0], o.Log, o.PostgresSettings...)
		if err == nil && o.TemporalStore == StorePostgres {
			reached := s.Postgres
			if o.PostgresProxyPort != 0 {
				reached = reached.Through(o.PostgresProxyPort)
			}
			s.Temporal, err = startTemporalOnPostgres(ctx, reached, temporalDir, ports, o.TemporalSettings, o.TemporalTLS)
		}
		return err
	})
	if o.TemporalStore == StoreSQLite {
		start.Go(func() (err error) {
			s.Temporal, err = startTemporalOnSQLite(ctx, o.TemporalCLI, temporalDir, ports, o.TemporalSettings)
			return err
		})
	}
	if err := start.Wait(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop stops Temporal, then Postgres, and unlocks the folder. It may be called twice.
func (s *Stack) Stop() error {
	var errs []error
	if s.Temporal != nil {
		errs = append(errs, s.Temporal.Stop())
	}
	if s.Postgres != nil {
		errs = append(errs, s.Postgres.Stop())
	}
	return errors.Join(append(errs, s.lock.Unlock())...)
}

// Wait returns nil when ctx ends, or the reason why a server stopped.
func (s *Stack) Wait(ctx context.Context) error {
	return WaitAll(ctx, append([]*Process{s.Postgres.process}, s.Temporal.processes...)...)
}
