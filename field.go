package wallet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field is one field of a journal entry. EntryFields is the only list of their columns: the code that
// inserts, reads, verifies, hashes and exports entries uses it. Structs have the fields themselves.
type Field struct {
	// Name is the column's name. In the hash, it is also the name of a field that is not fixed.
	Name string
	// Of returns a pointer to the field in an entry: a *string, *int64, *Amount, *Hash,
	// *time.Time, *bool, *map[string]string, or **int64 where 0 is not the same as none.
	Of func(*Entry) any
	// Optional fields are NULL if they are not set.
	Optional bool
	// InEvent fields are repeated in the event of an applied entry.
	InEvent bool
	// JSON fields are texts that Postgres keeps as jsonb.
	JSON bool
	// Signed amounts may be below 0.
	Signed bool
	// fixed fields are hashed by their place in this table, so their order must never change.
	// The others are hashed by name, and only if they are set: a field added later changes no
	// hash of an entry without it.
	fixed bool
}

// EntryFields are the fields of an entry, in the order of the columns of wallet_commands.
// Format and Hash come last; the hash does not cover them as fields.
var EntryFields = []Field{
	{Name: "user_id", Of: func(e *Entry) any { return &e.UserID }, InEvent: true, fixed: true},
	{Name: "currency", Of: func(e *Entry) any { return &e.Currency }, InEvent: true, fixed: true},
	{Name: "position", Of: func(e *Entry) any { return &e.Position }, InEvent: true, fixed: true},
	{Name: "command_id", Of: func(e *Entry) any { return &e.CommandID }, InEvent: true, fixed: true},
	{Name: "type", Of: func(e *Entry) any { return (*string)(&e.Type) }, Optional: true, fixed: true},
	{Name: "amount", Of: func(e *Entry) any { return &e.Amount }, Optional: true, InEvent: true, fixed: true},
	{Name: "request_hash", Of: func(e *Entry) any { return &e.RequestHash }, fixed: true},
	{Name: "status", Of: func(e *Entry) any { return (*string)(&e.Status) }, fixed: true},
	{Name: "reason", Of: func(e *Entry) any { return (*string)(&e.Reason) }, Optional: true, fixed: true},
	{Name: "message", Of: func(e *Entry) any { return &e.Message }, Optional: true, fixed: true},
	{Name: "total_before", Of: func(e *Entry) any { return &e.TotalBefore }, InEvent: true, Signed: true, fixed: true},
	{Name: "total_after", Of: func(e *Entry) any { return &e.TotalAfter }, InEvent: true, Signed: true, fixed: true},
	{Name: "hold_before", Of: func(e *Entry) any { return &e.HoldBefore }, InEvent: true, fixed: true},
	{Name: "hold_after", Of: func(e *Entry) any { return &e.HoldAfter }, InEvent: true, fixed: true},
	{Name: "version", Of: func(e *Entry) any { return &e.Version }, Optional: true, InEvent: true, fixed: true},
	{Name: "description", Of: func(e *Entry) any { return &e.Description }, Optional: true, InEvent: true, fixed: true},
	{Name: "actor", Of: func(e *Entry) any { return &e.Actor }, Optional: true, InEvent: true, fixed: true},
	{Name: "metadata", Of: func(e *Entry) any { return &e.Metadata }, Optional: true, InEvent: true, fixed: true},
	{Name: "recorded_at", Of: func(e *Entry) any { return &e.RecordedAt }, InEvent: true, fixed: true},
	{Name: "prev_hash", Of: func(e *Entry) any { return &e.PrevHash }, fixed: true},
	{Name: "not_after", Of: func(e *Entry) any { return &e.NotAfter }, Optional: true, InEvent: true},
	{Name: "expected_version", Of: func(e *Entry) any { return &e.ExpectedVersion }, Optional: true, InEvent: true},
	{Name: "hold_id", Of: func(e *Entry) any { return &e.HoldID }, Optional: true, InEvent: true},
	{Name: "expires_in", Of: func(e *Entry) any { return &e.ExpiresIn }, Optional: true, InEvent: true},
	{Name: "expires_at", Of: func(e *Entry) any { return &e.ExpiresAt }, Optional: true, InEvent: true},
	{Name: "partial", Of: func(e *Entry) any { return &e.Partial }, Optional: true, InEvent: true},
	{Name: "hold_state", Of: func(e *Entry) any { return (*string)(&e.HoldState) }, Optional: true, InEvent: true},
	{Name: "hold_left", Of: func(e *Entry) any { return &e.HoldLeft }, Optional: true, InEvent: true},
	{Name: "hold_expires_at", Of: func(e *Entry) any { return &e.HoldExpiresAt }, Optional: true, InEvent: true},
	{Name: "original_id", Of: func(e *Entry) any { return &e.OriginalID }, Optional: true, InEvent: true},
	{Name: "original_left", Of: func(e *Entry) any { return &e.OriginalLeft }, Optional: true, InEvent: true},
	{Name: "what", Of: func(e *Entry) any { return &e.What }, Optional: true, InEvent: true},
	{Name: "frozen", Of: func(e *Entry) any { return (*string)(&e.Frozen) }, Optional: true, InEvent: true},
	{Name: "debits_frozen_until", Of: func(e *Entry) any { return &e.DebitsFrozenUntil }, Optional: true, InEvent: true},
	{Name: "credits_frozen_until", Of: func(e *Entry) any { return &e.CreditsFrozenUntil }, Optional: true, InEvent: true},
	{Name: "closed", Of: func(e *Entry) any { return &e.Closed }, Optional: true, InEvent: true},
	{Name: "credit_limit", Of: func(e *Entry) any { return &e.CreditLimit }, Optional: true, InEvent: true},
	{Name: "priority", Of: func(e *Entry) any { return &e.Priority }, Optional: true, InEvent: true},
	{Name: "return_expired", Of: func(e *Entry) any { return &e.ReturnExpired }, Optional: true, InEvent: true},
	{Name: "grant_expires_at", Of: func(e *Entry) any { return &e.GrantExpiresAt }, Optional: true, InEvent: true},
	{Name: "grants", Of: func(e *Entry) any { return &e.Grants }, Optional: true, InEvent: true},
	{Name: "transaction_id", Of: func(e *Entry) any { return &e.TransactionID }, Optional: true, InEvent: true},
	{Name: "leg", Of: func(e *Entry) any { return &e.Leg }, Optional: true, InEvent: true},
	{Name: "legs", Of: func(e *Entry) any { return &e.Legs }, Optional: true, InEvent: true},
	{Name: "threshold", Of: func(e *Entry) any { return &e.Threshold }, Optional: true, InEvent: true},
	{Name: "thresholds", Of: func(e *Entry) any { return (*string)(&e.Thresholds) }, Optional: true, InEvent: true, JSON: true},
	{Name: "crossed", Of: func(e *Entry) any { return (*string)(&e.Crossed) }, Optional: true, InEvent: true, JSON: true},
	{Name: "format", Of: func(e *Entry) any { return &e.Format }},
	{Name: "hash", Of: func(e *Entry) any { return &e.Hash }, InEvent: true},
}

