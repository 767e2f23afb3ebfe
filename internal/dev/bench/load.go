package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

const (
	// settlePatience is how long to wait after the load without any further command being
	// applied before the missing ones count as lost.
	settlePatience = 20 * time.Second
	// settleEvery is how often this is checked.
	settleEvery = 5 * time.Millisecond
	// mostLatency caps the recorded latency of a call.
	mostLatency = time.Minute
	// progressEvery is how often progress is reported.
	progressEvery = 100 * time.Millisecond
)

// measured is the result of a run.
type measured struct {
	accepted   accepted      // from the opening to the last, warm-up included
	window     time.Duration // the rest is of this part
	commands   int64         // in calls that have returned
	settled    int64         // that have taken effect, answered or not
	latency    *hdrhistogram.Histogram
	cpu        cpuTimes
	untilEmpty time.Duration // from the last accepted command to the last applied one
}

// load is a set of callers that send as fast as they get answers.
type load struct {
	spec     Spec
	target   target
	ended    atomic.Bool // no more calls
	inWindow atomic.Bool

	mu       sync.Mutex
	latency  *hdrhistogram.Histogram // of calls that return in the window, in microseconds
	commands int64
	accepted accepted
}

// measure opens the wallets, loads them, and waits until everything is applied.
func (b *bench) measure(ctx context.Context, n int, spec Spec, target target) (measured, error) {
	l := &load{spec: spec, target: target, latency: hdrhistogram.New(1, mostLatency.Microseconds(), 3)}
	if err := l.open(ctx); err != nil {
		return measured{}, fmt.Errorf("open the wallets: %w", err)
	}
	callers, callersCtx := errgroup.WithContext(ctx)
	for caller := range spec.Clients {
		callers.Go(func() error { return l.call(callersCtx, caller) })
	}
	m, err := b.observe(callersCtx, n, l)
	l.ended.Store(true)
	if failed := callers.Wait(); failed != nil {
		return m, failed // the reason why observe was cut short, if it was
	}
	if err != nil {
		return m, err
	}
	lastAccepted := time.Now()
	m.accepted, m.commands, m.latency = l.accepted, l.commands, l.latency
	err = awaitSettled(ctx, target, int64(m.accepted.commands))
	m.untilEmpty = time.Since(lastAccepted)
	return m, err
}

// observe warms up and then measures over the window.
func (b *bench) observe(ctx context.Context, n int, l *load) (m measured, err error) {
	begin := time.Now()
	if err := b.wait(ctx, begin, l.spec.WarmUp); err != nil {
		return m, err
	}
	profiles, err := b.startProfiles(ctx, n, l.spec)
	if err != nil {
		return m, err
	}
	if m.settled, err = l.target.settled(ctx); err != nil {
		return m, err
	}
	before, err := b.environment.Processes.cpu()
	if err != nil {
		return m, err
	}
	opened := time.Now()
	l.inWindow.Store(true)
	if err := b.wait(ctx, begin, l.spec.WarmUp+l.spec.Duration); err != nil {
		return m, err
	}
	l.inWindow.Store(false)
	m.window = time.Since(opened)
	after, err := b.environment.Processes.cpu()
	if err != nil {
		return m, err
	}
	m.cpu = after.sub(before)
	settled, err := l.target.settled(ctx)
	if err != nil {
		return m, err
	}
	m.settled = settled - m.settled
	return m, profiles.stop()
}

// wait waits until a run has lasted that long, and reports its progress.
func (b *bench) wait(ctx context.Context, begin time.Time, until time.Duration) error {
	end := time.NewTimer(time.Until(begin.Add(until)))
	defer end.Stop()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			b.options.Progress.Advance(time.Since(begin))
		case <-end.C:
			return nil
		}
	}
}

// open gives each wallet its opening balance.
func (l *load) open(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	most := 16
	if l.spec.Mode.hasLanes() { // as many as go together
		most = wallet.MaxBatch
	}
	group.SetLimit(min(l.spec.Clients, most))
	for walletIndex := range l.spec.Wallets {
		group.Go(func() error {
			var opened accepted
			err := l.send(ctx, 0, request{wallet: walletIndex, commands: []wallet.Command{opening(l.spec.Scenario)}}, &opened)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.accepted.join(opened)
			return err
		})
	}
	return group.Wait()
}

// call sends one call after the other until the load ends.
func (l *load) call(ctx context.Context, caller int) error {
	source := newSource(l.spec, caller)
	var all accepted
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accepted.join(all)
	}()
	for !l.ended.Load() && ctx.Err() == nil {
		r := source.next()
		begin := time.Now()
		if err := l.send(ctx, caller, r, &all); err != nil {
			return fmt.Errorf("caller %d: %w", caller, err)
		}
		l.note(r.counts(), time.Since(begin))
	}
	return ctx.Err()
}

// note counts a call that returned within the window.
func (l *load) note(commands int, took time.Duration) {
	if !l.inWindow.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands += int64(commands)
	_ = l.latency.RecordValue(min(took, mostLatency).Microseconds()) // in range, so it cannot fail
}

// send makes a call, and notes what was accepted.
func (l *load) send(ctx context.Context, caller int, r request, noted *accepted) error {
	results, err := l.target.send(ctx, caller, r)
	if err != nil {
		return err
	}
	if results != nil && len(results) != len(r.commands) {
		return fmt.Errorf("%d commands got %d answers", len(r.commands), len(results))
	}
	wallets := r.wallets()
	for i, command := range r.commands {
		o := outcome{wallet: wallets[i], command: command}
		if results != nil {
			o.answered, o.result = true, results[i]
			if r.transfer != "" {
				o.command.ID = results[i].CommandID // made of the transaction's
			}
		}
		noted.add(o, l.spec.Mode != Floor)
	}
	return nil
}

// awaitSettled waits until as many commands have taken effect as were accepted, or no more do;
// the check then finds missing or extra ones.
func awaitSettled(ctx context.Context, t target, accepted int64) error {
	last, since := int64(-1), time.Now()
	for {
		n, err := t.settled(ctx)
		if err != nil {
			return err
		}
		if n != last {
			last, since = n, time.Now()
		}
		if n >= accepted || time.Since(since) > settlePatience {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleEvery):
		}
	}
}
