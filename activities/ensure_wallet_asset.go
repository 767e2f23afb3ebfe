package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// EnsureWalletAsset is the pre-hook of every command but create: it finds the
// wallet asset, or creates it with zero total and hold, its journal entry (id
// "_auto-create", version 1) and its creation event, in one transaction. It
// fails for good with InvalidCommand (unknown_currency) if the currency is not
// registered; any other failure is worth a retry.
func (a *Activities) EnsureWalletAsset(ctx context.Context, ref wallet.AssetRef) (wallet.Asset, error) {
	var asset wallet.Asset
	first, found := &pgx.Batch{}, false
	queueLock(first, ref, &asset, &found)
	err := a.inTransaction(ctx, first, func(tx querier, last *pgx.Batch) (err error) {
		if found {
			return nil
		}
		if asset, err = insertAsset(ctx, tx, ref); err != nil || asset.Exists() {
			return err
		}
		out, err := foldIntoNew(ctx, tx, last, asset, []wallet.Received{{Command: wallet.AutoCreate()}})
		asset = out.Asset
		queueRecord(last, ref, &wallet.RecordEventsOutput{})
		return err
	})
	if err != nil {
		return wallet.Asset{}, failure.Encode(fmt.Errorf("ensure the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	return asset, nil
}
