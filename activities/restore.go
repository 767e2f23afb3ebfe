package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Rows that were lost come back from the journal, which has the facts.

// The asset as its journal ends with it, and as its holds are.
const sqlLostAssets = `SELECT wanted.u AS user_id, wanted.c AS currency, last.total_after::text AS total_amount, last.hold_after::text AS hold_amount,
		coalesce(applied.version, 0) AS version, last.position, last.hash, last.format, last.recorded_at AS updated_at,
		holds.open AS open_holds, holds.next AS next_expiry, grants.open AS open_grants, grants.granted AS granted_amount, grants.next AS next_grant_expiry, last.frozen, last.debits_frozen_until, last.credits_frozen_until, coalesce(last.closed, false) AS closed, last.credit_limit::text, watched.thresholds, (SELECT scale FROM currencies WHERE code = wanted.c) AS scale
	FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
	CROSS JOIN LATERAL (
		SELECT *
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c
		ORDER BY position DESC
		LIMIT 1) AS last
	LEFT JOIN LATERAL (
		SELECT version
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c AND version IS NOT NULL
		ORDER BY version DESC
		LIMIT 1) AS applied ON true
	CROSS JOIN LATERAL (
		SELECT count(*) AS open, min(expires_at) AS next
		FROM wallet_holds
		WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open') AS holds
	CROSS JOIN LATERAL (
		SELECT count(*) AS open, coalesce(sum(unused), 0)::text AS granted, min(expires_at) FILTER (WHERE state = 'open') AS next
		FROM wallet_grants
		WHERE user_id = wanted.u AND currency = wanted.c AND state IN ('open', 'held')) AS grants
	LEFT JOIN LATERAL (
		SELECT thresholds::text
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c AND threshold IS NOT NULL AND version IS NOT NULL
		ORDER BY -position
		LIMIT 1) AS watched ON true`

// All entries of a hold. There is no index for it: only a row that was lost calls for it.
var sqlEntriesOfHold = `SELECT ` + rows.EntryColumns + `
	FROM wallet_commands
	WHERE user_id = $1 AND currency = $2 AND (command_id = $3 OR hold_id = $3)
	ORDER BY position`

// restoreAssets gives rows that were just made the balance and the head of the chain that the
// journal ends with, if there is a journal.
func (l *lockedAssets) restoreAssets(found pgx.Rows) error {
	assets, err := rows.CollectAssets(found)
	for _, asset := range assets {
		if a := l.of(wallet.AssetRef{UserID: asset.UserID, Currency: asset.Currency}); a.hasRow() && !a.Exists() {
			a.Asset, a.changed, a.restored = asset, true, true
		}
	}
	return err
}

// restoreHolds makes holds again whose rows are gone. placed are the entries of ids that
// commands name as holds; they may be of any type.
func (t transaction) restoreHolds(ctx context.Context, l *lockedAssets, placed []wallet.Entry) error {
	for _, e := range placed {
		a := l.of(wallet.AssetRef{UserID: e.UserID, Currency: e.Currency})
		_, found := a.holds[e.CommandID]
		if found || e.Type != wallet.TypeHold || e.Status != wallet.StatusApplied || e.HoldID != "" {
			continue
		}
		rowsOfHold, err := t.conn.Query(ctx, sqlEntriesOfHold, e.UserID, e.Currency, e.CommandID)
		if err != nil {
			return err
		}
		entries, err := rows.CollectEntries(rowsOfHold)
		if err != nil {
			return err
		}
		h, ok := wallet.HoldOf(e.CommandID, entries)
		if !ok {
			continue
		}
		a.holds[h.ID], a.holdsToWrite[h.ID], a.changed = h, h, true
		if a.restored && h.IsOpen() { // whose open holds were counted without it
			a.OpenHolds++
		}
	}
	return nil
}
