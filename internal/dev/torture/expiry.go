package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/valueledger/wallet"
)

const (
	// aimPatience is how long a fault waits for a hold that is about to expire.
	aimPatience = 2 * time.Second
	// aimAhead is how far ahead the expiry must be at least, so that the fault is in time.
	aimAhead = 50 * time.Millisecond
	// A kill comes between earliestShot before the expiry and latestShot after it: the timer,
	// its workflow task and the step take about that long on a busy machine.
	earliestShot = 10 * time.Millisecond
	latestShot   = 240 * time.Millisecond
)

// expiry is a moment at which a kill was aimed. Its times are of the service's clock.
type expiry struct {
	of     wallet.AssetRef
	holdID string
	due    time.Time
	killed time.Time
}

// sqlNextExpiry has the service's clock.
const sqlNextExpiry = `SELECT user_id, currency, hold_id, expires_at, extract(epoch FROM expires_at - clock.clock_timestamp())::float8
	FROM wallet_holds
	WHERE state = 'open' AND expires_at > clock.clock_timestamp() + $1::interval
	ORDER BY expires_at
	LIMIT 1`

// nextExpiry finds the next expiry, and when that is by this process's clock.
func (w *world) nextExpiry(ctx context.Context) (next expiry, at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, aimPatience)
	defer cancel()
	var left float64
	err = w.owner.QueryRow(ctx, sqlNextExpiry, aimAhead).Scan(&next.of.UserID, &next.of.Currency, &next.holdID, &next.due, &left)
	if err != nil {
		return next, at, fmt.Errorf("no expiry to aim at: %w", err)
	}
	return next, time.Now().Add(time.Duration(left * float64(time.Second))), nil
}

// killAtExpiry kills the target at the next expiry, and restarts it after the fault's time.
func (w *world) killAtExpiry(ctx context.Context, f Fault) (target expiry, err error) {
	over := time.Now().Add(f.For)
	var due time.Time
	looking, cancel := context.WithTimeout(ctx, aimPatience)
	defer cancel()
	if err := untilHit(looking, func() (err error) {
		if target, due, err = w.nextExpiry(looking); err == nil && time.Until(due) > aimPatience {
			err = fmt.Errorf("the next hold expires only in %s", time.Until(due))
		}
		return err
	}); err != nil {
		return target, err
	}
	shot := time.Duration(f.Strength*float64(earliestShot+latestShot)) - earliestShot
	if !sleep(ctx, time.Until(due.Add(shot))) {
		return target, ctx.Err()
	}
	s := w.servers[f.Target]
	killed, err := s.kill()
	if err != nil {
		return target, err
	}
	target.killed = target.due.Add(killed.Sub(due))
	sleep(ctx, time.Until(over))
	s.end()
	if late := killed.Sub(due); late > time.Second {
		return target, fmt.Errorf("the kill came %s after the expiry", late)
	}
	return target, nil
}

// outcome says how far the service was with the expiry when the kill came.
func (x expiry) outcome(c *walletCheck) string {
	e, recorded := c.entries[expirePrefix+x.holdID]
	switch {
	case !recorded || !e.HoldExpiresAt.Equal(x.due): // it was closed or prolonged
		return notExpired
	case e.RecordedAt.After(x.killed):
		return expiredAfter
	default:
		return expiredBefore
	}
}