// inHash reports whether a field is hashed, by place or by name. The format is covered too: its
// constant begins the hash.
func (f Field) inHash() bool { return f.Name != "format" && f.Name != "hash" }

// commandField is a field of a command that only some types take, or a condition. All of them
// are part of a command's content, which is what tells a retry from a reused id.
type commandField struct {
	name string
	of   func(*Command) any
	// entry returns the field's place in the journal entry.
	entry func(*Entry) any
	help  string // what to send
}

func (f commandField) isCondition() bool { return slices.Contains(conditions, f.name) }

// commandFields lists those fields. The first is hashed by its place, the others by name.
var commandFields = []commandField{
	{"amount", func(c *Command) any { return &c.Amount }, func(e *Entry) any { return &e.Amount }, `it as a string, such as "12.50"`},
	{"hold_id", func(c *Command) any { return &c.HoldID }, func(e *Entry) any { return &e.HoldID }, "the id of the command that placed the hold"},
	{"expires_in", func(c *Command) any { return &c.ExpiresIn }, func(e *Entry) any { return &e.ExpiresIn }, `a duration such as "15m"`},
	{"expires_at", func(c *Command) any { return &c.ExpiresAt }, func(e *Entry) any { return &e.ExpiresAt }, "a time such as 2026-01-31T12:00:00Z"},
	{"partial", func(c *Command) any { return &c.Partial }, func(e *Entry) any { return &e.Partial }, "true"},
	{"original_id", func(c *Command) any { return &c.OriginalID }, func(e *Entry) any { return &e.OriginalID }, "the id of the command to reverse"},
	{"what", func(c *Command) any { return &c.What }, func(e *Entry) any { return &e.What }, "debits, credits or all"},
	{"threshold", func(c *Command) any { return &c.Threshold }, func(e *Entry) any { return &e.Threshold }, "its name, such as low"},
	{"priority", func(c *Command) any { return &c.Priority }, func(e *Entry) any { return &e.Priority }, "1, which is used up first, to 100"},
	{"return_expired", func(c *Command) any { return &c.ReturnExpired }, func(e *Entry) any { return &e.ReturnExpired }, "true"},
	{"not_after", func(c *Command) any { return &c.NotAfter }, func(e *Entry) any { return &e.NotAfter }, "a time such as 2026-01-31T12:00:00Z"},
	{"expected_version", func(c *Command) any { return &c.ExpectedVersion }, func(e *Entry) any { return &e.ExpectedVersion }, "the version that the wallet must have"},
}

