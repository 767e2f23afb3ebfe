package activities

import (
	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// readReversals keeps the originals that commands name, which are among the entries read
// before, with what their last reversals have left of them.
func (l *lockedAssets) readReversals(named ids, found pgx.Rows) error {
	for i, id := range named.ids {
		l.of(wallet.AssetRef{UserID: named.users[i], Currency: named.currencies[i]}).keepOriginal(id)
	}
	return rows.EachLastReversal(found, func(of wallet.AssetRef, id string, left wallet.Amount) error {
		a := l.of(of)
		o, known := a.originals[id]
		if !known && !a.hasRow() { // locked by somebody else, who has just recorded both
			return nil
		}
		if !known {
			return &wallet.InconsistentError{UserID: of.UserID, Currency: of.Currency, Problem: "the journal has a reversal of a command that is missing"}
		}
		a.originals[id] = o.WithLeft(left)
		return nil
	})
}

// keepOriginal keeps an original that was applied after the originals were read, by an earlier item
// of the same lane.
func (a *lockedAsset) keepOriginal(id string) {
	if _, known := a.originals[id]; known {
		return
	}
	if e, recorded := a.prior[id]; recorded {
		a.originals[id] = wallet.OriginalOf(*e)
	}
}
