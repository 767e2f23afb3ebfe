package trail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Receipt is what a caller can keep of an answer: the place of a journal entry in its chain,
// and its hash, which covers every column of the entry and all entries before it. With a
// receipt anyone can tell later whether the journal was changed, even by somebody who can write
// to the database and recompute every hash. The head of a chain is the receipt of its last
// entry.
type Receipt struct {
	UserID    string      `json:"user_id"`
	Currency  string      `json:"currency"`
	CommandID string      `json:"command_id,omitempty"` // absent in an exported head
	Position  int64       `json:"position"`
	Hash      wallet.Hash `json:"hash"`
}

var (
	sqlEntryByID = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND command_id = $3`

	sqlEntryAt = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND position = $3`
)

const sqlHeads = `SELECT user_id, currency, position, hash
	FROM wallet_assets
	WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR currency = $2)
	ORDER BY user_id, currency`

// EntriesByID looks up the journal entries of commands, applied or refused, by their ids. Ids that
// the journal does not have are absent.
func (r Reader) EntriesByID(ctx context.Context, ref wallet.AssetRef, ids []string) (map[string]wallet.Entry, error) {
	byID := make(map[string]wallet.Entry, len(ids))
	for some := range slices.Chunk(ids, wallet.MaxBatch) {
		found, err := r.db.Query(ctx, rows.EntriesByID, slices.Repeat([]string{ref.UserID}, len(some)), slices.Repeat([]string{ref.Currency}, len(some)), some)
		if err != nil {
			return nil, err
		}
		entries, err := rows.CollectEntries(found)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			byID[e.CommandID] = e
		}
	}
	return byID, nil
}

// ErrNoCommand says that a journal has no entry of a command.
var ErrNoCommand = errors.New("no such command")

// Receipt returns the receipt of a command, applied or refused, from the journal.
func (r Reader) Receipt(ctx context.Context, userID, currency, commandID string) (Receipt, error) {
	found, err := r.db.Query(ctx, sqlEntryByID, userID, currency, commandID)
	if err != nil {
		return Receipt{}, err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return Receipt{}, err
	}
	if len(entries) == 0 {
		return Receipt{}, fmt.Errorf("the journal of the %s wallet of user %q has no command %q: %w", currency, userID, commandID, ErrNoCommand)
	}
	e := entries[0]
	return Receipt{e.UserID, e.Currency, e.CommandID, e.Position, e.Hash}, nil
}

// Heads calls do with the head of each chain: of all users, of one user, or of one wallet.
func (r Reader) Heads(ctx context.Context, userID, currency string, do func(Receipt) error) error {
	found, err := r.db.Query(ctx, sqlHeads, userID, currency)
	if err != nil {
		return err
	}
	var head Receipt
	_, err = pgx.ForEachRow(found, []any{&head.UserID, &head.Currency, &head.Position, &head.Hash}, func() error { return do(head) })
	return err
}

// CheckReceipt returns nil if the journal still has exactly that entry at that place, otherwise
// a Finding that says what happened to it. It checks only that entry; Verify checks the chain
// before it.
func (r Reader) CheckReceipt(ctx context.Context, receipt Receipt) (*Finding, error) {
	found, err := r.db.Query(ctx, sqlEntryAt, receipt.UserID, receipt.Currency, receipt.Position)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	problem := "the journal has no entry at this position any more: it was deleted, or the end of the journal was cut off"
	for read := 0; found.Next(); read++ {
		if problem = receipt.compare(found); read > 0 {
			problem = "the journal has two entries at this position"
		}
	}
	if err := found.Err(); err != nil || problem == "" {
		return nil, err
	}
	return &Finding{UserID: receipt.UserID, Currency: receipt.Currency, Table: "wallet_commands", Position: receipt.Position, Problem: problem}, nil
}

// compare says what is wrong with the current row of found, or nothing.
func (receipt Receipt) compare(found pgx.Rows) string {
	var e wallet.Entry
	problem := rows.Entries(found).Entry(rows.Values(found), &e)
	_, known := wallet.RulesOf(e.Format)
	switch {
	case problem != "":
		return problem
	case receipt.CommandID != "" && e.CommandID != receipt.CommandID:
		return fmt.Sprintf("command %q is at this position, the receipt is for %q", e.CommandID, receipt.CommandID)
	case e.Hash != receipt.Hash:
		return "the entry's hash differs from the receipt's: it, or one before it, was changed, and the chain was rebuilt"
	case !known:
		return unknownFormat(e.Format)
	case e.ComputeHash() != e.Hash:
		return "a column of the entry was changed: its hash does not match the row"
	}
	return ""
}

// CheckReceipts reads receipts or heads, one JSON object after the other, and checks each. It
// returns how many it has read.
func (r Reader) CheckReceipts(ctx context.Context, from io.Reader) (read int64, findings []Finding, err error) {
	for decoder := json.NewDecoder(from); ; read++ {
		var receipt Receipt
		if err := decoder.Decode(&receipt); errors.Is(err, io.EOF) {
			return read, findings, nil
		} else if err != nil {
			return read, findings, fmt.Errorf("receipt %d (counted from 1) cannot be read: %w", read+1, err)
		}
		if err := wallet.ValidateWallet(receipt.UserID, receipt.Currency); err != nil {
			return read, findings, fmt.Errorf("receipt %d (counted from 1): %w", read+1, err)
		}
		finding, err := r.CheckReceipt(ctx, receipt)
		if err != nil {
			return read, findings, err
		}
		if finding != nil {
			findings = append(findings, *finding)
		}
	}
}
