// Package feed hands the events of all wallets to other modules, in the order of
// each wallet: durably, to consumers that keep their place in Postgres (Consume),
// or live, to whoever looks on (Follow). Nothing is passed over, and a wallet whose event
// a consumer cannot handle does not stop the others.
//
// # How no event is skipped
//
// Each transaction that appends events to a wallet's trail inserts a row into wallet_feed: a
// range of versions with the next id of one sequence. Transactions get ids in one order and
// commit in another, so the highest id that a reader sees says nothing about the lower ones. A
// reader therefore only advances
//
//   - along ids without a gap: those are all there; or
//   - past a gap, once every transaction that was writing to wallet_feed when the gap
//     was seen has ended. Such a transaction holds a lock on the table from before it
//     takes an id until after its commit is visible, and pg_locks shows the lock. By then
//     the missing id is there, or it was rolled back and never will be. On Citus it holds one
//     on the coordinator, and one on each node that it writes to, which it may keep for longer:
//     until a commit arrives whose session on the coordinator was cut off, or until a prepared
//     transaction is committed.
//
// So a hanging transaction delays the feed but never makes it lose an event.
package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/trail"
)

// MaxBatch is the maximum and default number of events that a consumer gets at a time.
const MaxBatch = 500

// Event is an event with its position in the feed.
type Event struct {
	// ID is the same each time the event is delivered: use it to deduplicate. It is
	// "<currency>/<user id>/<version>-<hash>", for example "USD/u1/17-9f86d081884c7d65": the
	// hash is the first 16 hex digits of the entry's. If Postgres loses entries and their
	// versions are used again, in a failover to a standby that lags, the new events have new ids.
	ID     string `json:"event_id"`
	Cursor Cursor `json:"cursor"`
	trail.Event

	// Redelivered says that the event had been skipped: it is handed out by itself, and later ones
	// of its wallet may have been before.
	Redelivered bool `json:"-"`
}

// Cursor is a position in the feed, right after an event. The zero Cursor is before the first
// event.
type Cursor struct {
	Row     int64 // id of the row in wallet_feed
	Version int64 // of the event, within the row's range
}

// String writes "<row>-<version>", which ParseCursor reads.
func (c Cursor) String() string { return fmt.Sprintf("%d-%d", c.Row, c.Version) }

// MarshalText writes the same as String.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Cursor) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCursor(string(text))
	return err
}

// ParseCursor reads a Cursor; "0" is before the first event.
func ParseCursor(s string) (Cursor, error) {
	if s == "0" {
		return Cursor{}, nil
	}
	row, version, _ := strings.Cut(s, "-")
	r, errRow := strconv.ParseUint(row, 10, 63)
	v, errVersion := strconv.ParseUint(version, 10, 63)
	if errRow != nil || errVersion != nil {
		return Cursor{}, fmt.Errorf("%q is no place in the feed: use the cursor of an event, such as \"4711-17\", or 0 for the beginning", s)
	}
	return Cursor{int64(r), int64(v)}, nil
}

// ErrEventMissing says that an event was deleted from the trail, which is only possible with
// its triggers switched off.
var ErrEventMissing = errors.New("an event of the feed is missing in the trail: run \"wallet verify\", then \"wallet repair\"")

// ErrStandby says that the feed was read on a standby, which does not know what is being
// written on the primary.
var ErrStandby = errors.New("this Postgres is a standby: read the feed on the primary")

