package wallet

import (
	"errors"
	"fmt"
	"time"
)

// Asset is one wallet asset: the balance of a user in a currency, and the head
// of its hash chain.
type Asset struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	Scale    int32  `json:"scale"`        // the currency's decimals
	Total    Amount `json:"total_amount"` // all that the user owns
	Hold     Amount `json:"hold_amount"`  // the part of it that is reserved
	Version  int64  `json:"version"`      // applied commands
	Position int64  `json:"position"`     // recorded commands
	Hash     Hash   `json:"hash"`         // of the last journal entry
	// UpdatedAt is when that entry was recorded. Time never runs backwards along
	// a chain, so that "the balance at a time" has one answer.
	UpdatedAt time.Time `json:"updated_at"`
}

// Exists reports whether the asset was created: creation is version 1.
func (a Asset) Exists() bool { return a.Version > 0 }

// Available is what may be subtracted: total minus hold.
func (a Asset) Available() Amount { return a.Total.Sub(a.Hold) }

// AutoCreate is the command that the service itself records when a command
// reaches a wallet asset that does not exist yet.
func AutoCreate() Command {
	return Command{ID: "_auto-create", Type: TypeCreate, Description: "created by the first command"}
}

// ErrAssetMissing says that a command came to an asset that was never created:
// the pre-hook has to run first.
var ErrAssetMissing = errors.New("wallet asset does not exist yet")

// Apply is the fold: what a command that has not been seen before does to an
// asset. All rules of the ledger are here. It is pure; it fills every field of
// the Result but Hash and RecordedAt, which NewEntry knows.
//
// The order of the rules matters for which reason a refusal gives: a command
// that cannot be understood first, then one that can never fit the currency,
// then one that does not fit the balance.
func Apply(a Asset, received Received) (Asset, Result) {
	c := received.Command
	total, hold := atScale(a.Total, a.Scale), atScale(a.Hold, a.Scale)
	a.Total, a.Hold = total, hold
	a.Position++
	r := Result{
		CommandID: c.ID, Type: c.Type, Position: a.Position,
		TotalBefore: total, TotalAfter: total, HoldBefore: hold, HoldAfter: hold,
	}
	refuse := func(reason Reason, format string, args ...any) (Asset, Result) {
		r.Status, r.Reason, r.Message = StatusUnapplied, reason, fmt.Sprintf(format, args...)
		return a, r
	}

	if received.Malformed != "" {
		return refuse(ReasonMalformed, "%s", received.Malformed)
	}
	amount, fits := c.Amount.AtScale(a.Scale)
	if !fits {
		r.Amount = c.Amount.Canonical()
		return refuse(ReasonScaleExceeded, "amount %s has more decimals than %s allows (%d): send a rounded amount under a new id", r.Amount, a.Currency, a.Scale)
	}
	if c.Type != TypeCreate {
		r.Amount = amount
	}

	switch c.Type {
	case TypeCreate:
		if a.Exists() {
			return refuse(ReasonAlreadyExists, "the %s wallet of user %s exists already", a.Currency, quote(a.UserID))
		}
	case TypeAdd:
		r.TotalAfter = total.Add(amount)
	case TypeSubtract:
		if available := a.Available(); amount.Cmp(available) > 0 {
			return refuse(ReasonInsufficientFunds, "cannot subtract %s %s: %s available (total %s, hold %s)", amount, a.Currency, available, total, hold)
		}
		r.TotalAfter = total.Sub(amount)
	default:
		panic(fmt.Sprintf("wallet: command type %q passed validation", c.Type))
	}

	if r.HoldAfter.IsNegative() || r.HoldAfter.Cmp(r.TotalAfter) > 0 {
		panic(fmt.Sprintf("wallet: %s would break 0 <= hold %s <= total %s", c, r.HoldAfter, r.TotalAfter))
	}
	a.Version++
	a.Total, a.Hold = r.TotalAfter, r.HoldAfter
	r.Status, r.Version = StatusApplied, a.Version
	return a, r
}

func atScale(a Amount, scale int32) Amount {
	fixed, ok := a.AtScale(scale)
	if !ok {
		panic(fmt.Sprintf("wallet: balance %s has more than %d decimals", a, scale))
	}
	return fixed
}

// Answer gives the result of a command whose id is taken: the first answer again,
// or an id_conflict if its content is another.
func Answer(prior Entry, a Asset, c Command) Result {
	if prior.RequestHash == c.RequestHash() {
		r := prior.Result()
		r.Replayed = true
		return r
	}
	return Result{
		CommandID: c.ID, Type: c.Type, Amount: c.Amount,
		Status: StatusUnapplied, Reason: ReasonIDConflict,
		Message: fmt.Sprintf("id %s was used before, on %s at position %d, with other content: send this command under a new id",
			quote(c.ID), prior.RecordedAt.Format(time.RFC3339), prior.Position),
		TotalBefore: a.Total, TotalAfter: a.Total, HoldBefore: a.Hold, HoldAfter: a.Hold,
		RecordedAt: prior.RecordedAt,
	}
}

// Fold runs commands in order over an asset. prior holds the journal entries of
// those ids among them that are taken. It returns the asset afterwards, the new
// journal entries, and one Result for each command. now is Postgres's clock.
//
// It returns ErrAssetMissing, and changes nothing, if a command other than create
// meets an asset that does not exist.
func Fold(a Asset, prior map[string]Entry, commands []Received, now time.Time) (Asset, []Entry, []Result, error) {
	if now.Before(a.UpdatedAt) {
		now = a.UpdatedAt
	}
	known := make(map[string]Entry, len(commands)) // by this fold
	entries := make([]Entry, 0, len(commands))
	results := make([]Result, 0, len(commands))
	for _, received := range commands {
		c := received.Command
		entry, taken := known[c.ID]
		if !taken {
			entry, taken = prior[c.ID]
		}
		if taken {
			results = append(results, Answer(entry, a, c))
			continue
		}
		if !a.Exists() && (c.Type != TypeCreate || received.Malformed != "") {
			return Asset{}, nil, nil, ErrAssetMissing
		}
		after, result := Apply(a, received)
		entry = NewEntry(a, c, result, now)
		after.Hash, after.UpdatedAt = entry.Hash, entry.RecordedAt
		a = after
		known[c.ID] = entry
		entries = append(entries, entry)
		results = append(results, entry.Result())
	}
	return a, entries, results, nil
}
