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
	accepted   []outcome     // from the opening to the last, warm-up included
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
	accepted []outcome
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
	err = awaitSettled(ctx, target, int64(len(m.accepted)))
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
	l.accepted = make([]outcome, l.spec.Wallets)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(l.spec.Clients, 16))
	for walletIndex := range l.spec.Wallets {
		group.Go(func() error {
			outcomes, err := l.send(ctx, 0, walletIndex, []wallet.Command{opening(l.spec.Scenario)})
			if err == nil {
				l.accepted[walletIndex] = outcomes[0]
			}
			return err
		})
	}
	return group.Wait()
}

// call sends one call after the other until the load ends.
func (l *load) call(ctx context.Context, caller int) error {
	source := newSource(l.spec, caller)
	var accepted []outcome
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accepted = append(l.accepted, accepted...)
	}()
	for !l.ended.Load() && ctx.Err() == nil {
		walletIndex, commands := source.next()
		begin := time.Now()
		outcomes, err := l.send(ctx, caller, walletIndex, commands)
		if err != nil {
			return fmt.Errorf("caller %d: %w", caller, err)
		}
		l.note(len(commands), time.Since(begin))
		accepted = append(accepted, outcomes...)
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

func (l *load) send(ctx context.Context, caller, walletIndex int, commands []wallet.Command) ([]outcome, error) {
	results, err := l.target.send(ctx, caller, walletIndex, commands)
	if err != nil {
		return nil, err
	}
	if results != nil && len(results) != len(commands) {
		return nil, fmt.Errorf("%d commands got %d answers", len(commands), len(results))
	}
	outcomes := make([]outcome, len(commands))
	for i, command := range commands {
		outcomes[i] = outcome{wallet: walletIndex, command: command}
		if results != nil {
			outcomes[i].answered, outcomes[i].result = true, results[i]
		}
	}
	return outcomes, nil
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
