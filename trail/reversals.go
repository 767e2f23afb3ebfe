package trail

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
)

// originalColumn is, beside an entry e that reverses, the original and what the last reversal
// before e has left of it. Both rows are verified where the stream comes to them, so nothing
// of them has to be kept until then. The orders are those of one index each, as in package
// activities.
const originalColumn = `CASE WHEN e.original_id IS NOT NULL THEN (
		SELECT CASE WHEN o.command_id = e.original_id THEN json_build_object(
			'position', o.position, 'type', o.type, 'status', o.status, 'before', o.total_before::text, 'after', o.total_after::text, -- no arithmetic: it fails on what somebody may have made of them
			'grants', o.grants, 'granted', o.type = 'add' AND (o.priority IS NOT NULL OR o.expires_in IS NOT NULL OR o.expires_at IS NOT NULL),
			'left', (
				SELECT CASE WHEN p.original_id = e.original_id THEN coalesce(p.original_left, 0)::text END
				FROM wallet_commands AS p
				WHERE p.user_id = e.user_id AND p.currency = e.currency AND p.version IS NOT NULL
					AND p.original_id <= e.original_id AND (p.original_id, p.position) < (e.original_id, e.position)
				ORDER BY p.original_id DESC, p.position DESC
				LIMIT 1))::text END
		FROM wallet_commands AS o
		WHERE o.user_id = e.user_id AND o.currency = e.currency AND o.command_id >= e.original_id
		ORDER BY o.command_id
		LIMIT 1) END AS original`

// Reversed is how much of each entry was reversed so far; 0 of one of which nothing was.
func (r Reader) Reversed(ctx context.Context, entries []wallet.Entry) ([]wallet.Amount, error) {
	type key struct{ userID, currency, id string }
	reversed, places := make([]wallet.Amount, len(entries)), map[key]int{}
	var users, currencies, ids []string
	for i, e := range entries {
		if wallet.OriginalOf(e).IsReversible() {
			users, currencies, ids = append(users, e.UserID), append(currencies, e.Currency), append(ids, e.CommandID)
			places[key{e.UserID, e.Currency, e.CommandID}] = i
		}
	}
	if len(ids) == 0 {
		return reversed, nil
	}
	return reversed, postgres.QueryEach(ctx, r.db, rows.LastReversals, []any{users, currencies, ids}, func(found pgx.Rows) error {
		return rows.EachLastReversal(found, func(of wallet.AssetRef, id string, left wallet.Amount) error {
			i := places[key{of.UserID, of.Currency, id}]
			reversed[i] = wallet.OriginalOf(entries[i]).Moved.Sub(left)
			return nil
		})
	})
}

// readOriginal reads the original of a reversal on which a stream stands. It is none if it
// does not come before the reversal.
func readOriginal(found pgx.Rows, e *wallet.Entry) (o wallet.Original, known bool) {
	var text string
	if rows.Read(found, rows.Column{Name: "original", Of: &text, Optional: true}) != "" || text == "" {
		return o, false
	}
	var row struct {
		Position int64
		Type     *wallet.CommandType
		Status   wallet.Status
		Before   wallet.Amount
		After    wallet.Amount
		Left     *wallet.Amount
		Grants   *string
		Granted  *bool
	}
	if json.Unmarshal([]byte(text), &row) != nil || row.Position >= e.Position {
		return o, false
	}
	original := wallet.Entry{CommandID: e.OriginalID, Status: row.Status, TotalBefore: row.Before, TotalAfter: row.After}
	if row.Type != nil {
		original.Type = *row.Type
	}
	if row.Grants != nil {
		original.Grants = *row.Grants
	}
	o = wallet.OriginalOf(original)
	if row.Granted != nil && *row.Granted && row.Status == wallet.StatusApplied {
		o.Grant = row.Position
	}
	if row.Left != nil {
		o = o.WithLeft(*row.Left)
	}
	return o, true
}
