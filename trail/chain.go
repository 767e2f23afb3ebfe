package trail

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// The columns that sqlVerifyEntries and sqlVerifyEvents have in common come first
// in both.
const (
	versionColumn   = 2
	commandIDColumn = 3
	positionColumn  = 13
	sharedColumns   = 15
	typeColumn      = 15 // and event_type
)

// storedAsset is a row of wallet_assets, and what is wrong with it in itself.
type storedAsset struct {
	wallet.Asset
	problem string
}

// readAsset reads a row of sqlVerifyAssets.
func readAsset(rows pgx.Rows) (a storedAsset) {
	r := &storedRow{names: rows.FieldDescriptions(), columns: rows.RawValues()}
	a.UserID, a.Currency = r.text(), r.text()
	a.Total, a.Hold = r.amount(), r.amount()
	a.Version, a.Position, a.Hash = r.number(), r.number(), r.hash()
	_, a.UpdatedAt = r.time(), r.time()
	r.present("its currency is not registered")
	scale := r.number()
	a.Scale = int32(scale)
	if r.problem == "" && (scale != int64(a.Scale) || wallet.ValidateScale(a.Scale) != nil) {
		r.wrong("of the currency is %d", scale)
	}
	r.present("its user has no row in wallets")
	a.problem = r.problem
	return a
}

// readEntry reads a row of storedEntryColumns.
func readEntry(rows pgx.Rows) (e wallet.Entry, problem string) {
	r := &storedRow{names: rows.FieldDescriptions(), columns: rows.RawValues()}
	e.UserID, e.Currency, e.Version, e.CommandID = r.text(), r.text(), r.optionalNumber(), r.text()
	e.Amount = r.optionalAmount()
	e.TotalBefore, e.TotalAfter, e.HoldBefore, e.HoldAfter = r.amount(), r.amount(), r.amount(), r.amount()
	e.Description, e.Actor, e.Metadata = r.optionalText(), r.optionalText(), r.metadata()
	e.RecordedAt, e.Position, e.Hash = r.time(), r.number(), r.hash()
	e.Type, e.RequestHash = wallet.CommandType(r.optionalText()), r.hash()
	e.Status, e.Reason, e.Message = wallet.Status(r.text()), wallet.Reason(r.optionalText()), r.optionalText()
	e.PrevHash = r.hash()
	return e, r.problem
}

// versionOf and positionOf are 0 where a row has none.
func versionOf(row [][]byte) int64  { return bigint(row[versionColumn]) }
func positionOf(row [][]byte) int64 { return bigint(row[positionColumn]) }

func bigint(column []byte) int64 {
	if len(column) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(column))
}

// chain follows one journal from its first entry, and remembers the first thing
// that is wrong: what comes after a bad row is bad because of it.
type chain struct {
	key     key
	want    wallet.Asset // as the journal says so far
	have    *storedAsset
	finding *Finding

	scope   scope
	missing int64 // version of the first entry without an event
	feed    inFeed
}

func newChain(at key, in keyRange) *chain {
	c := &chain{key: at, want: wallet.Asset{UserID: at.userID, Currency: at.currency}, scope: in.scope, feed: in.feed[at]}
	if asset, ok := in.assets[at]; ok {
		c.have, c.want.Scale = &asset, asset.Scale
		if asset.problem != "" {
			c.wrong("wallet_assets", asset.Position, "%s", asset.problem)
		}
	}
	return c
}

func (c *chain) wrong(table string, position int64, format string, args ...any) {
	if c.finding == nil {
		c.finding = &Finding{UserID: c.key.userID, Currency: c.key.currency, Table: table, Position: position, Problem: fmt.Sprintf(format, args...)}
	}
}

