package trail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// walletsPerRange is how many wallets one range query streams: enough to pay for
// the query, few enough that their balances are no memory worth a thought.
const walletsPerRange = 256

const (
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
	storedEntryColumns = `user_id, currency, version, command_id, amount, total_before, total_after, hold_before, hold_after,
			description, actor, metadata, recorded_at, position, hash,
			type, request_hash, status, reason, message, prev_hash`

	sqlVerifyEntries = `SELECT ` + storedEntryColumns + `
		FROM wallet_commands
		WHERE ` + inRange + `
		ORDER BY user_id, currency, position`

	sqlVerifyEvents = `SELECT user_id, currency, version, command_id, amount, total_before, total_after, hold_before, hold_after,
			description, actor, metadata, occurred_at, position, hash,
			event_type
		FROM wallet_asset_events
		WHERE ` + inRange + `
		ORDER BY user_id, currency, version`

	sqlVerifyFeed = `SELECT user_id, currency, first_version, last_version
		FROM wallet_feed
		WHERE ` + inRange + `
		ORDER BY user_id, currency, first_version`
)

type key struct{ userID, currency string }

func keyOf(row [][]byte) key { return key{string(row[0]), string(row[1])} }

// has reports whether there is a row, and it belongs to the key.
func (k key) has(row [][]byte) bool {
	return row != nil && string(row[0]) == k.userID && string(row[1]) == k.currency
}

// scope is what a verification reads: all wallets, a user's or one.
type scope struct {
	key
	// eventsUpTo is the last version that has to have its event.
	eventsUpTo     int64
	withoutMissing bool // as of VerifyOptions
}

// keyRange is the wallets of a scope after one key up to another, with their balances.
// The first has no beginning and the last no end, so that rows without a balance are
// seen wherever they are.
type keyRange struct {
	scope
	after, upTo *key
	assets      map[key]storedAsset
	feed        map[key]inFeed
}

func (k keyRange) args() []any {
	args := []any{storedFormats}
	for _, limit := range []*key{k.after, k.upTo} {
		if limit == nil {
			args = append(args, nil, nil)
		} else {
			args = append(args, limit.userID, limit.currency)
		}
	}
	return append(args, k.userID, k.currency)
}

type verification struct {
	entries *atomic.Int64
	mu      sync.Mutex
	report  Report
	waiting map[key]waiting // those that are not in the report's findings yet
}

// reportWith is the report with those as findings that wait for events in vain.
func (v *verification) reportWith(inVain map[key]waiting) Report {
	report := v.report
	for _, w := range inVain {
		report.Findings = append(report.Findings, w.finding)
	}
	return report
}

// cut reads the balances of a scope and hands them out in ranges.
func (v *verification) cut(ctx context.Context, tx pgx.Tx, s scope, ranges chan<- keyRange) error {
	rows, err := tx.Query(ctx, sqlVerifyAssets, storedFormats, s.userID, s.currency)
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
	next, last := keyRange{scope: s, assets: map[key]storedAsset{}}, key{}
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
			next = keyRange{scope: s, after: &upTo, assets: map[key]storedAsset{}}
		}
		next.assets[at], last = asset, at
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read balances: %w", err)
	}
	return send(next)
}

// inFeed is what the feed has of a wallet asset.
type inFeed struct {
	upTo    int64 // each version from 1 to this one
	last    int64 // the last version
	problem string
}

// readFeed reads a range's part of the feed, of which no more is kept than that.
func readFeed(ctx context.Context, tx pgx.Tx, k keyRange) (map[key]inFeed, error) {
	rows, err := tx.Query(ctx, sqlVerifyFeed, k.args()...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	feed := map[key]inFeed{}
	for rows.Next() {
		r := &storedRow{names: rows.FieldDescriptions(), columns: rows.RawValues()}
		at := key{r.text(), r.text()}
		first, last := r.number(), r.number()
		if first < 1 || last < first {
			r.wrong("is %d, and first_version %d", last, first)
		}
		in := feed[at]
		if in.problem == "" {
			in.problem = r.problem
		}
		if first <= in.upTo+1 {
			in.upTo = max(in.upTo, last)
		}
		in.last = max(in.last, last)
		feed[at] = in
	}
	return feed, rows.Err()
}

// check reads a range's part of the feed, then its journal and events side by side.
func (v *verification) check(ctx context.Context, entriesTx, eventsTx pgx.Tx, k keyRange) (err error) {
	if k.feed, err = readFeed(ctx, entriesTx, k); err != nil {
		return fmt.Errorf("read the feed: %w", err)
	}
	entryRows, err := entriesTx.Query(ctx, sqlVerifyEntries, k.args()...)
	if err != nil {
		return err
	}
	defer entryRows.Close()
	eventRows, err := eventsTx.Query(ctx, sqlVerifyEvents, k.args()...)
	if err != nil {
		return err
	}
	defer eventRows.Close()

	counted := verification{waiting: map[key]waiting{}}
	entries, events := stream{rows: entryRows}, stream{rows: eventRows}
	for entry, event := entries.peek(), events.peek(); entry != nil || event != nil; entry, event = entries.peek(), events.peek() {
		at := firstKey(entry, event)
		c := newChain(at, k)
		delete(k.assets, at)
		delete(k.feed, at)
		counted.report.Wallets++
		for entry := entries.peek(); at.has(entry); entry = entries.peek() {
			event := events.peek()
			if version := versionOf(entry); version > 0 && at.has(event) && versionOf(event) <= version {
				events.take()
				counted.report.Events++
			} else {
				event = nil
			}
			c.entry(entryRows, event)
			entries.take()
			v.entries.Add(1)
		}
		for event := events.peek(); at.has(event); event = events.peek() {
			c.strayEvent(event)
			events.take()
			counted.report.Events++
		}
		counted.add(c)
	}
	if err := errors.Join(entryRows.Err(), eventRows.Err()); err != nil {
		return fmt.Errorf("read the trail: %w", err)
	}
	for at := range k.assets { // those no row of the trail belongs to
		counted.report.Wallets++
		counted.add(newChain(at, k))
		delete(k.feed, at)
	}
	for at := range k.feed { // nor any balance
		counted.report.Wallets++
		counted.add(newChain(at, k))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Wallets += counted.report.Wallets
	v.report.Events += counted.report.Events
	v.report.Findings = append(v.report.Findings, counted.report.Findings...)
	maps.Copy(v.waiting, counted.waiting)
	return nil
}

// add takes what is wrong with a chain that has come to its end.
func (v *verification) add(c *chain) {
	switch f := c.end(); {
	case f == nil:
	case f.MissingEvent:
		v.waiting[c.key] = waiting{*f, c.missing, c.have.Version}
	default:
		v.report.Findings = append(v.report.Findings, *f)
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
