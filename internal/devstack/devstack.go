// Package devstack runs what Wallet needs on one machine, for "wallet dev" and
// for tests: a private Postgres cluster and a Temporal development server, on
// 127.0.0.1 only, with everything they write under one folder, and gone when the
// program that started them ends.
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

// Options say where a stack lives and listens. A port of 0 is a free one.
type Options struct {
	Dir              string // everything is written here
	TemporalCLI      string // found by FindTemporalCLI if empty
	PostgresPort     int
	TemporalPort     int
	UIPort           int
	PostgresSettings []string             // such as "fsync=off"
	Log              func(string, ...any) // what takes long; nil for silence
}

// Stack is a running Postgres and Temporal.
type Stack struct {
	Postgres *Postgres
	Temporal *Temporal
	lock     *flock.Flock
}

// Start starts both servers side by side and waits until they answer. On failure
// nothing is left running.
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
	if o.TemporalCLI == "" {
		if o.TemporalCLI, err = FindTemporalCLI(); err != nil {
			return nil, err
		}
	}
	s := &Stack{lock: flock.New(filepath.Join(dir, "lock"))}
	if locked, err := s.lock.TryLock(); err != nil {
		return nil, err
	} else if !locked {
		return nil, fmt.Errorf("another process runs the servers in %s: stop it first, or choose another folder with --dir", dir)
	}
	ports, err := freePorts(5)
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	for i, fixed := range []int{o.PostgresPort, o.TemporalPort, o.UIPort} {
		if fixed != 0 {
			ports[i] = fixed
		}
	}
	var start errgroup.Group
	start.Go(func() (err error) {
		s.Postgres, err = startPostgres(ctx, filepath.Join(dir, "postgres"), ports[0], o.Log, o.PostgresSettings...)
		return err
	})
	start.Go(func() (err error) {
		s.Temporal, err = startTemporal(ctx, o.TemporalCLI, filepath.Join(dir, "temporal"), [4]int(ports[1:]))
		return err
	})
	if err := start.Wait(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends Temporal, then Postgres, and gives up the folder. It may be called
// twice.
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

// Wait returns nil when ctx ends, or the reason why a server ended by itself.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.Postgres.process.done:
		return s.Postgres.process.ended()
	case <-s.Temporal.process.done:
		return s.Temporal.process.ended()
	}
}
