package trail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
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
	sqlVerifyAssets = `SELECT ` + AssetColumns + `
		FROM wallet_assets
		WHERE (user_id, currency) > ($1, $2) AND ($3 = '' OR user_id = $3) AND ($4 = '' OR currency = $4)
		ORDER BY user_id, currency
		LIMIT $5`

	// inRange is: after the first key, up to the second (no end if it is empty).
	inRange = `(user_id, currency) > ($1, $2) AND ($3 = '' OR (user_id, currency) <= ($3, $4))
			AND ($5 = '' OR user_id = $5) AND ($6 = '' OR currency = $6)`

	sqlVerifyEntries = `SELECT ` + EntryColumns + `
		FROM wallet_commands
		WHERE ` + inRange + `
		ORDER BY user_id, currency, position`

	sqlVerifyEvents = `SELECT ` + EventColumns + `
		FROM wallet_asset_events
		WHERE ` + inRange + `
		ORDER BY user_id, currency, version`
)

// Verify derives everything again from the rows, in one snapshot, without writing:
// the hash chain and positions of each journal, its request hashes, each entry as
// the fold would have made it from the one before (totals, holds, versions,
// refusals), one event for each applied entry and equal to it, and the balance as
// the end of the journal. It names the first bad row of each wallet asset.
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
			// The name comes from Postgres; SET takes no parameters.
			if _, err := tx.Exec(ctx, `SET TRANSACTION SNAPSHOT '`+snapshot+`'`); err != nil {
				return err
			}
			return do(tx)
		})
	}
	return join(func(a pgx.Tx) error { return join(func(b pgx.Tx) error { return do(a, b) }) })
}

type key struct{ userID, currency string }

// keyRange is the wallets after one key up to another, with their balances. The
// last range has no end, so that rows without a balance are seen wherever they are.
type keyRange struct {
	after, upTo key
	assets      map[key]wallet.Asset
}

type verification struct {
	options VerifyOptions
	mu      sync.Mutex
	report  Report
}

func (v *verification) find(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, f)
}

