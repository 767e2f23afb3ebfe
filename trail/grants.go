package trail

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// A grant is past by the later of Postgres's clock and the time of its wallet's last entry, as in the
// fold. What a hold that is due by then reserves of it is given back. Each table is asked for the user:
// Citus would not run the statement on the user's node otherwise.
const grantsAfter = `WITH returned AS MATERIALIZED (
		SELECT h.currency, split_part(part, ':', 1)::bigint AS number, sum(split_part(part, ':', 2)::numeric)::text AS amount
		FROM wallet_assets AS a
		JOIN wallet_holds AS h ON h.user_id = a.user_id AND h.currency = a.currency AND h.state = 'open' AND h.expires_at <= ` + readAt + `
		CROSS JOIN LATERAL unnest(string_to_array(h.grants, ',')) AS part
		WHERE a.user_id = $1 AND ($2 = '' OR a.currency = $2) AND a.open_grants > 0
		GROUP BY 1, 2)
	SELECT ` + rows.GrantColumns + `,
		coalesce(expires_at <= greatest(now(), (
			SELECT a.updated_at
			FROM wallet_assets AS a
			WHERE a.user_id = $1 AND a.currency = g.currency)), false) AS past,
		(SELECT amount
		FROM returned
		WHERE returned.currency = g.currency AND number = grant_number) AS returned
	FROM %s AS g
	WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND (currency, grant_number) > ($3, $4) AND ($6::timestamptz IS NULL OR expires_at < $6)
	ORDER BY currency, grant_number
	LIMIT $5`

var (
	sqlOpenGrantsOf = fmt.Sprintf(grantsAfter, `(SELECT * FROM wallet_grants WHERE user_id = $1 AND state IN ('open', 'held') OFFSET 0)`)
	sqlGrantsOf     = fmt.Sprintf(grantsAfter, `wallet_grants`)
)

// Grant is a grant of a wallet asset.
type Grant struct {
	wallet.AssetRef
	wallet.Grant
}

// GrantFilter selects a page of a user's grants, after a given one.
type GrantFilter struct {
	UserID, Currency string
	All              bool      // those of which nothing is left too
	ExpiresBefore    time.Time // zero for all
	AfterCurrency    string
	AfterNumber      int64
	Limit            int
}

// GrantIDs returns the ids of the commands that have made grants, by the grants' numbers.
func (r Reader) GrantIDs(ctx context.Context, userID, currency string, numbers []int64) (map[int64]string, error) {
	found, err := r.db.Query(ctx, `SELECT grant_number, command_id FROM wallet_grants WHERE user_id = $1 AND currency = $2 AND grant_number = ANY ($3)`, userID, currency, numbers)
	if err != nil {
		return nil, err
	}
	ids := make(map[int64]string, len(numbers))
	var number int64
	var id string
	_, err = pgx.ForEachRow(found, []any{&number, &id}, func() error { ids[number] = id; return nil })
	return ids, err
}

// GrantedAsset is a balance and the open grants that it has, by number.
type GrantedAsset struct {
	wallet.Asset
	Grants []Grant
}

// GrantedAssets reads the balances of a user, by currency, or the one of a currency, with their grants:
// in one snapshot, so that they fit each other.
func (r Reader) GrantedAssets(ctx context.Context, userID, currency string) (assets []GrantedAsset, err error) {
	err = pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
		all, err := readBalances(ctx, tx, userID)
		if err != nil {
			return err
		}
		for _, asset := range all {
			if currency != "" && asset.Currency != currency {
				continue
			}
			granted := GrantedAsset{Asset: asset}
			for f := (GrantFilter{UserID: userID, Currency: asset.Currency}); ; {
				page, err := readGrants(ctx, tx, f)
				if err != nil {
					return err
				}
				if granted.Grants = append(granted.Grants, page...); len(page) < MaxPage {
					break
				}
				f.AfterCurrency, f.AfterNumber = asset.Currency, page[len(page)-1].Number
			}
			assets = append(assets, granted)
		}
		return nil
	})
	if err == nil && len(assets) == 0 {
		err = noWallet(userID, currency)
	}
	return assets, err
}

// Grants reads a page of a user's grants, by currency and number. What is left of one past its expiry
// counts as expired, and what a hold past its own reserves of one as left, with or without an entry
// for it.
func (r Reader) Grants(ctx context.Context, f GrantFilter) ([]Grant, error) {
	return readGrants(ctx, r.db, f)
}

func readGrants(ctx context.Context, db querier, f GrantFilter) (page []Grant, err error) {
	sql := sqlOpenGrantsOf
	if f.All {
		sql = sqlGrantsOf
	}
	limit := pageSize(f.Limit)
	for len(page) < limit {
		found, err := db.Query(ctx, sql, f.UserID, f.Currency, f.AfterCurrency, f.AfterNumber, MaxPage, orNull(f.ExpiresBefore))
		if err != nil {
			return nil, err
		}
		defer found.Close()
		read := 0
		for found.Next() {
			var past bool
			var returned wallet.Amount
			g, problem := rows.ReadGrant(found)
			if problem == "" {
				problem = rows.Read(found, rows.Column{Name: "past", Of: &past}, rows.Column{Name: "returned", Of: &returned, Optional: true})
			}
			if problem != "" {
				return nil, fmt.Errorf("grant %d of the %s wallet of user %q cannot be read: %s", g.Number, g.Currency, g.UserID, problem)
			}
			read++
			f.AfterCurrency, f.AfterNumber = g.Currency, g.Number
			of := g.WithReturned(returned)
			if past {
				of = of.AfterExpiry()
			}
			if (f.All || of.IsOpen()) && len(page) < limit {
				page = append(page, Grant{g.AssetRef, of})
			}
		}
		if err := found.Err(); err != nil {
			return nil, err
		}
		if read < MaxPage {
			break
		}
	}
	return page, nil
}
