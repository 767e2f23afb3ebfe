package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

const (
	// sweepGrace leaves a wallet's own workflow, which has a timer and records events, the
	// time to be first.
	sweepGrace = 15 * time.Second
	// sweepPatience is how long one wallet may take. A deadline also keeps a step from waiting
	// for a locked one for ever.
	sweepPatience = 5 * time.Second
	// sweepers wallets are seen to at a time, on at most half of the connections.
	sweepers = 4
	// sweepLimit is how many holds one look-up reads, and sweepShare how many of their wallets
	// are seen to before the next. They are chosen at random: other workers sweep at the same
	// time, and find the same.
	sweepLimit = 1000
	sweepShare = 100
	// A wallet that failed is left alone for so long, twice as long each time: or a few that
	// cannot be helped would take the time, and the place in a look-up, of all others.
	sweepFirstPause = 15 * time.Second
	sweepLastPause  = 10 * time.Minute
	// sweepMemory is how far the first sweep of a worker looks back for events that a worker
	// which died did not record; later ones go on from there. sweepOverlap is more than passes
	// between the time of an entry and its commit.
	sweepMemory  = 24 * time.Hour
	sweepOverlap = time.Minute
	// sweepErrors is how many failures of a sweep are told one by one.
	sweepErrors = 10
)

const (
	sqlSweepUntil = `SELECT clock_timestamp() - $1::interval`

	sqlOverdue = `SELECT DISTINCT user_id, currency
		FROM (
			(SELECT user_id, currency
			FROM wallet_holds
			WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= $1
				AND (user_id, currency) NOT IN (SELECT u, c FROM unnest($2::text[], $3::text[]) AS failed (u, c))
			ORDER BY expires_at
			LIMIT $4)
			UNION ALL
			(SELECT user_id, currency
			FROM wallet_grants
			WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= $1
				AND (user_id, currency) NOT IN (SELECT u, c FROM unnest($2::text[], $3::text[]) AS failed (u, c))
			ORDER BY expires_at
			LIMIT $4)) AS overdue`

	// The trail of a wallet is complete if it has the event of the last version.
	sqlExpiredUnrecorded = `SELECT DISTINCT user_id, currency
		FROM (
			(SELECT user_id, currency
			FROM wallet_holds AS h
			WHERE state = 'expired' AND updated_at > $5 AND updated_at <= $1
				AND (user_id, currency) NOT IN (SELECT u, c FROM unnest($2::text[], $3::text[]) AS failed (u, c))
				AND (
					SELECT true
					FROM wallet_assets AS a
					JOIN wallet_asset_events AS e ON e.user_id = a.user_id AND e.currency = a.currency AND e.version = a.version
					WHERE a.user_id = h.user_id AND a.currency = h.currency) IS NULL
			ORDER BY updated_at
			LIMIT $4)
			UNION ALL
			(SELECT user_id, currency
			FROM wallet_grants AS g
			WHERE expired > 0 AND updated_at > $5 AND updated_at <= $1
				AND (user_id, currency) NOT IN (SELECT u, c FROM unnest($2::text[], $3::text[]) AS failed (u, c))
				AND (
					SELECT true
					FROM wallet_assets AS a
					JOIN wallet_asset_events AS e ON e.user_id = a.user_id AND e.currency = a.currency AND e.version = a.version
					WHERE a.user_id = g.user_id AND a.currency = g.currency) IS NULL
			ORDER BY updated_at
			LIMIT $4)) AS unrecorded`
)

// sweeps is what a worker remembers from one sweep to the next.
type sweeps struct {
	overdue, unrecorded failures
	mu                  sync.Mutex
	recordedUpTo        time.Time // by Postgres's clock; zero before the first sweep
}

// Expired is how many expiries were recorded.
type Expired struct{ Holds, Grants int }

// ExpireOverdue lets the holds and grants expire that are overdue because the workflow of their wallet
// is gone or stands still, with their events, and records the events of expiries whose worker
// died before it could. It goes on until it finds no more, but leaves out for a while what
// failed. It returns how many have expired, and in how many wallets. Every worker may call
// it, at the same time too.
//
// Overdue is by Postgres's clock. If that was put back, the fold goes by the last entry of a
// wallet instead; but that entry has expired what was due then.
func (a *Activities) ExpireOverdue(ctx context.Context) (expired Expired, wallets int, err error) {
	var until time.Time
	if err := a.db.QueryRow(ctx, sqlSweepUntil, sweepGrace).Scan(&until); err != nil {
		return expired, 0, err
	}
	var mu sync.Mutex
	wallets, err = a.sweep(ctx, &a.swept.overdue, sqlOverdue, []any{until}, func(ctx context.Context, ref wallet.AssetRef) (bool, error) {
		n, err := a.expireHolds(ctx, ref)
		mu.Lock()
		defer mu.Unlock()
		expired.Holds, expired.Grants = expired.Holds+n.Holds, expired.Grants+n.Grants
		return n != Expired{}, err
	})
	return expired, wallets, errors.Join(err, a.recordExpiries(ctx, until))
}

