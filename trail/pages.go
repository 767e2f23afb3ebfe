package trail

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// MaxPage is the maximum and default number of rows in a page.
const MaxPage = 1000

// One statement for each scope: with a condition like "$1 is empty OR user_id = $1" Postgres
// could not stop an index scan where the user's rows end.
var (
	sqlEventsOfWallet = `SELECT ` + rows.EventColumns + `
		FROM wallet_asset_events
		WHERE user_id = $1 AND currency = $2 AND version > $3
		ORDER BY version
		LIMIT $4`

	sqlEventsOfUser = `SELECT ` + rows.EventColumns + `
		FROM wallet_asset_events
		WHERE user_id = $1 AND (currency, version) > ($2, $3)
		ORDER BY currency, version
		LIMIT $4`

	sqlEventsOfAll = `SELECT ` + rows.EventColumns + `
		FROM wallet_asset_events
		WHERE (user_id, currency, version) > ($1, $2, $3)
		ORDER BY user_id, currency, version
		LIMIT $4`

	sqlCommandsOfWallet = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND position > $3 AND status = ANY ($5)
		ORDER BY position
		LIMIT $4`

	sqlCommandsOfUser = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND (currency, position) > ($2, $3) AND status = ANY ($5)
		ORDER BY currency, position
		LIMIT $4`

	// In the order of the index of reversals alone.
	sqlReversals = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND original_id = $3 AND position > $4 AND version IS NOT NULL
		ORDER BY original_id, position
		LIMIT $5`

	sqlCommandsOfAll = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE (user_id, currency, position) > ($1, $2, $3) AND status = ANY ($5)
		ORDER BY user_id, currency, position
		LIMIT $4`
)

// EventFilter selects a page of events, after a given one, of all wallets, of a user's, or of
// one. After is the user, currency and version of the previous page's last event; parts already
// set by UserID and Currency can be left out.
//
// Within a wallet, pages have no gaps and no duplicates, however many events are written
// meanwhile: new events only come at the end (or, with "wallet repair", where one was missing).
// Over several wallets this is true for each of them, but a page is not read again: an event
// that is committed later in a wallet already passed, or in a new one that sorts before, is in
// no later page. To see every event, follow the feed instead.
type EventFilter struct {
	UserID, Currency string
	AfterUserID      string
	AfterCurrency    string
	AfterVersion     int64
	Limit            int
}

// Events reads a page of the audit trail, by user, currency and version.
func (r Reader) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	var found pgx.Rows
	var err error
	switch {
	case f.Currency != "" && f.UserID != "":
		found, err = r.db.Query(ctx, sqlEventsOfWallet, f.UserID, f.Currency, f.AfterVersion, pageSize(f.Limit))
	case f.Currency != "":
		err = errCurrencyOfAll
	case f.UserID != "":
		found, err = r.db.Query(ctx, sqlEventsOfUser, f.UserID, f.AfterCurrency, f.AfterVersion, pageSize(f.Limit))
	default:
		found, err = r.db.Query(ctx, sqlEventsOfAll, f.AfterUserID, f.AfterCurrency, f.AfterVersion, pageSize(f.Limit))
	}
	if err != nil {
		return nil, err
	}
	return CollectEvents(found)
}

// CommandFilter selects a page of the journal, like EventFilter, with the position in place of
// the version. Pages of the journal are complete in the same way.
//
// Status restricts it to applied or unapplied commands. There is no index for that, because
// every command would pay for it. The entries in between are read and skipped, so a page costs
// as much as the stretch of journal it covers, or the whole rest of the scope if fewer than
// Limit are left.
//
// OriginalID restricts it to the applied reversals of that command, which an index finds. It needs
// a wallet, and no Status.
type CommandFilter struct {
	UserID, Currency string
	Status           wallet.Status
	OriginalID       string
	AfterUserID      string
	AfterCurrency    string
	AfterPosition    int64
	Limit            int
}

// Commands reads a page of the journal, by user, currency and position.
func (r Reader) Commands(ctx context.Context, f CommandFilter) ([]wallet.Entry, error) {
	status := []string{string(f.Status)} // a plain type: pgx knows no other in query mode exec
	if f.Status == "" {
		status = []string{string(wallet.StatusApplied), string(wallet.StatusUnapplied)}
	}
	var found pgx.Rows
	var err error
	switch {
	case f.OriginalID != "" && (f.Currency == "" || f.UserID == "" || f.Status == wallet.StatusUnapplied):
		err = errReversals
	case f.OriginalID != "":
		found, err = r.db.Query(ctx, sqlReversals, f.UserID, f.Currency, f.OriginalID, f.AfterPosition, pageSize(f.Limit))
	case f.Currency != "" && f.UserID != "":
		found, err = r.db.Query(ctx, sqlCommandsOfWallet, f.UserID, f.Currency, f.AfterPosition, pageSize(f.Limit), status)
	case f.Currency != "":
		err = errCurrencyOfAll
	case f.UserID != "":
		found, err = r.db.Query(ctx, sqlCommandsOfUser, f.UserID, f.AfterCurrency, f.AfterPosition, pageSize(f.Limit), status)
	default:
		found, err = r.db.Query(ctx, sqlCommandsOfAll, f.AfterUserID, f.AfterCurrency, f.AfterPosition, pageSize(f.Limit), status)
	}
	if err != nil {
		return nil, err
	}
	return rows.CollectEntries(found)
}

// errCurrencyOfAll refuses a query that no index supports: every key begins with the user.
var errCurrencyOfAll = errors.New("a page of one currency needs a user")

// errReversals refuses what the index of reversals does not have.
var errReversals = errors.New("reversals are listed by the wallet of their original, those that were applied")

func pageSize(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}