const (
	sqlRanges = `SELECT id, user_id, currency, first_version, last_version
		FROM wallet_feed
		WHERE id >= $1
		ORDER BY id
		LIMIT $2`

	// Transactions that have inserted and not yet committed, including prepared ones.
	sqlWriters = `SELECT virtualtransaction
		FROM pg_locks
		WHERE locktype = 'relation' AND relation = 'wallet_feed'::regclass AND mode = 'RowExclusiveLock'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

	// The same on the nodes of a Citus cluster: none elsewhere.
	sqlNodeWriters = `SELECT wallet_feed_node_writers()`

	sqlStandby = `SELECT pg_is_in_recovery()`

	sqlEnd = `SELECT id, last_version
		FROM wallet_feed
		ORDER BY id DESC
		LIMIT 1`
)

// LIMIT keeps Postgres from hash-joining whole trails, which it does if its statistics show few
// wallets.
var sqlEvents = `SELECT ` + rows.EventColumns + `
	FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
		AS range (id, range_user_id, range_currency, first_version, last_version)
	CROSS JOIN LATERAL (
		SELECT *
		FROM wallet_asset_events
		WHERE user_id = range_user_id AND currency = range_currency
			AND version BETWEEN first_version AND last_version
		ORDER BY version
		LIMIT last_version - first_version + 1) AS event
	ORDER BY id, version`

// querier is a pool or a READ COMMITTED transaction: each statement must see everything
// committed before it.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// versions is a row of wallet_feed.
type versions struct {
	ID               int64
	UserID, Currency string
	First, Last      int64
}

func (v versions) ref() wallet.AssetRef {
	return wallet.AssetRef{UserID: v.UserID, Currency: v.Currency}
}

// page reads at most limit events after a place, those of the ranges that keep
// wants, and returns the place after the last range that was looked at: it moves on
// even if keep wanted none. Where an event is missing in the trail it ends before it,
// and fails only if there is nothing before.
func page(ctx context.Context, db querier, after Cursor, limit int, keep func(versions) bool) ([]Event, Cursor, error) {
	ranges, err := settled(ctx, db, after, limit)
	if err != nil {
		return nil, after, err
	}
	return read(ctx, db, ranges, after, limit, keep)
}

// read is page for ranges that are settled.
func read(ctx context.Context, db querier, ranges []versions, after Cursor, limit int, keep func(versions) bool) ([]Event, Cursor, error) {
	var wanted []versions
	count := 0
	for _, r := range ranges {
		if count == limit {
			break
		}
		if r.ID == after.Row {
			r.First = max(r.First, after.Version+1)
		}
		if keep(r) && r.First <= r.Last {
			r.Last = min(r.Last, r.First+int64(limit-count)-1)
			count += int(r.Last - r.First + 1)
			wanted = append(wanted, r)
		}
		after = Cursor{r.ID, max(r.Last, after.versionIn(r.ID))}
	}
	events, err := load(ctx, db, wanted, count)
	if errors.Is(err, ErrEventMissing) && len(events) > 0 {
		return events, events[len(events)-1].Cursor, nil
	}
	return events, after, err
}

// Compare orders cursors as the feed does.
func (c Cursor) Compare(to Cursor) int {
	return cmp.Or(cmp.Compare(c.Row, to.Row), cmp.Compare(c.Version, to.Version))
}

// notAfter reports whether an event at c has been handed out by a consumer that is at place.
func (c Cursor) notAfter(place Cursor) bool {
	return c.Compare(place) <= 0
}

// before reports whether a range has events after the cursor.
func (c Cursor) before(r versions) bool { return r.ID > c.Row || r.Last > c.Version }

// versionIn is the version within a row, 0 for any other row.
func (c Cursor) versionIn(row int64) int64 {
	if c.Row == row {
		return c.Version
	}
	return 0
}

// settled reads ranges from a cursor on, starting with the cursor's own range, up to the point
// where a missing id could still appear.
func settled(ctx context.Context, db querier, after Cursor, limit int) ([]versions, error) {
	ranges, err := readRanges(ctx, db, after, limit)
	if err != nil {
		return nil, err
	}
	prefix := withoutGap(ranges, after.Row)
	if prefix == len(ranges) || prefix > 0 && after.before(ranges[prefix-1]) {
		return ranges[:prefix], nil
	}
	top := ranges[len(ranges)-1].ID
	if err := awaitWriters(ctx, db); err != nil {
		return nil, err
	}
	if ranges, err = readRanges(ctx, db, after, limit); err != nil {
		return nil, err
	}
	for prefix = 0; prefix < len(ranges) && ranges[prefix].ID <= top; prefix++ {
	}
	return ranges[:prefix], nil
}

func readRanges(ctx context.Context, db querier, after Cursor, limit int) ([]versions, error) {
	rows, err := db.Query(ctx, sqlRanges, after.Row, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[versions])
}

// withoutGap counts the ranges whose ids follow an id without a gap.
func withoutGap(ranges []versions, after int64) int {
	for i, r := range ranges {
		if r.ID > after+1 {
			return i
		}
		after = r.ID
	}
	return len(ranges)
}

// awaitWriters waits until the transactions that are writing to wallet_feed now have ended: first
// here, then on the nodes of a cluster, where they may end later.
func awaitWriters(ctx context.Context, db querier) error {
	if err := onPrimary(ctx, db); err != nil {
		return err
	}
	for _, sql := range []string{sqlWriters, sqlNodeWriters} {
		if err := awaitEnd(ctx, db, sql); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd waits until the transactions that a query finds now are no longer found.
func awaitEnd(ctx context.Context, db querier, sql string) error {
	before, err := writers(ctx, db, sql)
	if err != nil {
		return err
	}
	for pause := time.Millisecond; len(before) > 0; pause = min(2*pause, 100*time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		now, err := writers(ctx, db, sql)
		if err != nil {
			return err
		}
		for transaction := range before {
			if !now[transaction] {
				delete(before, transaction)
			}
		}
	}
	return nil
}

func onPrimary(ctx context.Context, db querier) error {
	var standby bool
	if err := db.QueryRow(ctx, sqlStandby).Scan(&standby); err != nil {
		return err
	}
	if standby {
		return ErrStandby
	}
	return nil
}

func writers(ctx context.Context, db querier, sql string) (map[string]bool, error) {
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	set, transaction := map[string]bool{}, ""
	_, err = pgx.ForEachRow(rows, []any{&transaction}, func() error {
		set[transaction] = true
		return nil
	})
	return set, err
}

// load reads the events of ranges, count in total. With ErrEventMissing it returns the events
// before the missing one.
func load(ctx context.Context, db querier, ranges []versions, count int) ([]Event, error) {
	if count == 0 {
		return nil, nil
	}
	n := len(ranges)
	ids, users, currencies := make([]int64, n), make([]string, n), make([]string, n)
	first, last := make([]int64, n), make([]int64, n)
	for i, r := range ranges {
		ids[i], users[i], currencies[i], first[i], last[i] = r.ID, r.UserID, r.Currency, r.First, r.Last
	}
	var found []trail.Event
	err := postgres.QueryEach(ctx, db, sqlEvents, []any{ids, users, currencies, first, last}, func(stored pgx.Rows) error {
		events, err := trail.CollectEvents(stored)
		found = append(found, events...)
		return err
	})
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, count)
	for _, r := range ranges {
		for version := r.First; version <= r.Last; version++ {
			if len(found) == 0 || found[0].UserID != r.UserID || found[0].Currency != r.Currency || found[0].Version != version {
				return events, fmt.Errorf("version %d of the %s wallet of %q: %w", version, r.Currency, r.UserID, ErrEventMissing)
			}
			events = append(events, Event{ID: eventID(found[0]), Cursor: Cursor{r.ID, version}, Event: found[0]})
			found = found[1:]
		}
	}
	return events, nil
}

// End returns the cursor after the last committed event: anything committed from now on comes
// after it.
func End(ctx context.Context, db *pgxpool.Pool) (end Cursor, err error) {
	err = db.QueryRow(ctx, sqlEnd).Scan(&end.Row, &end.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		return Cursor{}, nil
	} else if err != nil {
		return Cursor{}, err
	}
	// Every transaction that took a lower id commits before this returns.
	return end, awaitWriters(ctx, db)
}
