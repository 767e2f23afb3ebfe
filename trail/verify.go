package trail

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Finding is the first thing that is wrong with a wallet asset.
type Finding struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	Table    string `json:"table"` // wallet_commands, wallet_asset_events or wallet_assets
	// Position of the bad row in the journal, or of the one it should agree with; 0
	// where there is none.
	Position int64  `json:"position,omitempty"`
	Problem  string `json:"problem"`
	// MissingEvent is true where an applied entry only lacks its event, which
	// "wallet repair" appends.
	MissingEvent bool `json:"missing_event,omitempty"`
}

// Report is what a verification has read, and what it found.
type Report struct {
	Wallets  int64     `json:"wallets"`
	Entries  int64     `json:"entries"`
	Events   int64     `json:"events"`
	Findings []Finding `json:"findings"`
}

// VerifyOptions restrict a verification to a user, or to one wallet asset.
type VerifyOptions struct {
	UserID, Currency string
	// WithoutMissingEvents passes over entries that only lack their event, so that
	// what else is wrong behind them is seen.
	WithoutMissingEvents bool
	Parallel             int           // ranges at a time, on two connections each; what the pool allows if 0
	Entries              *atomic.Int64 // counts along for a progress bar; may be nil
}

// walletsPerRange is how many wallets one range query streams: enough to pay for
// the query, few enough that their balances are no memory worth a thought.
const walletsPerRange = 256

const (
	sqlExpectedEntries = `SELECT coalesce(sum(position), 0)::bigint
		FROM wallet_assets
		WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR currency = $2)`

	// An outer join shows a row that is twice there as two, and none as NULL, where
	// a subquery would fail.
	sqlVerifyAssets = `SELECT a.user_id, a.currency, a.total_amount, a.hold_amount, a.version, a.position, a.hash,
			a.created_at, a.updated_at, c.code, c.scale::bigint, w.user_id
		FROM wallet_assets AS a
		LEFT JOIN currencies AS c ON c.code = a.currency
		LEFT JOIN wallets    AS w ON w.user_id = a.user_id
		WHERE a.user_id IS NOT NULL AND a.currency IS NOT NULL
			AND ($1 = '' OR a.user_id = $1) AND ($2 = '' OR a.currency = $2)
		ORDER BY a.user_id, a.currency`

	// inRange is: after the first key, up to the second; NULL is no limit.
	inRange = `($1::text IS NULL OR (user_id, currency) > ($1, $2)) AND ($3::text IS NULL OR (user_id, currency) <= ($3, $4))
			AND ($5 = '' OR user_id = $5) AND ($6 = '' OR currency = $6)`

	// An event repeats the first columns of its entry: both queries name them in
	// one order (see sharedColumns).
	sqlVerifyEntries = `SELECT user_id, currency, version, command_id, amount, total_before, total_after, hold_before, hold_after,
			description, actor, metadata, recorded_at, position, hash,
			type, request_hash, status, reason, message, prev_hash
		FROM wallet_commands
		WHERE ` + inRange + `
		ORDER BY user_id, currency, position`

	sqlVerifyEvents = `SELECT user_id, currency, version, command_id, amount, total_before, total_after, hold_before, hold_after,
			description, actor, metadata, occurred_at, position, hash,
			event_type
		FROM wallet_asset_events
		WHERE ` + inRange + `
		ORDER BY user_id, currency, version`

	// A plan that serves every range would have to read to the end of the table for
	// each. The name of a snapshot comes from Postgres; SET takes no parameters.
	sqlJoinSnapshot = `SET LOCAL plan_cache_mode = force_custom_plan; SET TRANSACTION SNAPSHOT `
)

// ExpectedEntries is how many journal entries a verification is going to read, if
// the balances are right about it.
func (r Reader) ExpectedEntries(ctx context.Context, userID, currency string) (n int64, err error) {
	err = r.db.QueryRow(ctx, sqlExpectedEntries, userID, currency).Scan(&n)
	return n, err
}

// Verify derives everything again from the rows, in one snapshot, without writing:
// the hash chain and positions of each journal, its request hashes, each entry as
// the fold would have made it from the one before (totals, holds, versions,
// refusals), one event for each applied entry and equal to it, and the balance as
// the end of the journal. It names the first bad row of each wallet asset; no row
// is so bad that the others are not read.
//
// Memory does not grow with the number of rows: journal and events of a range of
// wallets are read side by side on two connections.
func (r Reader) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	if o.Entries == nil {
		o.Entries = &atomic.Int64{}
	}
	// Each needs both its connections: more workers than that would wait for each
	// other.
	most := (int(r.db.Config().MaxConns) - 1) / 2
	if most < 1 {
		return Report{}, fmt.Errorf("verify needs a pool of at least 3 connections, this one has %d", r.db.Config().MaxConns)
	}
	if o.Parallel <= 0 || o.Parallel > most {
		o.Parallel = most
	}
	v := &verification{options: o, report: Report{Findings: []Finding{}}}
	err := pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
		var snapshot string
		if err := tx.QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot); err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		ranges := make(chan keyRange)
		group.Go(func() error {
			defer close(ranges)
			return v.cut(ctx, tx, ranges)
		})
		for range o.Parallel {
			group.Go(func() error {
				return r.inSnapshot(ctx, snapshot, func(entries, events pgx.Tx) error {
					for next := range ranges {
						if err := v.check(ctx, entries, events, next); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
		return group.Wait()
	})
	v.report.Entries = o.Entries.Load()
	return v.report, err
}

var snapshotOptions = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// inSnapshot opens two transactions that see what the exporting one sees.
func (r Reader) inSnapshot(ctx context.Context, snapshot string, do func(a, b pgx.Tx) error) error {
	join := func(do func(pgx.Tx) error) error {
		return pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlJoinSnapshot+`'`+snapshot+`'`); err != nil {
				return err
			}
			return do(tx)
		})
	}
	return join(func(a pgx.Tx) error { return join(func(b pgx.Tx) error { return do(a, b) }) })
}