// isSet reports whether a field has a value.
func isSet(of any) bool {
	switch v := of.(type) {
	case *string:
		return *v != ""
	case *int64:
		return *v != 0
	case **int64:
		return *v != nil
	case *bool:
		return *v
	case *Amount:
		return *v != Amount{}
	case *time.Time:
		return !v.IsZero()
	}
	panic(fmt.Sprintf("wallet: a %T has no text", of))
}

// fieldText returns the canonical text of a field's value, empty if it is not set.
func fieldText(of any) string {
	if !isSet(of) {
		return ""
	}
	switch v := of.(type) {
	case *string:
		return *v
	case *int64:
		return strconv.FormatInt(*v, 10)
	case **int64:
		return strconv.FormatInt(**v, 10)
	case *bool:
		return "true"
	case *Amount:
		return v.String()
	default:
		return of.(*time.Time).UTC().Format(time.RFC3339Nano)
	}
}

// copyField copies a value from one field to another of the same type. Times become UTC.
func copyField(to, from any) {
	switch v := from.(type) {
	case *string:
		*to.(*string) = *v
	case *int64:
		*to.(*int64) = *v
	case **int64:
		*to.(**int64) = *v
	case *bool:
		*to.(*bool) = *v
	case *Amount:
		*to.(*Amount) = *v
	case *time.Time:
		*to.(*time.Time) = v.UTC()
	default:
		panic(fmt.Sprintf("wallet: a %T is no field of a command", from))
	}
}

// pair is a named field in a hash.
type pair struct{ name, text string }

// appendPair appends a field that is set.
func appendPair(all []pair, name string, of any) []pair {
	if !isSet(of) {
		return all
	}
	return append(all, pair{name, fieldText(of)})
}

// pairs writes how many there are, then the name and text of each, sorted by the bytes of the
// name.
func (e *encoder) pairs(all []pair) {
	slices.SortFunc(all, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	e.number(int64(len(all)))
	for _, p := range all {
		e.text(p.name)
		e.text(p.text)
	}
}
