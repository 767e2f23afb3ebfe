package wallet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Hash is a SHA-256, written in JSON and text as 64 hexadecimal digits.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }
func (h Hash) IsZero() bool   { return h == Hash{} }

// MarshalText writes hexadecimal digits. The PrevHash of a chain's first entry is the zero
// hash: 64 zeros.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("hash %s has %d characters, not %d", quote(string(text)), len(text), hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Scan reads a bytea column; it makes Hash a database/sql Scanner.
func (h *Hash) Scan(column any) error {
	b, ok := column.([]byte)
	if !ok || len(b) != len(h) {
		return fmt.Errorf("hash column is a %T of %d bytes, not %d bytes", column, len(b), len(h))
	}
	copy(h[:], b)
	return nil
}

func sha256Of(b []byte) Hash { return sha256.Sum256(b) }

// Entry is a row of the journal: a command that reached a wallet asset, what it did, and its
// place in the asset's hash chain. Entries never change.
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
	// The conditions of the command.
	NotAfter        time.Time
	ExpectedVersion *int64
	// What the command asked of a hold: see Command.
	HoldID    string
	ExpiresIn string
	ExpiresAt time.Time
	Partial   bool
	// What the hold became: see Result.
	HoldState     HoldState
	HoldLeft      Amount // with the currency's decimals; 0 if nothing is left
	HoldExpiresAt time.Time
	// The command that a reversal is of, and what can still be reversed of it: see Result.
	OriginalID   string
	OriginalLeft Amount // with the currency's decimals; 0 if nothing is left
	What         string // a freeze is of
	// The wallet asset is so after the entry.
	Frozen Frozen
	FreezeEnds
	Closed      bool
	CreditLimit Amount // with the currency's decimals; 0 if there is none
	// The threshold that the command sets or removes, those that the wallet has after it, and the
	// ones that the entry crossed: see Result.
	Threshold  string
	Thresholds Thresholds
	Crossed    Crossed
	// What an add asked of its grant, and a reversal of expired ones: see Command.
	Priority       int64
	ReturnExpired  bool
	GrantExpiresAt time.Time // of the grant that was made
	Grants         string    // that were taken, reserved or given back: see GrantParts
	LegRef                   // of a transaction; zero for a command on its own
	RecordedAt     time.Time // UTC, microseconds
	PrevHash       Hash
	Hash           Hash
	Format         int64 // see Rules
}

// Result returns the answer that this entry records.
func (e Entry) Result() Result {
	return Result{
		CommandID: e.CommandID, LegRef: e.LegRef, SentID: sentID(e.Reason == ReasonMalformed, e.Metadata), Type: e.Type, Status: e.Status, Reason: e.Reason, Message: e.Message,
		Amount: e.Amount, TotalBefore: e.TotalBefore, TotalAfter: e.TotalAfter,
		HoldBefore: e.HoldBefore, HoldAfter: e.HoldAfter, Version: e.Version,
		HoldID: e.TargetHoldID(), HoldState: e.HoldState, HoldLeft: e.HoldLeft, HoldExpiresAt: e.HoldExpiresAt,
		OriginalID: e.OriginalID, OriginalLeft: e.OriginalLeft, GrantExpiresAt: e.GrantExpiresAt, Grants: e.Grants, Frozen: e.Frozen, FreezeEnds: e.FreezeEnds, Closed: e.Closed, CreditLimit: e.CreditLimit,
		Threshold: e.Threshold, Thresholds: e.Thresholds, Crossed: e.Crossed,
		Position: e.Position, Hash: e.Hash, RecordedAt: e.RecordedAt,
	}
}

func sentID(malformed bool, metadata map[string]string) string {
	if !malformed {
		return ""
	}
	return metadata[metadataSentID]
}
