// Package verifybench measures "wallet verify" on its own database: it fills the database with
// the service's steps, runs the real program as a separate process and prints how long that
// took and its peak memory.
package verifybench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
)

// Options of a measurement.
type Options struct {
	Entries  int // total over all journals
	Wallets  int // that share them
	Parallel int // as for wallet verify

	Scattered bool // the entries of a wallet are not next to each other

	Program string // the program wallet
	// Step returns a process that calls Fill or Verify. A process inherits its parent's peak
	// memory, so the parent of wallet verify must have done nothing else.
	Step func(ctx context.Context, name, databaseURL string) *exec.Cmd
}

// The names of the steps.
const (
	FillStep   = "fill"
	VerifyStep = "verify"
)

// Measure creates the database, fills and verifies it, and prints the time and memory.
func Measure(ctx context.Context, o Options, out io.Writer) (err error) {
	dir, remove, err := devstack.TemporaryFolder("wallet-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	stack, err := devstack.Start(ctx, devstack.Options{Dir: dir, PostgresSettings: []string{"fsync=off"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	if err := stack.Postgres.CreateDatabase(ctx, "bench"); err != nil {
		return err
	}
	url := stack.Postgres.URL("bench")
	if _, err := migrations.Up(ctx, url); err != nil {
		return err
	}
	for _, name := range []string{FillStep, VerifyStep} {
		step := o.Step(ctx, name, url)
		step.Stdout, step.Stderr = out, os.Stderr
		step.Cancel = func() error { return step.Process.Signal(os.Interrupt) } // it then stops its own child process
		if err := step.Run(); err != nil {
			return fmt.Errorf("%s the database: %w", name, err)
		}
	}
	return nil
}

// Verify runs the program and prints its time and memory, and the time of "wallet totals".
func Verify(ctx context.Context, o Options, databaseURL string, out io.Writer) error {
	verified, err := o.run(ctx, databaseURL, "verify", "--parallel", strconv.Itoa(o.Parallel))
	if err != nil {
		return err
	}
	totals, err := o.run(ctx, databaseURL, "totals")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%swallets\t%d\nentries\t%d\nseconds\t%.1f\nentries/s\t%.0f\npeak memory of wallet verify\t%d MiB\nparallel\t%d\nCPUs\t%d\nseconds of wallet totals\t%.1f\n",
		verified.printed, o.Wallets, o.Entries, verified.took.Seconds(), float64(o.Entries)/verified.took.Seconds(), verified.peak>>20, o.Parallel, runtime.NumCPU(), totals.took.Seconds())
	return err
}

// ended is what a run of the program printed, and what it took.
type ended struct {
	printed []byte
	took    time.Duration
	peak    int64 // bytes
}

func (o Options) run(ctx context.Context, databaseURL string, args ...string) (e ended, err error) {
	cmd := exec.CommandContext(ctx, o.Program, args...)
	cmd.Env = append(os.Environ(), "WALLET_DATABASE_URL="+databaseURL)
	cmd.Stderr = os.Stderr
	begin := time.Now()
	e.printed, err = cmd.Output()
	e.took = time.Since(begin)
	if err != nil {
		return e, fmt.Errorf("wallet %s: %w\n%s", args[0], err, e.printed)
	}
	e.peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS != "darwin" { // where it is bytes
		e.peak <<= 10
	}
	return e, nil
}
