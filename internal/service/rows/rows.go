// Package rows writes and reads rows of the wallet's tables. It is the only place, with
// wallet.EntryFields, that knows their columns. The steps write through it, and package trail
// reads and verifies through it.
//
// Rows are read by column name, and as strictly as verification needs: NULL is not the same as
// empty, and each content has exactly one form. Anything that this service never stores is
// reported as a problem in words.
package rows

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// EntryColumns are the columns of wallet_commands.
var EntryColumns = selected(wallet.EntryFields, func(f wallet.Field) string { return f.Name })

// EntriesByID selects the entries of commands by their ids: $1 to $3 are arrays of users,
// currencies and ids. It takes one step into the primary key for each. The plain form,
// command_id = ANY ($3), can be a scan of a wallet's whole journal over the index of positions.
// Here the order makes every index but the primary key need a sort, which an equality would not.
// Without the upper bound, Postgres compares the rest of the index page with the id.
var EntriesByID = `SELECT ` + EntryColumns + byID

// IDsOfEntries selects those of the ids that have an entry, in the same way.
const IDsOfEntries = `SELECT command_id` + byID

const byID = `
	FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
	CROSS JOIN LATERAL (
		SELECT *
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c
			AND command_id >= wanted.id COLLATE "C" AND command_id <= wanted.id COLLATE "C"
		ORDER BY command_id
		LIMIT 1) AS entry`

// EventColumns are the columns of wallet_asset_events.
var EventColumns = selected(eventFields, eventColumn) + ", event_type"

// AssetColumns are the columns of wallet_assets, and the scale of its currency.
const AssetColumns = `user_id, currency, total_amount::text, hold_amount::text, version, position, hash, format, open_holds, next_expiry, open_grants, granted_amount::text, next_grant_expiry, frozen, debits_frozen_until, credits_frozen_until, closed, credit_limit::text, updated_at, thresholds::text,
	(SELECT scale FROM currencies WHERE code = currency) AS scale`

// eventFields are the fields of an entry that its event repeats.
var eventFields = func() (fields []wallet.Field) {
	for _, f := range wallet.EntryFields {
		if f.InEvent {
			fields = append(fields, f)
		}
	}
	return fields
}()

// eventColumn is the name of an entry's field in its event.
func eventColumn(f wallet.Field) string {
	if f.Name == "recorded_at" {
		return "occurred_at"
	}
	return f.Name
}

// selected returns a list of columns to select. numeric is selected as text, with its stored
// decimals, and so is jsonb.
func selected(fields []wallet.Field, name func(wallet.Field) string) string {
	columns := make([]string, len(fields))
	for i, f := range fields {
		columns[i] = name(f)
		switch f.Of(&wallet.Entry{}).(type) {
		case *wallet.Amount, *map[string]string:
			columns[i] += "::text"
		default:
			if f.JSON {
				columns[i] += "::text"
			}
		}
	}
	return strings.Join(columns, ", ")
}

// place is a field's position in a result, and how to read it.
type place struct {
	name     string
	index    int
	optional bool
	signed   bool
	of       func(*wallet.Entry) any
}

// Reader reads entries, or events in the form of the entries that they repeat.
type Reader struct {
	places    []place
	eventType int // -1 in entries
}

// Entries prepares to read rows of a query of EntryColumns.
func Entries(rows pgx.Rows) Reader {
	return newReader(rows, wallet.EntryFields, func(f wallet.Field) string { return f.Name })
}

// Events prepares to read rows of a query of EventColumns.
func Events(rows pgx.Rows) Reader {
	r := newReader(rows, eventFields, eventColumn)
	r.eventType = columnIndex(rows, "event_type")
	return r
}

func newReader(rows pgx.Rows, fields []wallet.Field, name func(wallet.Field) string) Reader {
	r := Reader{eventType: -1}
	for _, f := range fields {
		r.places = append(r.places, place{name(f), columnIndex(rows, name(f)), f.Optional, f.Signed, f.Of})
	}
	return r
}

// columnIndex looks a column up. A query that lacks it is a mistake here. One that failed, or
// whose connection did, has no columns at all, and no rows: its error comes after the first
// call of Next, which is false.
func columnIndex(rows pgx.Rows, name string) int {
	columns := rows.FieldDescriptions()
	for i, column := range columns {
		if column.Name == name {
			return i
		}
	}
	if len(columns) == 0 {
		return -1
	}
	panic(fmt.Sprintf("rows: the query has no column %s", name))
}

// Entry reads a row, and returns the first problem with it.
func (r Reader) Entry(columns [][]byte, e *wallet.Entry) (problem string) {
	for _, p := range r.places {
		if wrong := read(p.of(e), columns[p.index], p.optional, p.signed); wrong != "" && problem == "" {
			problem = p.name + " " + wrong
		}
	}
	return problem
}

// EventType returns the type of an event.
func (r Reader) EventType(columns [][]byte) string { return string(columns[r.eventType]) }

// Repetition compares events with the entries that they repeat, in stored form.
type Repetition []struct {
	column       string
	entry, event int
}

// Repeats prepares to compare the rows of two queries.
func Repeats(entries, events Reader) (r Repetition) {
	for _, event := range events.places {
		for _, entry := range entries.places {
			if event.name == entry.name || event.name == "occurred_at" && entry.name == "recorded_at" {
				r = append(r, struct {
					column       string
					entry, event int
				}{entry.name, entry.index, event.index})
			}
		}
	}
	return r
}

// Differs names the first column in which an event does not repeat its entry byte for byte; it
// is empty if there is none.
func (r Repetition) Differs(entry, event [][]byte) string {
	for _, c := range r {
		a, b := entry[c.entry], event[c.event]
		if (a == nil) != (b == nil) || !bytes.Equal(a, b) {
			return c.column
		}
	}
	return ""
}