// entry checks the journal entry on which rows stands against the ones before it,
// and the event that goes with it, if there is one.
func (c *chain) entry(rows pgx.Rows, event [][]byte) {
	if c.finding != nil {
		return
	}
	e, problem := readEntry(rows)
	wrong := func(format string, args ...any) {
		c.wrong("wallet_commands", e.Position, "entry %q: "+format, append([]any{e.CommandID}, args...)...)
	}
	command := wallet.Command{ID: e.CommandID, Type: e.Type, Amount: e.Amount, Description: e.Description, Actor: e.Actor, Metadata: e.Metadata}
	malformed := e.Reason == wallet.ReasonMalformed
	switch {
	case c.have == nil:
		wrong("its wallet has no row in wallet_assets")
	case problem != "":
		wrong("%s", problem)
	case e.Position != c.want.Position+1:
		wrong("position %d follows position %d: entries between are missing, or it was moved", e.Position, c.want.Position)
	case e.PrevHash != c.want.Hash:
		wrong("prev_hash is not the hash of the entry before")
	case malformed && e.Message == "":
		wrong("it is malformed, and has no message that says why")
	case !malformed && e.Type != wallet.TypeCreate && e.Type != wallet.TypeAdd && e.Type != wallet.TypeSubtract:
		wrong("type %q is unknown", e.Type)
	case !malformed && e.Type != wallet.TypeCreate && e.Amount.IsZero():
		wrong("it has no amount")
	case e.RecordedAt.Before(c.want.UpdatedAt):
		wrong("recorded_at is before that of the entry before")
	case c.want.Position == 0 && (e.Type != wallet.TypeCreate || e.Status != wallet.StatusApplied):
		wrong("the first entry is no creation")
	}
	if c.finding != nil {
		return
	}
	received := wallet.Received{Command: command}
	if malformed {
		received.Malformed = e.Message
	}
	after, result := wallet.Apply(c.want, received)
	// The rules say whether there is a message; its wording may be another release's,
	// and the hash covers it.
	if result.Message != "" && e.Message != "" {
		result.Message = e.Message
	}
	switch want := wallet.NewEntry(c.want, command, result, e.RecordedAt); {
	case sameOutcome(e, want):
	case e.ComputeHash() != e.Hash:
		wrong("a column was changed: the hash of the row is not %s", e.Hash)
	case e.RequestHash != want.RequestHash:
		wrong("request_hash is not that of its content")
	case (want.Message == "") != (e.Message == ""):
		wrong("it is %s, and its message is %q", e.Status, e.Message)
	default:
		wrong("the rules give another outcome: %s %s, total %s to %s, version %d (the row has %s %s, %s to %s, %d)",
			want.Status, want.Reason, want.TotalBefore, want.TotalAfter, want.Version, e.Status, e.Reason, e.TotalBefore, e.TotalAfter, e.Version)
	}
	if c.finding != nil {
		return
	}
	after.Hash, after.UpdatedAt = e.Hash, e.RecordedAt
	c.want = after
	if e.Status == wallet.StatusApplied {
		c.event(e, rows, event)
	}
}

// sameOutcome compares all that NewEntry did not take from the entry itself, but for
// the place in the chain. If it is the same, so is what was hashed: the row does not
// have to be hashed again.
func sameOutcome(e, want wallet.Entry) bool {
	return e.Hash == want.Hash && e.RequestHash == want.RequestHash && e.Version == want.Version &&
		e.Status == want.Status && e.Reason == want.Reason && e.Message == want.Message && e.Amount.Same(want.Amount) &&
		e.TotalBefore.Same(want.TotalBefore) && e.TotalAfter.Same(want.TotalAfter) &&
		e.HoldBefore.Same(want.HoldBefore) && e.HoldAfter.Same(want.HoldAfter)
}

// event checks that an event repeats its entry, which holds, byte for byte.
func (c *chain) event(e wallet.Entry, entryRows pgx.Rows, event [][]byte) {
	if event == nil {
		if e.Version <= c.scope.eventsUpTo && !c.scope.withoutMissing {
			c.missing = e.Version
			c.wrong("wallet_asset_events", e.Position, "entry %q (version %d) has no event: run \"wallet repair\"", e.CommandID, e.Version)
			c.finding.MissingEvent = true
		}
		return
	}
	for i, column := range entryRows.RawValues()[:sharedColumns] {
		if (column == nil) != (event[i] == nil) || !bytes.Equal(column, event[i]) {
			c.wrong("wallet_asset_events", e.Position, "event of version %d does not repeat %s of journal entry %q", e.Version, entryRows.FieldDescriptions()[i].Name, e.CommandID)
		}
	}
	if want := eventTypes[e.Type]; string(event[typeColumn]) != want {
		c.wrong("wallet_asset_events", e.Position, "event of version %d has event_type %.60q instead of %q", e.Version, event[typeColumn], want)
	}
	if c.finding == nil && e.Version > c.feed.upTo && !c.scope.withoutMissing {
		c.wrong("wallet_feed", e.Position, "event of version %d is in no range of the feed, its consumers do not see it: run \"wallet repair\"", e.Version)
		c.finding.MissingRange = true
	}
}

func (c *chain) strayEvent(event [][]byte) {
	c.wrong("wallet_asset_events", positionOf(event), "event of version %d (command %q) has no applied journal entry", versionOf(event), event[commandIDColumn])
}

// end checks feed and balance against the end of the journal, and returns what is
// wrong with the wallet asset, if anything is.
func (c *chain) end() *Finding {
	if c.feed.problem != "" {
		c.wrong("wallet_feed", c.want.Position, "%s", c.feed.problem)
	}
	if c.finding == nil && c.feed.last > c.want.Version {
		c.wrong("wallet_feed", c.want.Position, "a range reaches to version %d, the journal has %d applied commands", c.feed.last, c.want.Version)
	}
	if c.finding != nil || c.have == nil {
		return c.finding
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
	case !have.Total.Same(want.Total) || !have.Hold.Same(want.Hold):
		wrong("total %s and hold %s are not those of the journal (%s, %s)", have.Total, have.Hold, want.Total, want.Hold)
	case !have.UpdatedAt.Equal(want.UpdatedAt):
		wrong("updated_at is not when the last entry was recorded")
	}
	return c.finding
}
