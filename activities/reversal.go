package activities

import (
	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// sqlLastReversals finds what the last reversal of each original has left of it. The order is
// that of the index of reversals alone, so each takes one step into that, however many
// reversals there are.
const sqlLastReversals = `SELECT last.user_id, last.currency, last.original_id, coalesce(last.original_left, 0)::text
	FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
	CROSS JOIN LATERAL (
		SELECT user_id, currency, original_id, original_left
		FROM wallet_commands
		WHERE user_id = wanted.u AND currency = wanted.c AND original_id <= wanted.id COLLATE "C" AND version IS NOT NULL
		ORDER BY original_id DESC, position DESC
		LIMIT 1) AS last
	WHERE last.original_id = wanted.id`

// readReversals keeps the originals that commands name, which are among the entries read
// before, with what their last reversals have left of them.
func (l *lockedAssets) readReversals(named ids, found pgx.Rows) error {
	for i, id := range named.ids {
		a := l.of(wallet.AssetRef{UserID: named.users[i], Currency: named.currencies[i]})
		if e, known := a.prior[id]; known {
			a.originals[id] = wallet.OriginalOf(*e)
		}
	}
	var ref wallet.AssetRef
	var id string
	var left wallet.Amount
	_, err := pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &id, &left}, func() error {
		a := l.of(ref)
		o, known := a.originals[id]
		if !known {
			return &wallet.InconsistentError{UserID: ref.UserID, Currency: ref.Currency, Problem: "the journal has a reversal of a command that is missing"}
		}
		// With the decimals of the currency.
		o.Left = o.Moved.Sub(o.Moved).Add(left)
		a.originals[id] = o
		return nil
	})
	return err
}