// expireHolds returns how many holds and grants of a wallet have expired. If only their events could not
// be recorded, the wallet stays in reach of recordExpiries.
func (a *Activities) expireHolds(ctx context.Context, ref wallet.AssetRef) (expired Expired, err error) {
	out, err := a.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref})
	if err == nil && out.NeedsRecording {
		_, err = a.RecordEvents(ctx, ref)
	}
	return Expired{out.Expired, out.ExpiredGrants}, err
}

// recordExpiries records the events of expiries up to a time that have none.
func (a *Activities) recordExpiries(ctx context.Context, until time.Time) error {
	s := &a.swept
	s.mu.Lock()
	since := until.Add(-sweepMemory)
	if s.recordedUpTo.After(since) {
		since = s.recordedUpTo
	}
	s.mu.Unlock()
	_, err := a.sweep(ctx, &s.unrecorded, sqlExpiredUnrecorded, []any{until, since.Add(-sweepOverlap)}, func(ctx context.Context, ref wallet.AssetRef) (bool, error) {
		_, err := a.RecordEvents(ctx, ref)
		return false, err // if it is found again all the same, not at once
	})
	if err == nil && ctx.Err() == nil && !s.unrecorded.any() {
		s.mu.Lock()
		s.recordedUpTo = until
		s.mu.Unlock()
	}
	return err
}

// sweep sees to the wallets that a statement finds, until it finds no more. see reports
// whether there was something to do; if not, or if it fails, the wallet is left alone for a
// while. It returns in how many there was.
func (a *Activities) sweep(ctx context.Context, failed *failures, sql string, args []any, see func(context.Context, wallet.AssetRef) (bool, error)) (done int, err error) {
	var mu sync.Mutex
	var told []error
	n := 0
	for ctx.Err() == nil {
		found, err := a.findWallets(ctx, sql, append(append([]any{args[0]}, failed.parameters()...), append([]any{sweepLimit}, args[1:]...)...))
		if err != nil {
			return done, errors.Join(append(told, err)...)
		}
		if len(found) == 0 {
			break
		}
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		var group errgroup.Group
		group.SetLimit(max(1, min(sweepers, int(a.db.Config().MaxConns)/2)))
		for _, ref := range found[:min(len(found), sweepShare)] {
			group.Go(func() error {
				did, err := seeTo(ctx, ref, see)
				failed.note(ref, did, err)
				mu.Lock()
				defer mu.Unlock()
				if did {
					done++
				}
				if err != nil {
					if n++; n <= sweepErrors {
						told = append(told, fmt.Errorf("the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
					}
				}
				return nil
			})
		}
		_ = group.Wait() // what failed is in told
	}
	if n > sweepErrors {
		told = append(told, fmt.Errorf("and %d more failures", n-sweepErrors))
	}
	return done, errors.Join(told...)
}

// seeTo sees to one wallet. Nothing that is wrong with it may stop the sweep, or the process,
// of which there may be a hundred that all come to the same wallet.
func seeTo(ctx context.Context, ref wallet.AssetRef, see func(context.Context, wallet.AssetRef) (bool, error)) (did bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	return see(ctx, ref)
}

// findWallets runs a look-up with the planner's settings of the steps.
func (a *Activities) findWallets(ctx context.Context, sql string, args []any) ([]wallet.AssetRef, error) {
	return inTransaction(ctx, a, func(t transaction) (wallets []wallet.AssetRef, err error) {
		batch := &pgx.Batch{}
		batch.Queue(sql, args...).Query(func(found pgx.Rows) (err error) {
			wallets, err = pgx.CollectRows(found, pgx.RowToStructByPos[wallet.AssetRef])
			return err
		})
		batch.Queue(sqlCommit)
		return wallets, t.begin(ctx, batch)
	})
}

// failures are the wallets that are left alone for a while.
type failures struct {
	mu    sync.Mutex
	known map[wallet.AssetRef]leftAlone
}

type leftAlone struct {
	since  time.Time
	pause  time.Duration
	failed bool // or there was nothing to do, although it was found
}

// note notes how a wallet fared.
func (f *failures) note(ref wallet.AssetRef, did bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if did && err == nil {
		delete(f.known, ref)
		return
	}
	if f.known == nil {
		f.known = map[wallet.AssetRef]leftAlone{}
	}
	pause := min(max(sweepFirstPause, 2*f.known[ref].pause), sweepLastPause)
	f.known[ref] = leftAlone{time.Now(), pause, err != nil}
}

// parameters are those that are to be left alone now. One that is not found again for long
// is forgotten.
func (f *failures) parameters() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.known, func(_ wallet.AssetRef, l leftAlone) bool { return time.Since(l.since) >= l.pause+sweepLastPause })
	users, currencies := []string{}, []string{}
	for ref, l := range f.known {
		if time.Since(l.since) < l.pause {
			users, currencies = append(users, ref.UserID), append(currencies, ref.Currency)
		}
	}
	return []any{users, currencies}
}

// any reports whether one has failed.
func (f *failures) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.known {
		if l.failed {
			return true
		}
	}
	return false
}
