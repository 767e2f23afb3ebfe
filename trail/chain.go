package trail

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// storedAsset is a row of wallet_assets, and what is wrong with the row itself.
type storedAsset struct {
	wallet.Asset
	problem string
}

// readAsset reads a row of sqlVerifyAssets.
func readAsset(found pgx.Rows) (a storedAsset) {
	var scale int64
	var createdAt time.Time
	a.problem = rows.Read(found,
		rows.Column{Name: "user_id", Of: &a.UserID}, rows.Column{Name: "currency", Of: &a.Currency},
		rows.Column{Name: "total_amount", Of: &a.Total, Signed: true}, rows.Column{Name: "hold_amount", Of: &a.Hold},
		rows.Column{Name: "version", Of: &a.Version}, rows.Column{Name: "position", Of: &a.Position},
		rows.Column{Name: "hash", Of: &a.Hash}, rows.Column{Name: "format", Of: &a.Format},
		rows.Column{Name: "open_holds", Of: &a.OpenHolds}, rows.Column{Name: "next_expiry", Of: &a.NextExpiry, Optional: true},
		rows.Column{Name: "open_grants", Of: &a.OpenGrants}, rows.Column{Name: "granted_amount", Of: &a.Granted}, rows.Column{Name: "next_grant_expiry", Of: &a.NextGrantExpiry, Optional: true},
		rows.Column{Name: "frozen", Of: (*string)(&a.Frozen), Optional: true},
		rows.Column{Name: "debits_frozen_until", Of: &a.DebitsFrozenUntil, Optional: true}, rows.Column{Name: "credits_frozen_until", Of: &a.CreditsFrozenUntil, Optional: true},
		rows.Column{Name: "closed", Of: &a.Closed},
		rows.Column{Name: "credit_limit", Of: &a.CreditLimit, Optional: true},
		rows.Column{Name: "thresholds", Of: (*string)(&a.Thresholds), Optional: true},
		rows.Column{Name: "created_at", Of: &createdAt}, rows.Column{Name: "updated_at", Of: &a.UpdatedAt},
		rows.Column{Name: "scale", Of: &scale}, rows.Column{Name: "wallet", Of: new(string)})
	a.Scale = int32(scale)
	switch {
	case a.problem == "scale is NULL":
		a.problem = "its currency is not registered"
	case a.problem == "wallet is NULL":
		a.problem = "its user has no row in wallets"
	case a.problem == "" && (scale != int64(a.Scale) || wallet.ValidateScale(a.Scale) != nil):
		a.problem = fmt.Sprintf("the scale of its currency is %d", scale)
	}
	return a
}

// chain follows one journal from its first entry and remembers the first problem: rows after a
// bad one are bad because of it.
type chain struct {
	key     key
	want    wallet.Account // as the journal says so far, with the holds that are open
	have    *storedAsset
	finding *Finding

	current wallet.Entry // reused for each entry
	problem string       // of its row
	event   wallet.Entry
	repeats rows.Repetition

	holds   chainHolds
	grants  chainGrants
	legs    chainLegs
	scope   scope
	missing int64 // version of the first entry without an event
	feed    inFeed

	clock time.Time // Postgres's, when the range's snapshot was taken
	note  *Note
}

