// Command verifybench measures "wallet verify" on a database of its own: it fills
// it through the steps of the service, runs the real program as its own process
// and prints how long that took and how much memory it held at most.
//
//	make bench-verify ENTRIES=1000000 WALLETS=10000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
)

type options struct {
	entries, wallets, parallel int
	program                    string
	fill                       string
}

func main() {
	var o options
	flag.IntVar(&o.entries, "entries", 1_000_000, "journal entries in all")
	flag.IntVar(&o.wallets, "wallets", 10_000, "wallets that share them")
	flag.IntVar(&o.parallel, "parallel", runtime.NumCPU(), "as of wallet verify")
	flag.StringVar(&o.program, "program", "bin/wallet", "the wallet program")
	flag.StringVar(&o.fill, "fill", "", "only fill the database at this URL (what the benchmark calls itself with)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := o.measure
	if o.fill != "" {
		do = o.fillDatabase
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "verifybench:", err)
		os.Exit(1)
	}
}

// measure runs the benchmark on servers of its own.
func (o options) measure(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "wallet-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // initdb's user has to pass through
		return err
	}
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
	// Filling takes memory, and a process that this one starts is not measured
	// below what this one has: so another one does it.
	fill := exec.CommandContext(ctx, os.Args[0], append(os.Args[1:], "-fill", url)...)
	fill.Stderr = os.Stderr
	if err := fill.Run(); err != nil {
		return fmt.Errorf("fill the database: %w", err)
	}
	return o.verify(ctx, dir, url)
}

// verify runs the program and prints what it took.
func (o options) verify(ctx context.Context, dir, url string) error {
	cmd := exec.CommandContext(ctx, o.program, "verify", "--parallel", strconv.Itoa(o.parallel))
	cmd.Env = append(os.Environ(), "WALLET_DATABASE_URL="+url, "TEMPORAL_CONFIG_FILE="+filepath.Join(dir, "none.toml"))
	cmd.Stderr = os.Stderr
	begin := time.Now()
	out, err := cmd.Output()
	took := time.Since(begin)
	if err != nil {
		return fmt.Errorf("wallet verify: %w\n%s", err, out)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss // KiB
	if runtime.GOOS == "darwin" {
		peak >>= 10 // bytes there
	}
	fmt.Printf("%swallets\t%d\nentries\t%d\nseconds\t%.1f\nentries/s\t%.0f\npeak memory of wallet verify\t%d MiB\nparallel\t%d\nCPUs\t%d\n",
		out, o.wallets, o.entries, took.Seconds(), float64(o.entries)/took.Seconds(), peak>>10, o.parallel, runtime.NumCPU())
	return nil
}
