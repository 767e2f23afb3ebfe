package trail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/internal/service/rows"
)

// walletsPerRange is how many wallets one range query streams: enough to be worth the query,
// few enough that their balances need little memory.
const walletsPerRange = 256

const (
	// The last key of the range that comes after a key; none if fewer wallets follow.
	sqlRangeEnd = `SELECT user_id, currency
		FROM wallet_assets
		WHERE user_id IS NOT NULL AND currency IS NOT NULL
			AND ($1::text IS NULL OR (user_id, currency) > ($1, $2)) AND ($3 = '' OR user_id = $3) AND ($4 = '' OR currency = $4)
		ORDER BY user_id, currency
		LIMIT 1 OFFSET $5`

	// An outer join returns a duplicate row twice and a missing one as NULL, where a subquery
	// would fail.
	sqlVerifyAssets = `SELECT a.user_id, a.currency, a.total_amount::text, a.hold_amount::text, a.version, a.position, a.hash, a.format, a.open_holds, a.next_expiry, a.open_grants, a.granted_amount::text, a.next_grant_expiry, a.frozen, a.debits_frozen_until, a.credits_frozen_until, a.closed, a.credit_limit::text, a.thresholds::text,
			a.created_at, a.updated_at, c.scale, w.user_id AS wallet
		FROM (SELECT * FROM wallet_assets WHERE user_id IS NOT NULL AND currency IS NOT NULL AND ` + inRange + `) AS a
		LEFT JOIN currencies AS c ON c.code = a.currency
		LEFT JOIN wallets    AS w ON w.user_id = a.user_id
		ORDER BY a.user_id, a.currency`

	// inRange means after the first key and up to the second; NULL means no limit. Postgres
	// recognizes a range only by the bounds of user_id: from comparisons of pairs alone it expects
	// a quarter of the table, and reads and sorts all of it for each range.
	inRange = `($1::text IS NULL OR user_id >= $1 AND (user_id, currency) > ($1, $2))
			AND ($3::text IS NULL OR user_id <= $3 AND (user_id, currency) <= ($3, $4))
			AND ($5 = '' OR user_id = $5) AND ($6 = '' OR currency = $6)`

	sqlVerifyFeed = `SELECT user_id, currency, first_version, last_version
		FROM wallet_feed
		WHERE ` + inRange + `
		ORDER BY user_id, currency, first_version`
)

var (
	sqlVerifyEntries = `SELECT ` + rows.EntryColumns + `, ` + originalColumn + `
		FROM wallet_commands AS e
		WHERE ` + inRange + `
		ORDER BY user_id, currency, position`

	sqlVerifyEvents = `SELECT ` + rows.EventColumns + `
		FROM wallet_asset_events
		WHERE ` + inRange + `
		ORDER BY user_id, currency, version`
)

// scope is what a verification reads: all wallets, a user's or one.
type scope struct {
	key
	// eventsUpTo is the last version that must have its event.
	eventsUpTo     int64
	withoutMissing bool // see VerifyOptions
}

// keyRange is a range of a scope's wallets, after one key and up to another. The first range has
// no lower bound and the last no upper bound, so that rows without a balance are found wherever
// they are.
type keyRange struct {
	scope
	after, upTo *key
	// Of the range's snapshot:
	clock  time.Time // Postgres's, when it was taken
	assets map[key]storedAsset
	feed   map[key]inFeed
}

func (k keyRange) args() []any {
	return append(append(keyArgs(k.after), keyArgs(k.upTo)...), k.userID, k.currency)
}

// keyArgs are NULL for no key.
func keyArgs(k *key) []any {
	if k == nil {
		return []any{nil, nil}
	}
	return []any{k.userID, k.currency}
}

type verification struct {
	entries *atomic.Int64
	mu      sync.Mutex
	report  Report
	waiting map[key]waiting // not in the report's findings yet
	legs    []legEntry      // not compared with their transactions yet
	torn    map[key]bool    // wallets with a finding of a transaction
}

// reportWith returns the report plus findings for the wallets whose events did not come in
// time.
func (v *verification) reportWith(inVain map[key]waiting) Report {
	report := v.report
	for _, w := range inVain {
		report.Findings = append(report.Findings, w.finding)
	}
	return report
}

