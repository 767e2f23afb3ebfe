package webhooks

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/feed"
)

// work sends one wallet after the other, until none is due.
func (d *Deliverer) work(ctx context.Context, endpoint string) {
	for ctx.Err() == nil {
		c, err := d.claim(ctx, sqlClaim, endpoint)
		if err == nil {
			var a attempt
			if a, err = d.sendWallet(ctx, c); err == nil {
				err = d.settle(ctx, c, a)
			}
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				d.Logger.Warn("could not send webhooks of a wallet", zap.String("endpoint", endpoint), zap.Error(err))
			}
			return
		}
	}
}

// sendWallet sends a wallet's events in order, until one fails or its turn is over. It returns
// the last attempt; what was sent is in c.next.
func (d *Deliverer) sendWallet(ctx context.Context, c *claimed) (attempt, error) {
	if c.unreadable != nil {
		return attempt{result: throttled, reason: c.unreadable.Error(), after: time.Minute}, nil
	}
	started, saved := time.Now(), time.Now()
	for c.next <= c.last && ctx.Err() == nil && time.Since(started) < turn {
		events, err := feed.OfWallet(ctx, d.DB, c.AssetRef, c.next, c.last, pageSize)
		if len(events) == 0 && errors.Is(err, feed.ErrEventMissing) {
			return attempt{result: failed, reason: err.Error()}, nil
		} else if len(events) == 0 && err != nil {
			return attempt{}, err
		}
		for _, e := range events {
			if ctx.Err() != nil || time.Since(started) >= turn {
				break
			}
			if wants(c.events, e.EventType) && !slices.Contains(c.skipped, e.Version) {
				if a := d.sendObserved(ctx, c.endpoint, c.to, e); a.result != delivered {
					return a, nil
				}
				c.sent = true
			}
			c.next, c.failures = e.Version+1, 0
			if time.Since(saved) >= saveEvery {
				if err := d.change(ctx, sqlProgress, c, c.next, leaseFor); err != nil {
					return attempt{}, err
				}
				c.base, saved = c.next, time.Now()
			}
		}
	}
	return attempt{result: delivered}, nil
}

func (d *Deliverer) sendObserved(ctx context.Context, endpoint string, to destination, e feed.Event) attempt {
	started := time.Now()
	a := d.send(ctx, to, e)
	d.Observe(endpoint, string(a.result), time.Since(started))
	if a.result == delivered {
		d.mu.Lock()
		r := d.of(endpoint)
		r.firsts = 0
		r.delivered++
		d.mu.Unlock()
	}
	return a
}

// settle notes what became of a wallet.
func (d *Deliverer) settle(ctx context.Context, c *claimed, a attempt) error {
	if a.result == delivered {
		return d.finish(ctx, c)
	}
	if err := d.noteError(ctx, c.endpoint, a.reason); err != nil {
		return err
	}
	switch a.result {
	case gone:
		return errors.Join(d.parkEndpoint(ctx, c.endpoint, a.reason), d.release(ctx, c, c.failures, a.reason, 0))
	case throttled:
		return errors.Join(d.exec(ctx, sqlDown, c.endpoint, a.after), d.release(ctx, c, c.failures, a.reason, a.after))
	}
	c.failures++
	if c.failures == 1 && d.isDown(c.endpoint) {
		d.Logger.Warn("an endpoint of webhooks is down, and only probed from now on", zap.String("endpoint", c.endpoint), zap.String("error", a.reason))
		if err := d.exec(ctx, sqlDown, c.endpoint, d.pause(0)); err != nil {
			return err
		}
	}
	if c.failures > len(d.Schedule) {
		return d.park(ctx, c, a.reason)
	}
	return d.release(ctx, c, c.failures, a.reason, d.pause(c.failures-1))
}

// pause is one of the schedule, give or take a tenth, so that not all come at once.
func (d *Deliverer) pause(i int) time.Duration {
	pause := d.Schedule[min(i, len(d.Schedule)-1)]
	return pause*9/10 + rand.N(pause/5+1)
}