// CollectEntries reads all rows of a query of EntryColumns.
func CollectEntries(rows pgx.Rows) ([]wallet.Entry, error) {
	defer rows.Close()
	if err := rows.Err(); err != nil { // of a query in a batch: there are no columns
		return nil, err
	}
	var entries []wallet.Entry
	for reader := Entries(rows); rows.Next(); {
		var e wallet.Entry
		if problem := reader.Entry(Values(rows), &e); problem != "" {
			return nil, fmt.Errorf("entry %q at position %d of the %s wallet of user %q cannot be read: %s", e.CommandID, e.Position, e.Currency, e.UserID, problem)
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// Event is the content of an event: the entry that it repeats, and its type.
type Event struct {
	Type  string
	Entry wallet.Entry // only the fields that are InEvent
}

// CollectEvents reads all rows of a query of EventColumns.
func CollectEvents(rows pgx.Rows) ([]Event, error) {
	defer rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var events []Event
	for reader := Events(rows); rows.Next(); {
		var e Event
		if problem := reader.Entry(Values(rows), &e.Entry); problem != "" {
			return nil, fmt.Errorf("event of version %d of the %s wallet of user %q cannot be read: %s", e.Entry.Version, e.Entry.Currency, e.Entry.UserID, problem)
		}
		e.Type = reader.EventType(Values(rows))
		events = append(events, e)
	}
	return events, rows.Err()
}

// CollectAssets reads all rows of a query of AssetColumns.
func CollectAssets(found pgx.Rows) ([]wallet.Asset, error) {
	return pgx.CollectRows(found, ScanAsset)
}

// ScanAsset reads a row of AssetColumns.
func ScanAsset(row pgx.CollectableRow) (wallet.Asset, error) {
	stored, err := pgx.RowToStructByName[storedAsset](row)
	return stored.asset(), err
}

// ScanAssetAndDue reads a row of AssetColumns, and of the columns due_amount and due_grants_amount:
// what is due of its holds and of its grants; and read_at: when that was read, by Postgres's clock.
func ScanAssetAndDue(row pgx.CollectableRow) (wallet.Asset, error) {
	stored, err := pgx.RowToStructByName[struct {
		storedAsset
		Due       wallet.Amount `db:"due_amount"`
		DueGrants wallet.Amount `db:"due_grants_amount"`
		ReadAt    time.Time     `db:"read_at"`
	}](row)
	a := stored.asset().Thawed(stored.ReadAt)
	if err == nil && !stored.Due.IsZero() {
		a.Due, _ = stored.Due.AtScale(a.Scale)
	}
	if err == nil && !stored.DueGrants.IsZero() {
		a.DueGrants, _ = stored.DueGrants.AtScale(a.Scale)
	}
	return a, err
}

type storedAsset struct {
	UserID             string        `db:"user_id"`
	Currency           string        `db:"currency"`
	Scale              int32         `db:"scale"`
	Total              wallet.Amount `db:"total_amount"`
	Hold               wallet.Amount `db:"hold_amount"`
	Version            int64         `db:"version"`
	Position           int64         `db:"position"`
	OpenHolds          int64         `db:"open_holds"`
	NextExpiry         *time.Time    `db:"next_expiry"`
	OpenGrants         int64         `db:"open_grants"`
	Granted            wallet.Amount `db:"granted_amount"`
	NextGrantExpiry    *time.Time    `db:"next_grant_expiry"`
	Frozen             *string       `db:"frozen"`
	DebitsFrozenUntil  *time.Time    `db:"debits_frozen_until"`
	CreditsFrozenUntil *time.Time    `db:"credits_frozen_until"`
	Closed             bool          `db:"closed"`
	CreditLimit        wallet.Amount `db:"credit_limit"` // NULL is 0
	Hash               wallet.Hash   `db:"hash"`
	Format             int64         `db:"format"`
	UpdatedAt          time.Time     `db:"updated_at"`
	Thresholds         *string       `db:"thresholds"`
}

func (s storedAsset) asset() wallet.Asset {
	a := wallet.Asset{
		UserID: s.UserID, Currency: s.Currency, Scale: s.Scale, Total: s.Total, Hold: s.Hold, Version: s.Version, Position: s.Position,
		OpenHolds: s.OpenHolds, OpenGrants: s.OpenGrants, Closed: s.Closed, CreditLimit: s.CreditLimit, Hash: s.Hash, Format: s.Format, UpdatedAt: s.UpdatedAt.UTC(),
	}
	if s.NextExpiry != nil {
		a.NextExpiry = s.NextExpiry.UTC()
	}
	if s.DebitsFrozenUntil != nil {
		a.DebitsFrozenUntil = s.DebitsFrozenUntil.UTC()
	}
	if s.CreditsFrozenUntil != nil {
		a.CreditsFrozenUntil = s.CreditsFrozenUntil.UTC()
	}
	if s.OpenGrants > 0 { // stored without zeros at the end: it is 0 before the first grant
		a.Granted, _ = s.Granted.AtScale(s.Scale)
	}
	if s.NextGrantExpiry != nil {
		a.NextGrantExpiry = s.NextGrantExpiry.UTC()
	}
	if s.Frozen != nil {
		a.Frozen = wallet.Frozen(*s.Frozen)
	}
	if s.Thresholds != nil {
		a.Thresholds = wallet.Thresholds(*s.Thresholds)
	}
	return a
}

// epoch is 2000-01-01, from which Postgres counts microseconds.
const epoch = 946_684_800_000_000

func timeOf(micros int64) time.Time { return time.UnixMicro(micros + epoch).UTC() }
