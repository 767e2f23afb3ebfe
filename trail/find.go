package trail

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
)

// walletsPerLook is how many wallets one statement looks into.
const walletsPerLook = 5000

const sqlWalletsAfter = `SELECT user_id, currency
	FROM wallet_assets
	WHERE (user_id, currency) > ($1, $2)
	ORDER BY user_id, currency
	LIMIT $3`

// Find looks a command's id up in all wallets, by one step into an index for each, and calls found
// with each entry that has it. An index over the ids of all wallets would cost every command.
func (r Reader) Find(ctx context.Context, commandID string, found func(wallet.Entry) error) error {
	for last := (wallet.AssetRef{}); ; {
		page, err := r.db.Query(ctx, sqlWalletsAfter, last.UserID, last.Currency, walletsPerLook)
		if err != nil {
			return err
		}
		var users, currencies []string
		if _, err := pgx.ForEachRow(page, []any{&last.UserID, &last.Currency}, func() error {
			users, currencies = append(users, last.UserID), append(currencies, last.Currency)
			return nil
		}); err != nil {
			return err
		}
		var all []wallet.Entry
		err = postgres.QueryEach(ctx, r.db, rows.EntriesByID, []any{users, currencies, slices.Repeat([]string{commandID}, len(users))}, func(entries pgx.Rows) error {
			some, err := rows.CollectEntries(entries)
			all = append(all, some...)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range all {
			if err := found(e); err != nil {
				return err
			}
		}
		if len(users) < walletsPerLook {
			return nil
		}
	}
}
