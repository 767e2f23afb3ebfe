// Package trail reads what the wallets have written: balances, the journal of commands and the
// audit trail of events. It changes nothing.
package trail

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Reader reads from a database and only needs SELECT. A verification takes several connections:
// use one Reader for all verifications on a pool, so that they take turns.
type Reader struct {
	db        *pgxpool.Pool
	acquiring chan struct{} // has an element while a verification takes its connections
}

// New makes a Reader on a pool.
func New(db *pgxpool.Pool) Reader { return Reader{db, make(chan struct{}, 1)} }

// ErrNoWallet says that a user owns nothing in a currency, not even zero.
var ErrNoWallet = errors.New("no such wallet")

const (
	// dueAmount is what has expired of the holds of a wallet asset a, by the later of Postgres's
	// clock and the time of its last entry, as in the fold. It is read in the statement that reads the balance: in
	// another one, an expiry that was recorded in between would count twice.
	dueAmount = `(SELECT coalesce(sum(h.amount - h.captured - h.released), 0)::text
			FROM wallet_holds AS h
			WHERE h.user_id = a.user_id AND h.currency = a.currency AND h.state = 'open'
				AND h.expires_at <= ` + readAt + `)`

	// The time is that of the transaction: all that it reads is of one moment.
	readAt = `greatest(now(), a.updated_at)`

	// dueGrantsAmount is what has expired of its grants: what is left of those whose time is over, and
	// what due holds give back to them. A wallet without open grants reads none.
	dueGrantsAmount = `CASE WHEN a.open_grants = 0 THEN '0' ELSE (
			(SELECT coalesce(sum(g.unused), 0)
			FROM wallet_grants AS g
			WHERE g.user_id = a.user_id AND g.currency = a.currency AND g.state = 'open' AND g.expires_at IS NOT NULL
				AND g.expires_at <= ` + readAt + `)
			+ (SELECT coalesce(sum(split_part(part, ':', 2)::numeric), 0)
			FROM wallet_holds AS h
			CROSS JOIN LATERAL unnest(string_to_array(h.grants, ',')) AS part
			JOIN wallet_grants AS g ON g.user_id = h.user_id AND g.currency = h.currency AND g.grant_number = split_part(part, ':', 1)::bigint
			WHERE h.user_id = a.user_id AND h.currency = a.currency AND h.state = 'open' AND h.grants IS NOT NULL
				AND h.expires_at <= ` + readAt + `
				AND g.expires_at <= ` + readAt + `))::text END`

	sqlAsset = `SELECT ` + rows.AssetColumns + `, ` + dueAmount + ` AS due_amount, ` + dueGrantsAmount + ` AS due_grants_amount, ` + readAt + ` AS read_at
		FROM wallet_assets AS a
		WHERE user_id = $1 AND currency = $2`

	sqlAssets = `SELECT ` + rows.AssetColumns + `, ` + dueAmount + ` AS due_amount, ` + dueGrantsAmount + ` AS due_grants_amount, ` + readAt + ` AS read_at
		FROM wallet_assets AS a
		WHERE user_id = $1
		ORDER BY currency`
)

// Asset reads one balance. It returns ErrNoWallet if it was never created.
func (r Reader) Asset(ctx context.Context, userID, currency string) (wallet.Asset, error) {
	found, err := r.db.Query(ctx, sqlAsset, userID, currency)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(found, rows.ScanAssetAndDue)
	if errors.Is(err, pgx.ErrNoRows) {
		err = noWallet(userID, currency)
	}
	return asset, err
}

// Assets reads all balances of a user, by currency.
func (r Reader) Assets(ctx context.Context, userID string) ([]wallet.Asset, error) {
	return readBalances(ctx, r.db, userID)
}

func readBalances(ctx context.Context, db querier, userID string) ([]wallet.Asset, error) {
	found, err := db.Query(ctx, sqlAssets, userID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, rows.ScanAssetAndDue)
}
