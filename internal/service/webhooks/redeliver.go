package webhooks

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

const (
	sqlLeaseRedelivery = `UPDATE wallet_webhook_endpoints
		SET redeliver_lease = $2, redeliver_until = clock_timestamp() + $3
		WHERE endpoint_id = $1 AND (redeliver_lease = $2 OR redeliver_until IS NULL OR redeliver_until <= statement_timestamp())
			AND state = 'active' AND retry_at IS NULL`

	sqlEndRedelivery = `UPDATE wallet_webhook_endpoints
		SET redeliver_lease = NULL, redeliver_until = NULL
		WHERE endpoint_id = $1 AND redeliver_lease = $2`

	sqlRedeliveries = `SELECT user_id, currency, version, failures
		FROM wallet_webhook_events
		WHERE endpoint_id = $1 AND retry_at <= statement_timestamp()
		ORDER BY retry_at, user_id, currency, version
		LIMIT 200`

	sqlDestination = `SELECT url, ` + secretsOf + ` FROM wallet_webhook_endpoints AS e WHERE endpoint_id = $1`

	sqlRedelivered = `DELETE FROM wallet_webhook_events WHERE endpoint_id = $1 AND user_id = $2 AND currency = $3 AND version = $4`

	sqlRedeliverLater = `UPDATE wallet_webhook_events
		SET failures = $5, last_error = $6, retry_at = clock_timestamp() + $7, parked_at = CASE WHEN $7 IS NULL THEN clock_timestamp() ELSE parked_at END
		WHERE endpoint_id = $1 AND user_id = $2 AND currency = $3 AND version = $4`
)

// single is an event to send again.
type single struct {
	UserID, Currency string
	Version          int64
	Failures         int
}

func (s single) ref() wallet.AssetRef { return wallet.AssetRef{UserID: s.UserID, Currency: s.Currency} }

// redeliver sends what somebody asked for, those of one wallet in order. One process at a time does
// it for an endpoint.
func (d *Deliverer) redeliver(ctx context.Context, endpoint string) {
	for ctx.Err() == nil {
		more, err := d.redeliverSome(ctx, endpoint)
		if err != nil && ctx.Err() == nil {
			d.Logger.Warn("could not send events again", zap.String("endpoint", endpoint), zap.Error(err))
		}
		if err != nil || !more {
			break
		}
	}
	if err := d.exec(ctx, sqlEndRedelivery, endpoint, d.lease); err != nil {
		d.Logger.Warn("could not end sending events again", zap.String("endpoint", endpoint), zap.Error(err))
	}
}

func (d *Deliverer) redeliverSome(ctx context.Context, endpoint string) (more bool, err error) {
	tag, err := d.DB.Exec(ctx, sqlLeaseRedelivery, endpoint, d.lease, leaseFor)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	var to destination
	var sealed [][]byte
	if err := d.DB.QueryRow(ctx, sqlDestination, endpoint).Scan(&to.url, &sealed); err != nil {
		return false, err
	}
	if to.secrets, err = d.openAll(sealed); err != nil {
		return false, errors.Join(err, d.noteError(ctx, endpoint, err.Error()))
	}
	found, err := d.DB.Query(ctx, sqlRedeliveries, endpoint)
	if err != nil {
		return false, err
	}
	due, err := pgx.CollectRows(found, pgx.RowToStructByPos[single])
	if err != nil || len(due) == 0 {
		return false, err
	}
	slices.SortStableFunc(due, func(a, b single) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Version, b.Version))
	})
	started := time.Now()
	group := errgroup.Group{}
	group.SetLimit(d.Concurrency)
	for len(due) > 0 {
		n := 1
		for n < len(due) && due[n].ref() == due[0].ref() {
			n++
		}
		ofWallet := due[:n]
		due = due[n:]
		group.Go(func() error {
			for _, s := range ofWallet {
				if ctx.Err() != nil || time.Since(started) >= turn {
					return nil
				}
				if goOn, err := d.redeliverOne(ctx, endpoint, to, s); err != nil || !goOn {
					return err
				}
			}
			return nil
		})
	}
	return true, group.Wait()
}

// redeliverOne sends one event again, and reports whether more can follow.
func (d *Deliverer) redeliverOne(ctx context.Context, endpoint string, to destination, s single) (goOn bool, err error) {
	var a attempt
	events, err := feed.OfWallet(ctx, d.DB, s.ref(), s.Version, s.Version, 1)
	switch {
	case errors.Is(err, feed.ErrEventMissing):
		a = attempt{result: failed, reason: err.Error()}
	case err != nil:
		return false, err
	default:
		a = d.sendObserved(ctx, endpoint, to, events[0])
	}
	key := []any{endpoint, s.UserID, s.Currency, s.Version}
	later := func(failures int, pause *time.Duration) error {
		return errors.Join(d.exec(ctx, sqlRedeliverLater, append(key, failures, a.reason, pause)...), d.noteError(ctx, endpoint, a.reason))
	}
	switch a.result {
	case delivered:
		return true, d.exec(ctx, sqlRedelivered, key...)
	case gone:
		return false, errors.Join(d.parkEndpoint(ctx, endpoint, a.reason), later(s.Failures, &a.after))
	case throttled:
		return false, errors.Join(d.exec(ctx, sqlDown, endpoint, a.after), later(s.Failures, &a.after))
	}
	if s.Failures >= len(d.Schedule) {
		return true, later(s.Failures+1, nil)
	}
	pause := d.pause(s.Failures)
	err = later(s.Failures+1, &pause)
	if s.Failures == 0 && d.isDown(endpoint) {
		return false, errors.Join(err, d.exec(ctx, sqlDown, endpoint, d.pause(0)))
	}
	return true, err
}
