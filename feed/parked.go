package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// Of the wallets of some ranges, where those that have to wait go on, and which events
	// are skipped.
	sqlWithheld = `SELECT user_id, currency, from_id, from_version, false
		FROM wallet_feed_parked
		WHERE consumer = $1 AND (user_id, currency) IN (SELECT * FROM unnest($2::text[], $3::text[]))
		UNION ALL
		SELECT user_id, currency, 0, version, true
		FROM wallet_feed_skipped
		WHERE consumer = $1 AND ended_at IS NULL AND (user_id, currency) IN (SELECT * FROM unnest($2::text[], $3::text[]))`

	// There can be a row already, if a person moved the consumer back.
	sqlSetAside = `INSERT INTO wallet_feed_parked (consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at)
		VALUES ($1, $2, $3, $4, $5, 1, $6, $7, clock_timestamp() + $8)
		ON CONFLICT (consumer, user_id, currency) DO UPDATE
		SET from_id = least(wallet_feed_parked.from_id, EXCLUDED.from_id), from_version = least(wallet_feed_parked.from_version, EXCLUDED.from_version),
			failures = 1, parked = EXCLUDED.parked, last_error = EXCLUDED.last_error, retry_at = EXCLUDED.retry_at`

	sqlDue = `SELECT user_id, currency, from_id, from_version, failures
		FROM wallet_feed_parked
		WHERE consumer = $1 AND retry_at <= clock_timestamp()
		ORDER BY retry_at
		LIMIT 1`

	// By version, as the index is, which is the order of the ids but for what was repaired.
	// "+ 0" keeps Postgres from reading all wallets' rows between two ids.
	sqlWaiting = `SELECT id, user_id, currency, first_version, last_version
		FROM wallet_feed
		WHERE user_id = $1 AND currency = $2 AND last_version >= $4 AND id + 0 BETWEEN $3 AND $5
			AND first_version >= coalesce((
				SELECT first_version
				FROM wallet_feed
				WHERE user_id = $1 AND currency = $2 AND first_version <= $4
				ORDER BY first_version DESC
				LIMIT 1), 1)
		ORDER BY first_version
		LIMIT $6`

	sqlWaitLonger = `UPDATE wallet_feed_parked
		SET from_version = $4, failures = $5, parked = $6, last_error = $7, retry_at = clock_timestamp() + $8
		WHERE consumer = $1 AND user_id = $2 AND currency = $3`

	sqlGoOn = `UPDATE wallet_feed_parked
		SET from_version = $4, failures = 0, parked = false, retry_at = clock_timestamp()
		WHERE consumer = $1 AND user_id = $2 AND currency = $3`

	sqlUnpark = `DELETE FROM wallet_feed_parked
		WHERE consumer = $1 AND user_id = $2 AND currency = $3`
)

// stop is where a wallet's events wait: from a version on, in no row of the feed before an
// id. The id matters for what was repaired and came late: its versions are lower than those
// that were handed out before.
type stop struct{ id, version int64 }

// reaches reports whether the events of a range have to wait.
func (s stop) reaches(r versions) bool { return r.ID >= s.id && r.Last >= s.version }

// skips are the events that a person has skipped.
type skips map[wallet.AssetRef]map[int64]bool

func (s skips) leaveOut(events []Event) []Event {
	if len(s) == 0 {
		return events
	}
	kept := events[:0]
	for _, e := range events {
		if !s[e.ref()][e.Version] {
			kept = append(kept, e)
		}
	}
	return kept
}

// withheld reads what of some ranges is not handed out: which wallets wait, and which of
// their events are skipped.
func (c *consumer) withheld(ctx context.Context, db querier, ranges []versions) (map[wallet.AssetRef]stop, skips, error) {
	users, currencies := make([]string, len(ranges)), make([]string, len(ranges))
	for i, r := range ranges {
		users[i], currencies[i] = r.UserID, r.Currency
	}
	found, err := db.Query(ctx, sqlWithheld, c.Name, users, currencies)
	if err != nil {
		return nil, nil, err
	}
	waiting, skipped := map[wallet.AssetRef]stop{}, skips{}
	var ref wallet.AssetRef
	var at stop
	var skip bool
	_, err = pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &at.id, &at.version, &skip}, func() error {
		if !skip {
			waiting[ref] = at
			return nil
		}
		if skipped[ref] == nil {
			skipped[ref] = map[int64]bool{}
		}
		skipped[ref][at.version] = true
		return nil
	})
	return waiting, skipped, err
}

// setAside has the events of a wallet wait from one on.
func (c *consumer) setAside(ctx context.Context, tx pgx.Tx, f failure) error {
	e := f.event
	_, err := tx.Exec(ctx, sqlSetAside, c.Name, e.UserID, e.Currency, e.Cursor.Row, e.Version, c.ParkAfter <= 1, rows.LastError(f.err), retryPause(1))
	return err
}

// retryPause doubles with each failure, up to a minute.
func retryPause(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 6), time.Minute)
}

