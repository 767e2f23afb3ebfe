// Package trail reads what the wallets have written: balances, the journal of
// commands and the audit trail of events. It changes nothing.
package trail

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// EntryColumns are the columns of wallet_commands in the order that ScanEntry
// reads them.
const EntryColumns = `user_id, currency, position, command_id, coalesce(type, ''), amount::text, request_hash,
	status, coalesce(reason, ''), coalesce(message, ''),
	total_before::text, total_after::text, hold_before::text, hold_after::text,
	coalesce(version, 0), coalesce(description, ''), coalesce(actor, ''), metadata, recorded_at, prev_hash, hash`

// ScanEntry reads a row of EntryColumns.
func ScanEntry(row pgx.CollectableRow) (e wallet.Entry, err error) {
	err = row.Scan(&e.UserID, &e.Currency, &e.Position, &e.CommandID, &e.Type, &e.Amount, &e.RequestHash,
		&e.Status, &e.Reason, &e.Message,
		&e.TotalBefore, &e.TotalAfter, &e.HoldBefore, &e.HoldAfter,
		&e.Version, &e.Description, &e.Actor, &e.Metadata, &e.RecordedAt, &e.PrevHash, &e.Hash)
	e.RecordedAt = e.RecordedAt.UTC()
	return e, err
}

// AssetColumns are the columns of wallet_assets in the order that ScanAsset reads
// them, with the scale of its currency.
const AssetColumns = `user_id, currency, total_amount::text, hold_amount::text, version, position, hash, updated_at,
	(SELECT scale FROM currencies WHERE code = currency)`

// ScanAsset reads a row of AssetColumns.
func ScanAsset(row pgx.CollectableRow) (a wallet.Asset, err error) {
	err = row.Scan(&a.UserID, &a.Currency, &a.Total, &a.Hold, &a.Version, &a.Position, &a.Hash, &a.UpdatedAt, &a.Scale)
	a.UpdatedAt = a.UpdatedAt.UTC()
	return a, err
}

// Event is a row of wallet_asset_events: one applied command, as the modules
// around the wallet see it.
type Event struct {
	UserID      string            `json:"user_id"`
	Currency    string            `json:"currency"`
	Version     int64             `json:"version"`
	EventType   string            `json:"event_type"` // wallet_asset.created, .added, .subtracted
	CommandID   string            `json:"command_id"`
	Amount      wallet.Amount     `json:"amount,omitzero"`
	TotalBefore wallet.Amount     `json:"total_before"`
	TotalAfter  wallet.Amount     `json:"total_after"`
	HoldBefore  wallet.Amount     `json:"hold_before"`
	HoldAfter   wallet.Amount     `json:"hold_after"`
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	OccurredAt  time.Time         `json:"occurred_at"`
	Position    int64             `json:"position"` // of its journal entry
	Hash        wallet.Hash       `json:"hash"`     // of its journal entry
}

// EventColumns are the columns of wallet_asset_events in the order that ScanEvent
// reads them.
const EventColumns = `user_id, currency, version, event_type, command_id, amount::text,
	total_before::text, total_after::text, hold_before::text, hold_after::text,
	coalesce(description, ''), coalesce(actor, ''), metadata, occurred_at, position, hash`

// ScanEvent reads a row of EventColumns.
func ScanEvent(row pgx.CollectableRow) (e Event, err error) {
	err = row.Scan(&e.UserID, &e.Currency, &e.Version, &e.EventType, &e.CommandID, &e.Amount,
		&e.TotalBefore, &e.TotalAfter, &e.HoldBefore, &e.HoldAfter,
		&e.Description, &e.Actor, &e.Metadata, &e.OccurredAt, &e.Position, &e.Hash)
	e.OccurredAt = e.OccurredAt.UTC()
	return e, err
}

// eventTypes are the events of applied commands.
var eventTypes = map[wallet.CommandType]string{
	wallet.TypeCreate: "wallet_asset.created", wallet.TypeAdd: "wallet_asset.added", wallet.TypeSubtract: "wallet_asset.subtracted",
}

// EventOf is the event that an applied journal entry has to have.
func EventOf(e wallet.Entry) Event {
	return Event{
		UserID: e.UserID, Currency: e.Currency, Version: e.Version, EventType: eventTypes[e.Type], CommandID: e.CommandID, Amount: e.Amount,
		TotalBefore: e.TotalBefore, TotalAfter: e.TotalAfter, HoldBefore: e.HoldBefore, HoldAfter: e.HoldAfter,
		Description: e.Description, Actor: e.Actor, Metadata: e.Metadata, OccurredAt: e.RecordedAt, Position: e.Position, Hash: e.Hash,
	}
}
