package rows

import (
	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// LastReversals finds what the last reversal of each original has left of it. The order is
// that of the index of reversals alone, so each takes one step into that, however many
// reversals there are. Without the lower bound, Postgres compares the rest of the index page with
// the id.
const LastReversals = `SELECT last.user_id, last.currency, last.original_id, coalesce(last.original_left, 0)::text
	FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
	CROSS JOIN LATERAL (
		SELECT user_id, currency, original_id, original_left
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c AND version IS NOT NULL
			AND original_id >= wanted.id COLLATE "C" AND original_id <= wanted.id COLLATE "C"
		ORDER BY original_id DESC, position DESC
		LIMIT 1) AS last`

// EachLastReversal calls do with what LastReversals finds.
func EachLastReversal(found pgx.Rows, do func(of wallet.AssetRef, originalID string, left wallet.Amount) error) error {
	var of wallet.AssetRef
	var id string
	var left wallet.Amount
	_, err := pgx.ForEachRow(found, []any{&of.UserID, &of.Currency, &id, &left}, func() error { return do(of, id, left) })
	return err
}