type key struct{ userID, currency string }

func keyOf(row [][]byte) key { return key{string(row[0]), string(row[1])} }

// has reports whether there is a row, and it belongs to the key.
func (k key) has(row [][]byte) bool {
	return row != nil && string(row[0]) == k.userID && string(row[1]) == k.currency
}

// keyRange is the wallets after one key up to another, with their balances. The
// first has no beginning and the last no end, so that rows without a balance are
// seen wherever they are.
type keyRange struct {
	after, upTo *key
	assets      map[key]storedAsset
}

func (k keyRange) args(o VerifyOptions) []any {
	args := []any{storedFormats}
	for _, limit := range []*key{k.after, k.upTo} {
		if limit == nil {
			args = append(args, nil, nil)
		} else {
			args = append(args, limit.userID, limit.currency)
		}
	}
	return append(args, o.UserID, o.Currency)
}

type verification struct {
	options VerifyOptions
	mu      sync.Mutex
	report  Report
}

// cut reads the balances and hands them out in ranges.
func (v *verification) cut(ctx context.Context, tx pgx.Tx, ranges chan<- keyRange) error {
	rows, err := tx.Query(ctx, sqlVerifyAssets, storedFormats, v.options.UserID, v.options.Currency)
	if err != nil {
		return err
	}
	defer rows.Close()
	send := func(k keyRange) error {
		select {
		case ranges <- k:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	next, last := keyRange{assets: map[key]storedAsset{}}, key{}
	for rows.Next() {
		asset := readAsset(rows)
		at := key{asset.UserID, asset.Currency}
		if _, twice := next.assets[at]; twice {
			asset.problem = "it, its currency or its user has two rows"
		} else if len(next.assets) == walletsPerRange {
			upTo := last
			next.upTo = &upTo
			if err := send(next); err != nil {
				return err
			}
			next = keyRange{after: &upTo, assets: map[key]storedAsset{}}
		}
		next.assets[at], last = asset, at
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read balances: %w", err)
	}
	return send(next)
}

// check reads a range's journal and events side by side.
func (v *verification) check(ctx context.Context, entriesTx, eventsTx pgx.Tx, k keyRange) error {
	entryRows, err := entriesTx.Query(ctx, sqlVerifyEntries, k.args(v.options)...)
	if err != nil {
		return err
	}
	defer entryRows.Close()
	eventRows, err := eventsTx.Query(ctx, sqlVerifyEvents, k.args(v.options)...)
	if err != nil {
		return err
	}
	defer eventRows.Close()

	var counted Report
	entries, events := stream{rows: entryRows}, stream{rows: eventRows}
	for entry, event := entries.peek(), events.peek(); entry != nil || event != nil; entry, event = entries.peek(), events.peek() {
		at := firstKey(entry, event)
		c := newChain(at, k.assets, v.options.WithoutMissingEvents)
		delete(k.assets, at)
		counted.Wallets++
		for entry := entries.peek(); at.has(entry); entry = entries.peek() {
			event := events.peek()
			if version := versionOf(entry); version > 0 && at.has(event) && versionOf(event) <= version {
				events.take()
				counted.Events++
			} else {
				event = nil
			}
			c.entry(entryRows, event)
			entries.take()
			v.options.Entries.Add(1)
		}
		for event := events.peek(); at.has(event); event = events.peek() {
			c.strayEvent(event)
			events.take()
			counted.Events++
		}
		counted.add(c.end())
	}
	if err := errors.Join(entryRows.Err(), eventRows.Err()); err != nil {
		return fmt.Errorf("read the trail: %w", err)
	}
	for at := range k.assets { // those no row of the trail belongs to
		counted.Wallets++
		counted.add(newChain(at, k.assets, v.options.WithoutMissingEvents).end())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Wallets += counted.Wallets
	v.report.Events += counted.Events
	v.report.Findings = append(v.report.Findings, counted.Findings...)
	return nil
}

func (r *Report) add(f *Finding) {
	if f != nil {
		r.Findings = append(r.Findings, *f)
	}
}

// firstKey is the smaller key of two rows, of which one may be missing.
func firstKey(entry, event [][]byte) key {
	if entry == nil {
		return keyOf(event)
	}
	a := keyOf(entry)
	if event != nil {
		if b := keyOf(event); b.userID < a.userID || b.userID == a.userID && b.currency < a.currency {
			return b
		}
	}
	return a
}