func (v *verification) cut(ctx context.Context, tx pgx.Tx, ranges chan<- keyRange) error {
	var after key
	for last := false; !last; {
		rows, err := tx.Query(ctx, sqlVerifyAssets, after.userID, after.currency, v.options.UserID, v.options.Currency, walletsPerRange)
		if err != nil {
			return err
		}
		assets, err := pgx.CollectRows(rows, ScanAsset)
		if err != nil {
			return fmt.Errorf("read balances: %w", err)
		}
		next := keyRange{after: after, assets: make(map[key]wallet.Asset, len(assets))}
		for _, a := range assets {
			next.assets[key{a.UserID, a.Currency}] = a
		}
		if last = len(assets) < walletsPerRange; !last {
			a := assets[len(assets)-1]
			next.upTo = key{a.UserID, a.Currency}
			after = next.upTo
		}
		select {
		case ranges <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// check reads a range's journal and events side by side.
func (v *verification) check(ctx context.Context, entriesTx, eventsTx pgx.Tx, k keyRange) error {
	args := []any{k.after.userID, k.after.currency, k.upTo.userID, k.upTo.currency, v.options.UserID, v.options.Currency}
	entryRows, err := entriesTx.Query(ctx, sqlVerifyEntries, args...)
	if err != nil {
		return err
	}
	defer entryRows.Close()
	eventRows, err := eventsTx.Query(ctx, sqlVerifyEvents, args...)
	if err != nil {
		return err
	}
	defer eventRows.Close()
	entries, events := stream[wallet.Entry]{entryRows, ScanEntry, nil, nil}, stream[Event]{eventRows, ScanEvent, nil, nil}

	var wallets, eventCount int64
	for entry, event := entries.peek(), events.peek(); entry != nil || event != nil; entry, event = entries.peek(), events.peek() {
		at := keyOf(entry, event)
		c := newChain(at, k.assets)
		c.withoutMissingEvents = v.options.WithoutMissingEvents
		delete(k.assets, at)
		wallets++
		for entry := entries.peek(); entry != nil && (key{entry.UserID, entry.Currency}) == at; entry = entries.peek() {
			var event *Event
			if next := events.peek(); entry.Version > 0 && next != nil && (key{next.UserID, next.Currency}) == at && next.Version <= entry.Version {
				event = events.take()
				eventCount++
			}
			c.entry(*entry, event)
			entries.take()
			v.options.Entries.Add(1)
		}
		for event := events.peek(); event != nil && (key{event.UserID, event.Currency}) == at; event = events.peek() {
			c.wrong("wallet_asset_events", event.Position, "event of version %d (command %q) has no applied journal entry", event.Version, event.CommandID)
			events.take()
			eventCount++
		}
		c.end()
		if c.finding != nil {
			v.find(*c.finding)
		}
	}
	if err := errors.Join(entries.err, events.err); err != nil {
		return fmt.Errorf("read the trail: %w", err)
	}
	for at := range k.assets { // those no row of the trail belongs to
		c := newChain(at, k.assets)
		c.end()
		v.find(*c.finding)
		wallets++
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Wallets += wallets
	v.report.Events += eventCount
	return nil
}

// keyOf is the smaller key of two rows, of which one may be missing.
func keyOf(entry *wallet.Entry, event *Event) key {
	if entry == nil {
		return key{event.UserID, event.Currency}
	}
	a := key{entry.UserID, entry.Currency}
	if event != nil {
		if b := (key{event.UserID, event.Currency}); b.userID < a.userID || b.userID == a.userID && b.currency < a.currency {
			return b
		}
	}
	return a
}

// stream looks one row ahead.
type stream[T any] struct {
	rows pgx.Rows
	scan func(pgx.CollectableRow) (T, error)
	next *T
	err  error
}

func (s *stream[T]) peek() *T {
	if s.next != nil || s.err != nil {
		return s.next
	}
	if !s.rows.Next() {
		s.err = s.rows.Err()
		return nil
	}
	row, err := s.scan(s.rows)
	if err != nil {
		s.err = err
		return nil
	}
	s.next = &row
	return s.next
}

func (s *stream[T]) take() *T {
	taken := s.peek()
	s.next = nil
	return taken
}

// chain follows one journal from its first entry.
type chain struct {
	key     key
	want    wallet.Asset // as the journal says so far
	have    *wallet.Asset
	finding *Finding

	withoutMissingEvents bool
}

func newChain(at key, assets map[key]wallet.Asset) *chain {
	c := &chain{key: at, want: wallet.Asset{UserID: at.userID, Currency: at.currency}}
	if asset, ok := assets[at]; ok {
		c.have, c.want.Scale = &asset, asset.Scale
	}
	return c
}

func (c *chain) wrong(table string, position int64, format string, args ...any) {
	if c.finding == nil {
		c.finding = &Finding{UserID: c.key.userID, Currency: c.key.currency, Table: table, Position: position, Problem: fmt.Sprintf(format, args...)}
	}
}

// entry checks one journal entry against the ones before it, and its event.
func (c *chain) entry(e wallet.Entry, event *Event) {
	if c.finding != nil { // what follows a bad row is bad because of it
		return
	}
	wrong := func(format string, args ...any) {
		c.wrong("wallet_commands", e.Position, "entry %q: "+format, append([]any{e.CommandID}, args...)...)
	}
	command := wallet.Command{ID: e.CommandID, Type: e.Type, Amount: e.Amount, Description: e.Description, Actor: e.Actor, Metadata: e.Metadata}
	switch {
	case c.have == nil:
		wrong("its wallet has no row in wallet_assets")
	case e.Position != c.want.Position+1:
		wrong("position %d follows position %d: entries between are missing, or it was moved", e.Position, c.want.Position)
	case e.PrevHash != c.want.Hash:
		wrong("prev_hash is not the hash of the entry before")
	case e.ComputeHash() != e.Hash:
		wrong("a column was changed: the hash of the row is not %s", e.Hash)
	case e.RequestHash != command.RequestHash():
		wrong("request_hash is not that of its content")
	case e.Reason != wallet.ReasonMalformed && e.Type == "":
		wrong("it has no type, and is not malformed")
	case e.RecordedAt.Before(c.want.UpdatedAt):
		wrong("recorded_at is before that of the entry before")
	case c.want.Position == 0 && (e.Type != wallet.TypeCreate || e.Status != wallet.StatusApplied):
		wrong("the first entry is no creation")
	}
	if c.finding != nil {
		return
	}
	received := wallet.Received{Command: command}
	if e.Reason == wallet.ReasonMalformed {
		received.Malformed = e.Message
	}
	after, result := wallet.Apply(c.want, received)
	if want := wallet.NewEntry(c.want, command, result, e.RecordedAt); want.Hash != e.Hash {
		wrong("the rules give another outcome: %s %s, total %s to %s, version %d (the row has %s %s, %s to %s, %d)",
			want.Status, want.Reason, want.TotalBefore, want.TotalAfter, want.Version, e.Status, e.Reason, e.TotalBefore, e.TotalAfter, e.Version)
		return
	}
	after.Hash, after.UpdatedAt = e.Hash, e.RecordedAt
	c.want = after
	if e.Status == wallet.StatusApplied {
		c.event(e, event)
	}
}

func (c *chain) event(e wallet.Entry, event *Event) {
	if event == nil {
		if !c.withoutMissingEvents {
			c.wrong("wallet_asset_events", e.Position, "entry %q (version %d) has no event: run \"wallet repair\"", e.CommandID, e.Version)
			c.finding.MissingEvent = true
		}
		return
	}
	want := EventOf(e)
	same := event.UserID == want.UserID && event.Currency == want.Currency && event.Version == want.Version &&
		event.EventType == want.EventType && event.CommandID == want.CommandID && event.Amount.String() == want.Amount.String() &&
		event.TotalBefore.String() == want.TotalBefore.String() && event.TotalAfter.String() == want.TotalAfter.String() &&
		event.HoldBefore.String() == want.HoldBefore.String() && event.HoldAfter.String() == want.HoldAfter.String() &&
		event.Description == want.Description && event.Actor == want.Actor && maps.Equal(event.Metadata, want.Metadata) &&
		event.OccurredAt.Equal(want.OccurredAt) && event.Position == want.Position && event.Hash == want.Hash
	if !same {
		c.wrong("wallet_asset_events", e.Position, "event of version %d is not equal to journal entry %q at version %d", event.Version, e.CommandID, e.Version)
	}
}

// end checks the balance against the end of the journal.
func (c *chain) end() {
	if c.finding != nil || c.have == nil {
		return
	}
	have, want := c.have, c.want
	wrong := func(format string, args ...any) { c.wrong("wallet_assets", want.Position, format, args...) }
	switch {
	case want.Position == 0:
		wrong("the wallet has a balance and no journal")
	case have.Position != want.Position:
		wrong("position is %d, the journal ends at %d", have.Position, want.Position)
	case have.Hash != want.Hash:
		wrong("hash is not that of the last journal entry")
	case have.Version != want.Version:
		wrong("version is %d, the journal has %d applied commands", have.Version, want.Version)
	case have.Total.String() != want.Total.String() || have.Hold.String() != want.Hold.String():
		wrong("total %s and hold %s are not those of the journal (%s, %s)", have.Total, have.Hold, want.Total, want.Hold)
	case !have.UpdatedAt.Equal(want.UpdatedAt):
		wrong("updated_at is not when the last entry was recorded")
	}
}