// tell tells of a failure of an event alone.
func (c *consumer) tell(f failure, failures int) {
	state := "its wallet's later events wait, those of others do not"
	if failures >= c.ParkAfter {
		state = fmt.Sprintf("its wallet is parked, see \"wallet feed list %s\"", c.Name)
	}
	c.OnError(fmt.Errorf("%w (failure %d; %s)", f.err, failures, state))
}

// retry hands out the events of a wallet that waits, the one that is due first, up to the
// consumer's place. If it comes so far the wallet waits no longer. A failure counts unless
// everything fails. It reports whether there may be more to do.
func (c *consumer) retry(ctx context.Context, counts bool) (more bool, err error) {
	var w waiting
	var failed *failure
	err = c.locked(ctx, func(tx pgx.Tx, until Cursor) error {
		err := tx.QueryRow(ctx, sqlDue, c.Name).Scan(&w.UserID, &w.Currency, &w.id, &w.version, &w.failures)
		if errors.Is(err, pgx.ErrNoRows) { // another process was faster
			return nil
		} else if err != nil {
			return err
		}
		failed, more, err = c.catchUp(ctx, tx, &w, until, counts)
		return err
	})
	if err != nil && w.UserID != "" && ctx.Err() == nil {
		// What it did is undone, its turn is not: else it would come before all others.
		_, _ = c.db.Exec(ctx, sqlWaitLonger, c.Name, w.UserID, w.Currency, w.version, w.failures, w.failures >= c.ParkAfter, rows.LastError(err), time.Minute)
	}
	if err == nil && failed != nil {
		c.tell(*failed, w.failures)
	}
	return more && err == nil, err
}

// waiting is a wallet whose events wait.
type waiting struct {
	wallet.AssetRef
	stop
	failures int
}

// catchUp hands out at most a batch of a waiting wallet's events, the one that failed alone
// and first.
func (c *consumer) catchUp(ctx context.Context, tx pgx.Tx, w *waiting, until Cursor, counts bool) (*failure, bool, error) {
	events, next, err := c.waitingEvents(ctx, tx, *w, until)
	missing := err
	if err != nil && !errors.Is(err, ErrEventMissing) {
		return nil, false, err
	}
	h := c.handout(tx)
	h.wallets = 2 // it is one
	h.until = time.Now().Add(24 * time.Hour)
	first := min(len(events), 1)
	if err := h.give(ctx, events[:first]); err != nil {
		return nil, false, err
	}
	if len(h.failed) == 0 {
		if err := h.give(ctx, events[first:]); err != nil {
			return nil, false, err
		}
	}
	failed, isFailed := h.failed[w.AssetRef]
	switch {
	case isFailed:
		if failed.event.Version != w.version {
			w.version, w.failures, counts = failed.event.Version, 0, true
		}
	case missing != nil && len(events) == 0:
		failed = failure{err: missing}
	case next == 0:
		_, err := tx.Exec(ctx, sqlUnpark, c.Name, w.UserID, w.Currency)
		return nil, true, err
	default:
		_, err := tx.Exec(ctx, sqlGoOn, c.Name, w.UserID, w.Currency, next)
		return nil, true, err
	}
	if counts {
		w.failures++
	}
	_, err = tx.Exec(ctx, sqlWaitLonger, c.Name, w.UserID, w.Currency, w.version, w.failures, w.failures >= c.ParkAfter,
		rows.LastError(failed.err), retryPause(max(w.failures, 1)))
	return &failed, true, err
}

// waitingEvents reads at most a batch of events of a wallet, up to a place. It returns the
// version from which it goes on, or 0 if there are no more. With ErrEventMissing it returns
// those before the missing one.
func (c *consumer) waitingEvents(ctx context.Context, tx pgx.Tx, w waiting, until Cursor) ([]Event, int64, error) {
	found, err := tx.Query(ctx, sqlWaiting, w.UserID, w.Currency, w.id, w.version, until.Row, c.BatchSize)
	if err != nil {
		return nil, 0, err
	}
	ranges, err := pgx.CollectRows(found, pgx.RowToStructByPos[versions])
	if err != nil {
		return nil, 0, err
	}
	wanted, count, next := ranges[:0], 0, int64(0)
	for i, r := range ranges {
		if r.ID == until.Row {
			r.Last = min(r.Last, until.Version)
		}
		r.First = max(r.First, w.version)
		if room := int64(c.BatchSize - count); r.Last-r.First+1 > room || i == c.BatchSize-1 {
			r.Last = min(r.Last, r.First+room-1)
			next = max(r.Last+1, w.version)
		}
		if r.First <= r.Last {
			count += int(r.Last - r.First + 1)
			wanted = append(wanted, r)
		}
		if next != 0 {
			break
		}
	}
	events, err := load(ctx, tx, wanted, count)
	if err != nil && len(events) > 0 {
		next = events[len(events)-1].Version + 1
	}
	_, skipped, skipErr := c.withheld(ctx, tx, []versions{{UserID: w.UserID, Currency: w.Currency}})
	return skipped.leaveOut(events), next, errors.Join(err, skipErr)
}
