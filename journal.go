package wallet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Hash is a SHA-256, in JSON and text as 64 hexadecimal digits.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }
func (h Hash) IsZero() bool   { return h == Hash{} }

// MarshalText writes hexadecimal digits; the zero hash, which the first entry of
// a chain has before it, is 64 zeros.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("hash %s has %d characters, not %d", quote(string(text)), len(text), hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Entry is a row of the journal: a command that reached a wallet asset, what
// became of it, and its place in the asset's hash chain. Entries are never
// changed.
type Entry struct {
	UserID      string
	Currency    string
	Position    int64
	CommandID   string
	Type        CommandType // empty if it could not be read
	Amount      Amount      // 0 if there was none
	RequestHash Hash
	Status      Status
	Reason      Reason
	Message     string
	TotalBefore Amount
	TotalAfter  Amount
	HoldBefore  Amount
	HoldAfter   Amount
	Version     int64 // 0 if unapplied
	Description string
	Actor       string
	Metadata    map[string]string
	RecordedAt  time.Time // UTC, microseconds
	PrevHash    Hash
	Hash        Hash
}

// NewEntry makes the journal entry of a result that Apply gave for the asset
// before it, at Postgres's time, and links it to the chain.
func NewEntry(before Asset, c Command, r Result, recordedAt time.Time) Entry {
	e := Entry{
		UserID: before.UserID, Currency: before.Currency, Position: r.Position,
		CommandID: c.ID, Type: c.Type, Amount: r.Amount, RequestHash: c.RequestHash(),
		Status: r.Status, Reason: r.Reason, Message: r.Message,
		TotalBefore: r.TotalBefore, TotalAfter: r.TotalAfter,
		HoldBefore: r.HoldBefore, HoldAfter: r.HoldAfter, Version: r.Version,
		Description: c.Description, Actor: c.Actor, Metadata: c.Metadata,
		RecordedAt: recordedAt.UTC().Truncate(time.Microsecond),
		PrevHash:   before.Hash,
	}
	e.Hash = e.ComputeHash()
	return e
}

// Result is the answer that this entry is the record of.
func (e Entry) Result() Result {
	return Result{
		CommandID: e.CommandID, Type: e.Type, Status: e.Status, Reason: e.Reason, Message: e.Message,
		Amount: e.Amount, TotalBefore: e.TotalBefore, TotalAfter: e.TotalAfter,
		HoldBefore: e.HoldBefore, HoldAfter: e.HoldAfter, Version: e.Version,
		Position: e.Position, Hash: e.Hash, RecordedAt: e.RecordedAt,
	}
}

// ComputeHash derives the entry's hash from every other column, PrevHash among
// them. Whoever reads the row can do the same and compare.
func (e Entry) ComputeHash() Hash { return e.encode().sum() }

func (e Entry) encode() *encoder {
	enc := newEncoder("wallet-entry-v1")
	enc.text(e.UserID)
	enc.text(e.Currency)
	enc.number(e.Position)
	enc.text(e.CommandID)
	enc.text(string(e.Type))
	enc.amount(e.Amount)
	enc.bytes(e.RequestHash[:])
	enc.text(string(e.Status))
	enc.text(string(e.Reason))
	enc.text(e.Message)
	enc.amount(e.TotalBefore)
	enc.amount(e.TotalAfter)
	enc.amount(e.HoldBefore)
	enc.amount(e.HoldAfter)
	enc.number(e.Version)
	enc.text(e.Description)
	enc.text(e.Actor)
	enc.metadata(e.Metadata)
	enc.number(e.RecordedAt.UnixMicro())
	enc.bytes(e.PrevHash[:])
	return enc
}

// encoder collects fields one after the other, each behind its length as 8 bytes
// big endian, so that no field can bleed into the next: ("ab","c") and ("a","bc")
// differ. They are hashed all at once, since many small writes cost more than the
// hash does.
type encoder []byte

// encoders are used again: a verification needs millions.
var encoders = sync.Pool{New: func() any { return &encoder{} }}

func newEncoder(domain string) *encoder {
	e := encoders.Get().(*encoder)
	*e = (*e)[:0]
	e.text(domain)
	return e
}

func (e *encoder) length(n int) { *e = binary.BigEndian.AppendUint64(*e, uint64(n)) }

func (e *encoder) bytes(b []byte) {
	e.length(len(b))
	*e = append(*e, b...)
}

func (e *encoder) text(s string) {
	e.length(len(s))
	*e = append(*e, s...)
}

func (e *encoder) number(n int64) {
	e.length(8)
	*e = binary.BigEndian.AppendUint64(*e, uint64(n))
}

func (e *encoder) amount(a Amount) {
	var room [maxParsedDigits]byte
	e.bytes(a.appendText(room[:0]))
}

// metadata writes the number of pairs, then each key and value, sorted by key.
func (e *encoder) metadata(m map[string]string) {
	e.number(int64(len(m)))
	for _, key := range sortedKeys(m) {
		e.text(key)
		e.text(m[key])
	}
}

// sum is the end of an encoder's use.
func (e *encoder) sum() Hash {
	h := sha256.Sum256(*e)
	encoders.Put(e)
	return h
}

func sha256Of(b []byte) Hash { return sha256.Sum256(b) }

// Scan reads a bytea column; it makes Hash a database/sql Scanner.
func (h *Hash) Scan(column any) error {
	b, ok := column.([]byte)
	if !ok || len(b) != len(h) {
		return fmt.Errorf("hash column is a %T of %d bytes, not %d bytes", column, len(b), len(h))
	}
	copy(h[:], b)
	return nil
}