// cut splits a scope into ranges.
func cut(ctx context.Context, l *legChecker, s scope, ranges chan<- keyRange) error {
	for next := (keyRange{scope: s}); ; next.after = next.upTo {
		if s.currency == "" || s.userID == "" { // else it is one wallet
			var err error
			if next.upTo, err = rangeEnd(ctx, l, next); err != nil {
				return fmt.Errorf("split the wallets into ranges: %w", err)
			}
		}
		select {
		case ranges <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
		if next.upTo == nil {
			return nil
		}
	}
}

// rangeEnd is the last key of the range that begins after a key; nil if it is the last range.
func rangeEnd(ctx context.Context, l *legChecker, k keyRange) (*key, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last key
	args := append(keyArgs(k.after), k.userID, k.currency, walletsPerRange-1)
	err := inSnapshot(ctx, []*pgxpool.Conn{l.conn}, func(txs []pgx.Tx) error {
		return txs[0].QueryRow(ctx, sqlRangeEnd, args...).Scan(&last.userID, &last.currency)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &last, err
}

// readAssets reads the balances of a range.
func readAssets(ctx context.Context, tx pgx.Tx, k keyRange) (map[key]storedAsset, error) {
	found, err := tx.Query(ctx, sqlVerifyAssets, k.args()...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	assets := map[key]storedAsset{}
	for found.Next() {
		asset := readAsset(found)
		at := key{asset.UserID, asset.Currency}
		if _, twice := assets[at]; twice {
			asset.problem = "it, its currency or its user has two rows"
		}
		assets[at] = asset
	}
	return assets, found.Err()
}

// inFeed is what the feed contains of a wallet asset.
type inFeed struct {
	upTo    int64 // every version from 1 to this one is in the feed
	last    int64 // the last version
	problem string
}

// readFeed summarizes a range's part of the feed.
func readFeed(ctx context.Context, tx pgx.Tx, k keyRange) (map[key]inFeed, error) {
	found, err := tx.Query(ctx, sqlVerifyFeed, k.args()...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	feed := map[key]inFeed{}
	for found.Next() {
		var at key
		var first, last int64
		problem := rows.Read(found, rows.Column{Name: "user_id", Of: &at.userID}, rows.Column{Name: "currency", Of: &at.currency},
			rows.Column{Name: "first_version", Of: &first}, rows.Column{Name: "last_version", Of: &last})
		if problem == "" && (first < 1 || last < first) {
			problem = fmt.Sprintf("last_version is %d, and first_version %d", last, first)
		}
		in := feed[at]
		if problem == "" && first <= in.last {
			problem = fmt.Sprintf("first_version is %d, but another range goes up to version %d", first, in.last)
		}
		if in.problem == "" {
			in.problem = problem
		}
		if first <= in.upTo+1 {
			in.upTo = max(in.upTo, last)
		}
		in.last = max(in.last, last)
		feed[at] = in
	}
	return feed, found.Err()
}

// check reads a range's balances and its part of the feed, then its journal, events and holds
// side by side, from three transactions of one snapshot.
func (v *verification) check(ctx context.Context, l *legChecker, entriesTx, eventsTx, holdsTx pgx.Tx, k keyRange) (err error) {
	if err = entriesTx.QueryRow(ctx, sqlClock).Scan(&k.clock); err != nil {
		return err
	}
	if k.assets, err = readAssets(ctx, entriesTx, k); err != nil {
		return fmt.Errorf("read balances: %w", err)
	}
	if k.feed, err = readFeed(ctx, entriesTx, k); err != nil {
		return fmt.Errorf("read the feed: %w", err)
	}
	open := func(tx pgx.Tx, name, sql string) (pgx.Rows, error) {
		if entriesTx == eventsTx {
			return openCursor(ctx, tx, name, sql, k.args())
		}
		return tx.Query(ctx, sql, k.args()...)
	}
	entryRows, err := open(entriesTx, "entries", sqlVerifyEntries)
	if err != nil {
		return err
	}
	defer entryRows.Close()
	eventRows, err := open(eventsTx, "events", sqlVerifyEvents)
	if err != nil {
		return err
	}
	defer eventRows.Close()
	holdRows, err := open(holdsTx, "holds", sqlVerifyHolds)
	if err != nil {
		return err
	}
	defer holdRows.Close()

	checked := &verification{entries: v.entries, waiting: map[key]waiting{}, torn: map[key]bool{}}
	entries, events := &stream{found: entryRows, reader: rows.Entries(entryRows)}, &stream{found: eventRows, reader: rows.Events(eventRows)}
	holds := &stream{found: holdRows}
	repeats := rows.Repeats(entries.reader, events.reader)
	for {
		at, more := firstKey(entries, events, holds)
		if !more {
			break
		}
		c := newChain(at, k)
		c.repeats = repeats
		if err := checked.chain(ctx, l, c, entries, events, holds); err != nil {
			return err
		}
		delete(k.assets, at)
		delete(k.feed, at)
	}
	if err := errors.Join(entryRows.Err(), eventRows.Err(), holdRows.Err()); err != nil {
		return fmt.Errorf("read the trail: %w", err)
	}
	if err := checked.checkLegs(ctx, l); err != nil {
		return err
	}
	for at := range k.assets { // wallets without any row in the trail
		checked.add(newChain(at, k))
		delete(k.feed, at)
	}
	for at := range k.feed { // and without a balance
		checked.add(newChain(at, k))
	}
	v.merge(checked)
	return nil
}

// chain checks one wallet asset, whose rows the streams stand before.
func (v *verification) chain(ctx context.Context, l *legChecker, c *chain, entries, events, holds *stream) error {
	for entries.of(c.key) {
		e := c.read(entries)
		hasEvent := e.Version > 0 && events.of(c.key) && c.readEvent(events).Version <= e.Version
		if hasEvent {
			v.report.Events++
		}
		c.entry(e, entries, events, holds, hasEvent)
		if hasEvent {
			events.take()
		}
		entries.take()
		v.entries.Add(1)
		if e.TransactionID != "" {
			v.legs = append(v.legs, legEntry{c.key, e.LegRef, e.Position})
			if len(v.legs) >= legsAtOnce {
				if err := v.checkLegs(ctx, l); err != nil {
					return err
				}
			}
		}
	}
	for events.of(c.key) {
		c.strayEvent(c.readEvent(events))
		events.take()
		v.report.Events++
	}
	c.restOfHolds(holds)
	v.add(c)
	return nil
}

// checkLegs compares the legs that were read with their transactions.
func (v *verification) checkLegs(ctx context.Context, l *legChecker) error {
	if len(v.legs) == 0 {
		return nil
	}
	findings, err := l.check(ctx, v.legs)
	v.legs = v.legs[:0]
	for _, f := range findings {
		if at := (key{f.UserID, f.Currency}); !v.torn[at] {
			v.torn[at] = true
			v.report.Findings = append(v.report.Findings, f)
		}
	}
	return err
}

// add counts a finished chain and records what is wrong with it.
func (v *verification) add(c *chain) {
	v.report.Wallets++
	if c.note != nil {
		v.report.Notes = append(v.report.Notes, *c.note)
	}
	switch f := c.end(); {
	case f == nil:
	case f.MissingEvent:
		v.waiting[c.key] = waiting{*f, c.missing, c.have.Version}
	default:
		v.report.Findings = append(v.report.Findings, *f)
	}
}

// merge adds what was found in one range.
func (v *verification) merge(checked *verification) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Wallets += checked.report.Wallets
	v.report.Events += checked.report.Events
	v.report.Findings = append(v.report.Findings, checked.report.Findings...)
	v.report.Notes = append(v.report.Notes, checked.report.Notes...)
	maps.Copy(v.waiting, checked.waiting)
}

// firstKey is the smallest key of the streams that have not ended; false if all have.
func firstKey(streams ...*stream) (first key, more bool) {
	for _, s := range streams {
		if s.peek() && (!more || s.key().before(first)) {
			first, more = s.key(), true
		}
	}
	return first, more
}