func newChain(at key, in keyRange) *chain {
	c := &chain{key: at, want: wallet.Account{Asset: wallet.Asset{UserID: at.userID, Currency: at.currency}}, scope: in.scope, feed: in.feed[at], clock: in.clock}
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

// read reads a stream's current row as an entry.
func (c *chain) read(entries *stream) *wallet.Entry {
	c.problem = entries.reader.Entry(entries.row(), &c.current)
	c.want.Originals = nil
	if c.current.OriginalID != "" {
		if o, known := readOriginal(entries.found, &c.current); known {
			c.want.KeepOriginal(o)
			c.nameGrants(o)
		}
	}
	return &c.current
}

// readEvent reads a stream's current row as an event.
func (c *chain) readEvent(events *stream) *wallet.Entry {
	events.reader.Entry(events.row(), &c.event)
	return &c.event
}

// entry checks a journal entry against the ones before it, and the event and the hold that go
// with it, if there are any.
func (c *chain) entry(e *wallet.Entry, entries, events, holds *stream, hasEvent bool) {
	c.noteTime(e)
	if c.finding == nil {
		c.checkRow(e)
	}
	if c.finding == nil {
		c.checkOwn(e)
	}
	if c.finding == nil {
		c.checkDue(e)
	}
	if c.finding == nil {
		c.checkOutcome(e)
	}
	if c.finding == nil {
		c.checkHold(holds)
	}
	if c.finding != nil || e.Status != wallet.StatusApplied {
		return
	}
	if hasEvent {
		c.checkEvent(e, entries, events)
	} else {
		c.noEvent(e)
	}
}

func (c *chain) wrongEntry(e *wallet.Entry, format string, args ...any) {
	c.wrong("wallet_commands", e.Position, "entry %q: "+format, append([]any{e.CommandID}, args...)...)
}

// checkRow checks what must be true of an entry whatever the rules say.
func (c *chain) checkRow(e *wallet.Entry) {
	_, formatKnown := wallet.RulesOf(e.Format)
	kind, typeKnown := wallet.KindOf(e.Type)
	malformed := e.Reason == wallet.ReasonMalformed
	switch {
	case c.have == nil:
		c.wrongEntry(e, "its wallet has no row in wallet_assets")
	case c.problem != "":
		c.wrongEntry(e, "%s", c.problem)
	case e.Position != c.want.Position+1:
		c.wrongEntry(e, "position %d follows position %d: the entries in between are missing, or it was moved", e.Position, c.want.Position)
	case e.PrevHash != c.want.Hash:
		c.wrongEntry(e, "prev_hash is not the hash of the previous entry")
	case !formatKnown:
		c.wrongEntry(e, "%s", unknownFormat(e.Format))
	case e.Format < c.want.Format:
		c.wrongEntry(e, "its format %d follows format %d: formats never decrease", e.Format, c.want.Format)
	case malformed && e.Message == "":
		c.wrongEntry(e, "it is malformed but has no message that says why")
	case !malformed && !typeKnown:
		c.wrongEntry(e, "type %q is unknown", e.Type)
	case !malformed && e.Amount.IsZero() && slices.Contains(kind.Required, "amount"):
		c.wrongEntry(e, "it has no amount")
	case e.RecordedAt.Before(c.want.UpdatedAt):
		c.wrongEntry(e, "recorded_at is earlier than that of the previous entry")
	case c.want.Position == 0 && (e.Type != wallet.TypeCreate || e.Status != wallet.StatusApplied):
		c.wrongEntry(e, "the first entry is not a create")
	}
}

// checkOwn checks that the service's own entries are those that it writes: nobody else has
// their ids, and they are under no others.
func (c *chain) checkOwn(e *wallet.Entry) {
	own := wallet.AutoCreate()
	switch {
	case e.Reason == wallet.ReasonMalformed:
		if !malformedID.MatchString(e.CommandID) || e.Type == wallet.TypeExpire || e.Type == wallet.TypeExpireGrant || e.TransactionID != "" {
			c.wrongEntry(e, "it is malformed, and its id is not one that the service gives")
		}
	case e.Type == wallet.TypeExpire:
		if own = wallet.ExpireCommand(e.HoldID); !sameCommand(e, own) || e.Status != wallet.StatusApplied {
			c.wrongEntry(e, "an expiry is the service's own, and this one is not as the service writes it: id %q, applied, and no more than the hold", own.ID)
		}
	case e.Type == wallet.TypeExpireGrant:
		if own = wallet.ExpireGrantCommand(c.want.Grants[wallet.ExpiredGrant(e.CommandID)]); !sameCommand(e, own) || e.Status != wallet.StatusApplied {
			c.wrongEntry(e, "an expiry is the service's own, and this one is not as the service writes it: id %q, applied, and what is left of the grant", own.ID)
		}
	case e.Reason == wallet.ReasonTransactionRefused && e.TransactionID == "":
		c.wrongEntry(e, "a transaction was refused, and it is a leg of none")
	case e.TransactionID != "":
		if e.CommandID != wallet.LegID(e.TransactionID, e.Leg) || e.Leg < 1 || e.Leg > e.Legs {
			c.wrongEntry(e, "it is leg %d of %d of transaction %q, and its id is not made of that", e.Leg, e.Legs, e.TransactionID)
		}
	case wallet.IsRunLineID(e.CommandID): // any command
	case strings.HasPrefix(e.CommandID, "_") && (e.Position != 1 || !sameCommand(e, own)):
		c.wrongEntry(e, "ids that begin with \"_\" are the service's own, and this entry is none that it writes")
	}
}

var malformedID = regexp.MustCompile(`^_malformed-[0-9a-f]{64}$`)

func sameCommand(e *wallet.Entry, c wallet.Command) bool {
	rules, _ := wallet.RulesOf(e.Format)
	return e.CommandID == c.ID && e.Type == c.Type && rules.RequestHash(e.Command()) == rules.RequestHash(c)
}

// checkDue checks that each hold expired in time. The fold has all that are due expire before
// the first command that comes then, by their expiry, then their id: so no entry is there while
// a hold is due, but the expiry of the first one that is.
func (c *chain) checkDue(e *wallet.Entry) {
	first := wallet.Hold{}
	defer func() { c.checkDueGrant(e, first) }()
	if c.holds.due.IsZero() || e.RecordedAt.Before(c.holds.due) {
		return
	}
	for _, h := range c.want.Holds {
		if h.IsDue(e.RecordedAt) && (first.ID == "" || cmp.Or(h.ExpiresAt.Compare(first.ExpiresAt), cmp.Compare(h.ID, first.ID)) < 0) {
			first = h
		}
	}
	if g, due := c.dueGrant(e.RecordedAt); due && g.ExpiresAt.Before(first.ExpiresAt) {
		return // that one is the first
	}
	if first.ID != "" && (e.Type != wallet.TypeExpire || e.HoldID != first.ID) {
		c.wrongEntry(e, "hold %q had expired at %s, and has no entry of that before this one", first.ID, rfc3339(first.ExpiresAt))
	}
	c.holds.due = nextExpiry(c.want.Holds)
}

// unknownFormat is what is wrong with an entry that a later version has written.
func unknownFormat(format int64) string { return (&wallet.UnknownFormatError{Format: format}).Error() }

// checkOutcome derives the entry again from the account before it, with the rules of its
// format.
func (c *chain) checkOutcome(e *wallet.Entry) {
	rules, _ := wallet.RulesOf(e.Format)
	command := e.Command()
	received := wallet.Received{Command: command}
	if e.Reason == wallet.ReasonMalformed {
		received.Malformed = e.Message
	}
	if state, closed := c.holds.closed[e.HoldID]; closed { // of which the rules need no more
		c.want.Keep(wallet.Hold{ID: e.HoldID, State: state})
		defer delete(c.want.Holds, e.HoldID)
	}
	if e.TransactionID != "" && e.Status == wallet.StatusUnapplied {
		if received.Refused = c.refusedLeg(e, received, rules); c.finding != nil {
			return
		}
	}
	after, result, err := rules.Apply(c.want, received, e.RecordedAt)
	if err != nil {
		c.wrongEntry(e, "%v", err)
		return
	}
	// The rules say whether there is a message; its wording may be another release's,
	// and the hash covers it.
	if result.Message != "" && e.Message != "" {
		result.Message = e.Message
	}
	want := rules.NewEntry(c.want.Asset, command, result, e.RecordedAt)
	switch {
	case sameOutcome(e, &want):
		after.Asset = after.Asset.After(*e)
		c.want = after
	case e.ComputeHash() != e.Hash:
		c.wrongEntry(e, "a column was changed: the hash of the row is not %s", e.Hash)
	case e.RequestHash != want.RequestHash:
		c.wrongEntry(e, "request_hash does not match its content")
	case want.Status == e.Status && (want.Message == "") != (e.Message == ""):
		c.wrongEntry(e, "it is %s, and its message is %q", e.Status, e.Message)
	default:
		c.wrongEntry(e, "the rules give another outcome: %s %s, total %s to %s, version %d (the row has %s %s, %s to %s, %d)",
			want.Status, want.Reason, want.TotalBefore, want.TotalAfter, want.Version, e.Status, e.Reason, e.TotalBefore, e.TotalAfter, e.Version)
	}
}

// sameOutcome compares everything that NewEntry did not take from the entry itself, except the
// place in the chain. If it is the same, so is what was hashed, and the row does not have to be
// hashed again.
func sameOutcome(e, want *wallet.Entry) bool {
	return e.Hash == want.Hash && e.RequestHash == want.RequestHash && e.Version == want.Version &&
		e.Status == want.Status && e.Reason == want.Reason && e.Message == want.Message && e.Amount.Same(want.Amount) &&
		e.TotalBefore.Same(want.TotalBefore) && e.TotalAfter.Same(want.TotalAfter) &&
		e.HoldBefore.Same(want.HoldBefore) && e.HoldAfter.Same(want.HoldAfter) &&
		e.LegRef == want.LegRef && e.OriginalLeft.Same(want.OriginalLeft) && e.Grants == want.Grants && e.GrantExpiresAt.Equal(want.GrantExpiresAt) && e.Frozen == want.Frozen && e.FreezeEnds == want.FreezeEnds && e.Closed == want.Closed && e.CreditLimit.Same(want.CreditLimit) && e.Thresholds == want.Thresholds && e.Crossed == want.Crossed && e.HoldState == want.HoldState && e.HoldLeft.Same(want.HoldLeft) && e.HoldExpiresAt.Equal(want.HoldExpiresAt)
}

// checkEvent checks that an event repeats its entry, which has been checked, byte for byte.
func (c *chain) checkEvent(e *wallet.Entry, entries, events *stream) {
	if column := c.repeats.Differs(entries.row(), events.row()); column != "" {
		c.wrong("wallet_asset_events", e.Position, "event of version %d does not repeat %s of journal entry %q", e.Version, column, e.CommandID)
	}
	kind, _ := wallet.KindOf(e.Type)
	if got := events.reader.EventType(events.row()); got != kind.Event {
		c.wrong("wallet_asset_events", e.Position, "event of version %d has event_type %.60q instead of %q", e.Version, got, kind.Event)
	}
	if c.finding == nil && e.Version > c.feed.upTo && !c.scope.withoutMissing {
		c.wrong("wallet_feed", e.Position, "event of version %d is in no range of the feed, its consumers do not see it: run \"wallet repair\"", e.Version)
		c.finding.MissingRange = true
	}
}

// noEvent notes that an applied entry has none, unless it is too new to have one.
func (c *chain) noEvent(e *wallet.Entry) {
	if e.Version <= c.scope.eventsUpTo && !c.scope.withoutMissing {
		c.missing = e.Version
		c.wrong("wallet_asset_events", e.Position, "entry %q (version %d) has no event: run \"wallet repair\"", e.CommandID, e.Version)
		c.finding.MissingEvent = true
	}
}

func (c *chain) strayEvent(event *wallet.Entry) {
	c.wrong("wallet_asset_events", event.Position, "event of version %d (command %q) has no applied journal entry", event.Version, event.CommandID)
}

// end checks the feed and the balance against the end of the journal, and returns what is wrong
// with the wallet asset, if anything.
func (c *chain) end() *Finding {
	if c.feed.problem != "" {
		c.wrong("wallet_feed", c.want.Position, "%s", c.feed.problem)
	}
	if c.finding == nil && c.feed.last > c.want.Version {
		c.wrong("wallet_feed", c.want.Position, "a range goes up to version %d, but the journal has %d applied commands", c.feed.last, c.want.Version)
	}
	if c.finding != nil || c.have == nil {
		return c.finding
	}
	c.endHolds()
	c.endGrants()
	have, want := c.have, c.want
	wrong := func(format string, args ...any) { c.wrong("wallet_assets", want.Position, format, args...) }
	switch {
	case want.Position == 0:
		wrong("the wallet has a balance but no journal")
	case have.Position != want.Position:
		wrong("position is %d, but the journal ends at %d", have.Position, want.Position)
	case have.Hash != want.Hash:
		wrong("hash is not that of the last journal entry")
	case have.Format != want.Format:
		wrong("format is %d, but that of the last journal entry is %d", have.Format, want.Format)
	case have.Version != want.Version:
		wrong("version is %d, but the journal has %d applied commands", have.Version, want.Version)
	case !have.Total.Same(want.Total) || !have.Hold.Same(want.Hold):
		wrong("total %s and hold %s are not those of the journal (%s, %s)", have.Total, have.Hold, want.Total, want.Hold)
	case have.Frozen != want.Frozen || have.FreezeEnds != want.FreezeEnds || have.Closed != want.Closed:
		wrong("it is frozen %q and closed %t, but the journal says %q and %t", wallet.FrozenText(have.Frozen, have.FreezeEnds, rfc3339), have.Closed, wallet.FrozenText(want.Frozen, want.FreezeEnds, rfc3339), want.Closed)
	case !have.CreditLimit.Same(want.CreditLimit):
		wrong("its credit limit is %s, but the journal says %s", have.CreditLimit, want.CreditLimit)
	case have.Thresholds != want.Thresholds:
		wrong("its thresholds are %.200q, but the journal says %.200q", have.Thresholds, want.Thresholds)
	case have.OpenHolds != want.OpenHolds:
		wrong("open_holds is %d, but the journal leaves %d open", have.OpenHolds, want.OpenHolds)
	case !have.NextExpiry.Equal(nextExpiry(want.Holds)):
		wrong("next_expiry is not that of the hold that expires next")
	case !have.UpdatedAt.Equal(want.UpdatedAt):
		wrong("updated_at is not when the last entry was recorded")
	}
	return c.finding
}
