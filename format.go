package wallet

import "time"

// CurrentFormat is the format of the entries that this build writes. Formats never decrease
// along a chain: a build that finds an entry of a later format does not write after it.
const CurrentFormat = 1

// Rules are how the entries of one format were decided and hashed. Only verifying a journal
// needs the rules of other formats: recorded answers are kept and never derived again.
type Rules struct {
	format  int64
	entry   string // the constant that an entry's hash begins with
	command string // and that of a request hash
	apply   func(Account, Received, time.Time) (Account, Result, error)
}

// formats has the rules of each format that this build knows.
var formats = map[int64]Rules{
	1: {format: 1, entry: "wallet-entry-v1", command: "wallet-command-v1", apply: apply},
}

// RulesOf returns the rules of a format, and false if this build does not know it.
func RulesOf(format int64) (Rules, bool) {
	r, ok := formats[format]
	return r, ok
}

// Apply decides a command as the rules of the format did: see the function Apply.
func (r Rules) Apply(before Account, received Received, now time.Time) (Account, Result, error) {
	return r.apply(before, received, now)
}

// RequestHash is the SHA-256 of a command's content: everything but its id and reply_to. An id
// that is sent again with another hash is an id_conflict.
func (r Rules) RequestHash(c Command) Hash { return r.encodeCommand(&c).sum() }

func (r Rules) encodeCommand(c *Command) *encoder {
	e := newEncoder(r.command)
	e.text(string(c.Type))
	e.amount(c.Amount.Canonical())
	e.text(c.Description)
	e.text(c.Actor)
	e.metadata(c.Metadata)
	var others []pair
	for _, f := range commandFields[1:] {
		others = appendPair(others, f.name, f.of(c))
	}
	others = c.LegRef.appendPairs(others)
	e.pairs(others)
	return e
}

// RequestHash uses the current format.
func (c Command) RequestHash() Hash { return formats[CurrentFormat].RequestHash(c) }

// ComputeHash derives the entry's hash from every other field, including PrevHash: fixed fields
// by their place, then the others that are set, by name. Anyone who reads the row can do the
// same and compare. For a format that this build does not know it is zero.
func (e *Entry) ComputeHash() Hash {
	rules, known := formats[e.Format]
	if !known {
		return Hash{}
	}
	return rules.encodeEntry(e).sum()
}

func (r Rules) encodeEntry(e *Entry) *encoder {
	enc := newEncoder(r.entry)
	var others []pair
	for _, f := range EntryFields {
		switch {
		case f.fixed:
			enc.field(f.Of(e))
		case f.inHash():
			others = appendPair(others, f.Name, f.Of(e))
		}
	}
	enc.pairs(others)
	return enc
}

// NewEntry makes the journal entry for a result of Apply and links it to the chain. before is
// the asset that Apply got; recordedAt is Postgres's time.
func (r Rules) NewEntry(before Asset, c Command, result Result, recordedAt time.Time) (e Entry) {
	r.fill(&e, before, &c, &result, recordedAt)
	return e
}

// fill is NewEntry for an entry that is there: a fold makes hundreds.
func (r Rules) fill(e *Entry, before Asset, c *Command, result *Result, recordedAt time.Time) {
	*e = Entry{
		UserID: before.UserID, Currency: before.Currency, Position: result.Position,
		CommandID: c.ID, Type: c.Type, RequestHash: r.encodeCommand(c).sum(),
		Status: result.Status, Reason: result.Reason, Message: result.Message,
		TotalBefore: result.TotalBefore, TotalAfter: result.TotalAfter,
		HoldBefore: result.HoldBefore, HoldAfter: result.HoldAfter, Version: result.Version,
		Description: c.Description, Actor: c.Actor, Metadata: c.Metadata,
		RecordedAt: recordedAt.UTC().Truncate(time.Microsecond),
		PrevHash:   before.Hash,
		Format:     r.format,
		LegRef:     c.LegRef,
	}
	for _, f := range commandFields {
		copyField(f.entry(e), f.of(c))
	}
	e.Amount = result.Amount // with the currency's decimals
	e.HoldState, e.HoldLeft, e.HoldExpiresAt = result.HoldState, result.HoldLeft, result.HoldExpiresAt
	e.OriginalLeft, e.Frozen, e.FreezeEnds, e.Closed, e.CreditLimit = result.OriginalLeft, result.Frozen, result.FreezeEnds, result.Closed, result.CreditLimit
	e.Thresholds, e.Crossed = result.Thresholds, result.Crossed
	e.GrantExpiresAt, e.Grants = result.GrantExpiresAt, result.Grants
	e.Hash = e.ComputeHash()
}

// Command returns the command that this entry records, without its reply_to.
func (e Entry) Command() Command {
	c := Command{ID: e.CommandID, LegRef: e.LegRef, Type: e.Type, Description: e.Description, Actor: e.Actor, Metadata: e.Metadata}
	for _, f := range commandFields {
		copyField(f.of(&c), f.entry(&e))
	}
	return c
}
