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
	sqlAsset = `SELECT ` + rows.AssetColumns + `
		FROM wallet_assets
		WHERE user_id = $1 AND currency = $2`

	sqlAssets = `SELECT ` + rows.AssetColumns + `
		FROM wallet_assets
		WHERE user_id = $1
		ORDER BY currency`
)

// Asset reads one balance. It returns ErrNoWallet if it was never created.
func (r Reader) Asset(ctx context.Context, userID, currency string) (wallet.Asset, error) {
	found, err := r.db.Query(ctx, sqlAsset, userID, currency)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(found, rows.ScanAsset)
	if errors.Is(err, pgx.ErrNoRows) {
		return asset, noWallet(userID, currency)
	} else if err != nil {
		return asset, err
	}
	return asset, r.countDue(ctx, &asset)
}

// Assets reads all balances of a user, by currency.
func (r Reader) Assets(ctx context.Context, userID string) ([]wallet.Asset, error) {
	found, err := r.db.Query(ctx, sqlAssets, userID)
	if err != nil {
		return nil, err
	}
	assets, err := pgx.CollectRows(found, rows.ScanAsset)
	for i := range assets {
		if err := r.countDue(ctx, &assets[i]); err != nil {
			return nil, err
		}
	}
	return assets, err
}
