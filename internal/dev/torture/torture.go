// Package torture tries to break wallets: it runs its own servers and workers, sends a seeded
// random load, kills, pauses and disconnects whatever it can meanwhile, heals everything, and
// compares the outcomes that callers saw with what is recorded.
package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// Options of a run. The first ones determine the plan.
type Options struct {
	Seed          uint64
	Duration      time.Duration // of load and faults; healing comes after
	TemporalStore devstack.TemporalStore
	Workers       int
	Clients       int
	Wallets       int
	Faults        []string // classes of faults; all if empty
	Standby       bool     // Postgres has a synchronous standby, which faults promote
	Load          Load     // LoadAll if empty

	Program string // the program wallet, for the workers
	Dir     string // for the servers' data and logs
	// Patience is how long after healing the last answer may take.
	Patience time.Duration
	Say      func(format string, args ...any) // reports slow steps; may be nil
	Show     func(Progress)                   // called a few times a second
}

// Load is what clients send.
type Load string

// Loads: commands in all ways, or only transactions of up to 20 legs.
const (
	LoadAll       Load = "all"
	LoadTransfers Load = "transfers"
)

// Check refuses options that make no valid plan.
func (o Options) Check() error {
	switch {
	case o.Duration < 5*time.Second:
		return fmt.Errorf("duration %s is too short for faults: give at least 5s", o.Duration)
	case o.Workers < 1:
		return errors.New("at least 1 worker is needed")
	case o.Clients < 1:
		return errors.New("at least 1 client is needed")
	case o.Load != "" && o.Load != LoadAll && o.Load != LoadTransfers:
		return fmt.Errorf("load %q is unknown: use %s or %s", o.Load, LoadAll, LoadTransfers)
	case o.Wallets < hotWallets:
		return fmt.Errorf("at least %d wallets are needed, one of each handling", hotWallets)
	}
	for _, name := range o.Faults {
		if !slices.ContainsFunc(classes, func(c weighted[string]) bool { return c.value == name }) {
			return fmt.Errorf("faults of %q are unknown: use %s", name, strings.Join(Classes(), ", "))
		}
		if name == promotionClass && !o.Standby {
			return fmt.Errorf("faults of %q need a standby: add --standby", name)
		}
	}
	return nil
}

// Run carries out a plan and checks the outcome. An error is a failure of the run itself; the
// report says what the wallets did wrong.
func Run(ctx context.Context, plan Plan) (_ *Report, err error) {
	w, err := startWorld(ctx, plan)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	r, h := newReport(plan), newHistory()
	stopShowing := showProgress(plan.Options, h)
	defer stopShowing()

	// load ends the clients' scripts; calls in progress then have until answers ends.
	load, endLoad := context.WithTimeout(ctx, plan.Options.Duration)
	defer endLoad()
	answers, giveUp := context.WithCancel(ctx)
	defer giveUp()
	callers, closeConnections, err := newCallers(0, plan.Options.Clients, w, h)
	if err != nil {
		return nil, err
	}
	defer closeConnections()
	var clients errgroup.Group
	for i, c := range callers {
		clients.Go(func() error { c.run(load, answers, plan.Script(i)); return nil })
	}
	r.Faults = w.inflict(load, h, plan.Faults)
	r.healed = time.Now()
	if err := w.awaitServers(ctx); err != nil {
		return nil, err
	}
	r.ServersBack = time.Since(r.healed)
	if r.clockRight, err = w.clock.healed(ctx, w); err != nil {
		return nil, err
	}
	impatience := time.AfterFunc(plan.Options.Patience, giveUp) // what has no answer then is a violation
	_ = clients.Wait()                                          // none fails
	impatience.Stop()
	if err := r.settle(ctx, w, h); err != nil {
		return nil, err
	}
	r.Recovery = time.Since(r.healed)
	if err := w.awaitExpiries(ctx, r.clockRight); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	stopShowing()
	r.countFaults()
	return r, r.judge(ctx, w, h)
}

const showEvery = 250 * time.Millisecond

// showProgress calls Show until stop is called.
func showProgress(o Options, h *history) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done errgroup.Group
	done.Go(func() error {
		for sleep(ctx, showEvery) {
			answered, failed := h.counts()
			o.Show(Progress{Elapsed: h.now(), Duration: o.Duration, Answered: answered, Failed: failed})
		}
		return nil
	})
	return func() {
		cancel()
		_ = done.Wait()
	}
}
