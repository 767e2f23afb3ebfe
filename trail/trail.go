package trail

import (
	"context"
	"errors"
	"fmt"

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

	sqlEvents = `SELECT ` + EventColumns + `
		FROM wallet_asset_events
		WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND (currency, version) > ($3, $4)
		ORDER BY user_id, currency, version
		LIMIT $5`

	sqlCommands = `SELECT ` + EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND (currency, position) > ($3, $4)
			AND ($6 = '' OR status = $6)
		ORDER BY user_id, currency, position
		LIMIT $5`
)

// Asset reads one balance. It returns ErrNoWallet if it was never created.
func (r Reader) Asset(ctx context.Context, userID, currency string) (wallet.Asset, error) {
	rows, err := r.db.Query(ctx, sqlAsset, userID, currency)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(rows, ScanAsset)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("user %q owns nothing in %s: %w", userID, currency, ErrNoWallet)
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

// MaxPage is how many rows a page has at most, and where no limit is given.
const MaxPage = 1000

// EventFilter chooses a page of events: those of a user, of one currency if it is
// set, after a place. The place is the currency and version of the last event of
// the page before, so that a page does not shift when events are written.
type EventFilter struct {
	UserID, Currency string
	AfterCurrency    string
	AfterVersion     int64
	Limit            int
}

// Events reads a page of the audit trail, by currency and version.
func (r Reader) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	if f.Currency != "" {
		f.AfterCurrency = f.Currency
	}
	rows, err := r.db.Query(ctx, sqlEvents, f.UserID, f.Currency, f.AfterCurrency, f.AfterVersion, pageSize(f.Limit))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, ScanEvent)
}

// CommandFilter chooses a page of the journal, like EventFilter; Status restricts
// it to applied or unapplied commands.
type CommandFilter struct {
	UserID, Currency string
	Status           wallet.Status
	AfterCurrency    string
	AfterPosition    int64
	Limit            int
}

// Commands reads a page of the journal, by currency and position.
func (r Reader) Commands(ctx context.Context, f CommandFilter) ([]wallet.Entry, error) {
	if f.Currency != "" {
		f.AfterCurrency = f.Currency
	}
	rows, err := r.db.Query(ctx, sqlCommands, f.UserID, f.Currency, f.AfterCurrency, f.AfterPosition, pageSize(f.Limit), f.Status)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, ScanEntry)
}

func pageSize(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}
