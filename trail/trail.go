package trail

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
)

// Reader reads from a database; it needs SELECT and nothing else.
type Reader struct{ db *pgxpool.Pool }

// New makes a Reader on a pool.
func New(db *pgxpool.Pool) Reader { return Reader{db} }

// ErrNoWallet says that a user owns nothing in a currency, not even zero.
var ErrNoWallet = errors.New("no such wallet")

const (
	sqlAsset = `SELECT ` + AssetColumns + `
		FROM wallet_assets
		WHERE user_id = $1 AND currency = $2`

	sqlAssets = `SELECT ` + AssetColumns + `
		FROM wallet_assets
		WHERE user_id = $1
		ORDER BY currency`
)

// Asset reads one balance. It returns ErrNoWallet if it was never created.
func (r Reader) Asset(ctx context.Context, userID, currency string) (wallet.Asset, error) {
	rows, err := r.db.Query(ctx, sqlAsset, userID, currency)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(rows, ScanAsset)
	if errors.Is(err, pgx.ErrNoRows) {
		err = noWallet(userID, currency)
	}
	return asset, err
}

// Assets reads all balances of a user, by currency.
func (r Reader) Assets(ctx context.Context, userID string) ([]wallet.Asset, error) {
	rows, err := r.db.Query(ctx, sqlAssets, userID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, ScanAsset)
}
