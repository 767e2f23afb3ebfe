package activities

import (
	"context"
	"fmt"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// EnsureWalletAsset runs before every command but create: it finds the wallet asset, or creates
// it with zero total and hold, with its journal entry (id "_auto-create", version 1) and then
// its creation event. It fails for good with InvalidCommand (unknown_currency) if the currency
// is not registered; any other failure can be retried.
func (a *Activities) EnsureWalletAsset(ctx context.Context, ref wallet.AssetRef) (wallet.Asset, error) {
	outcomes, err := a.applyGroups(ctx, []group{{AssetRef: ref}})
	if err != nil {
		return wallet.Asset{}, failure.Encode(fmt.Errorf("ensure the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	asset := outcomes[0].asset
	if asset.Version == 1 || outcomes[0].expired > 0 { // it may be new
		if _, err := a.RecordEvents(ctx, ref); err != nil {
			return wallet.Asset{}, err
		}
	}
	return asset, nil
}
