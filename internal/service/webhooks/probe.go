package webhooks

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
)

const (
	// firstFailures is how many wallets in a row, each with nothing before that failed, make an
	// endpoint down. Further failures of a wallet say nothing: it may be the event's fault.
	firstFailures = 4

	leastProbes = 4
	// mostProbes also bounds, with the time limit of a request, how long a probe takes.
	mostProbes = 64
	probeFor   = 20 * time.Second
)

const (
	sqlNoteError = `UPDATE wallet_webhook_endpoints
		SET last_error = $2, last_error_at = clock_timestamp()
		WHERE endpoint_id = $1`

	// Another process may have seen the same, or a person may have resumed it.
	sqlDown = `UPDATE wallet_webhook_endpoints
		SET retry_at = clock_timestamp() + $2
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at IS NULL`

	sqlParkEndpoint = `UPDATE wallet_webhook_endpoints
		SET state = 'parked', updated_at = now()
		WHERE endpoint_id = $1 AND state = 'active'`

	sqlClaimEndpoint = `UPDATE wallet_webhook_endpoints
		SET retry_at = clock_timestamp() + $2
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at <= statement_timestamp()
		RETURNING failures`

	sqlUp = `UPDATE wallet_webhook_endpoints
		SET failures = 0, retry_at = NULL
		WHERE endpoint_id = $1 AND state = 'active'`

	sqlStillDown = `UPDATE wallet_webhook_endpoints
		SET failures = $2, retry_at = clock_timestamp() + $3
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at IS NOT NULL`
)

// isDown counts a first failure, and reports whether there are too many in a row.
func (d *Deliverer) isDown(endpoint string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.of(endpoint)
	r.firsts++
	if r.firsts < firstFailures {
		return false
	}
	r.firsts = 0
	return true
}

// probe tries events of some wallets at an endpoint that is down, more with each time. If one gets
// through, the endpoint is up. Else the failure is counted, but not against the wallets.
func (d *Deliverer) probe(ctx context.Context, endpoint string) {
	var failures int
	err := d.DB.QueryRow(ctx, sqlClaimEndpoint, endpoint, leaseFor).Scan(&failures)
	if errors.Is(err, pgx.ErrNoRows) { // another process probes it
		return
	}
	if err == nil {
		err = d.probeWallets(ctx, endpoint, failures)
	}
	if err != nil && ctx.Err() == nil {
		d.Logger.Warn("could not probe an endpoint of webhooks", zap.String("endpoint", endpoint), zap.Error(err))
	}
}

func (d *Deliverer) probeWallets(ctx context.Context, endpoint string, failures int) error {
	tried := map[wallet.AssetRef]bool{}
	started, last := time.Now(), attempt{}
	for range min(leastProbes<<min(failures, 8), mostProbes) {
		if ctx.Err() != nil || len(tried) > 0 && time.Since(started) > probeFor {
			break
		}
		c, err := d.claim(ctx, sqlClaimProbe, endpoint)
		if errors.Is(err, pgx.ErrNoRows) {
			break
		} else if err != nil {
			return err
		}
		if tried[c.AssetRef] {
			if err := d.release(ctx, c, c.failures, last.reason, 0); err != nil {
				return err
			}
			break
		}
		tried[c.AssetRef] = true
		a, err := d.sendWallet(ctx, c)
		switch {
		case err != nil:
			return err
		case c.sent:
			return errors.Join(d.settle(ctx, c, a), d.up(ctx, endpoint))
		case a.result == delivered: // it had nothing to send, which proves nothing
			if err := d.settle(ctx, c, a); err != nil {
				return err
			}
			continue
		}
		last = a
		if err := errors.Join(d.noteError(ctx, endpoint, last.reason), d.release(ctx, c, max(c.failures, 1), last.reason, 0)); err != nil {
			return err
		}
		if last.result != failed {
			break
		}
	}
	switch {
	case last.result == "" && ctx.Err() != nil:
		return nil // another process probes it
	case last.result == "":
		return d.up(ctx, endpoint) // nothing to try
	case last.result == gone:
		return d.parkEndpoint(ctx, endpoint, last.reason)
	case failures+1 >= len(d.Schedule):
		return d.parkEndpoint(ctx, endpoint, last.reason)
	}
	return d.exec(ctx, sqlStillDown, endpoint, failures+1, max(d.pause(failures+1), last.after))
}

// up ends the probing, and tries everything that failed meanwhile.
func (d *Deliverer) up(ctx context.Context, endpoint string) error {
	defer d.poke()
	return errors.Join(d.exec(ctx, sqlUp, endpoint), d.exec(ctx, sqlRetryAll, endpoint))
}

func (d *Deliverer) parkEndpoint(ctx context.Context, endpoint, reason string) error {
	d.Logger.Error("an endpoint of webhooks is parked: nothing is sent to it until \"wallet webhook resume\"", zap.String("endpoint", endpoint), zap.String("error", reason))
	return d.exec(ctx, sqlParkEndpoint, endpoint)
}

func (d *Deliverer) noteError(ctx context.Context, endpoint, reason string) error {
	return d.exec(ctx, sqlNoteError, endpoint, reason)
}

// exec changes an endpoint. If it was removed there is nothing to change.
func (d *Deliverer) exec(ctx context.Context, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	_, err := d.DB.Exec(ctx, sql, args...)
	return err
}
