package activities

import (
	"context"
	"fmt"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// EnsureWalletAsset is for before a workflow's first commands: it finds the wallet asset, or creates it
// with zero total and hold and its journal entry (id "_auto-create", version 1), and then its creation
// event. It fails for good with InvalidCommand (unknown_currency) if the currency is not registered; any
// other failure is worth a retry.
func (a *Activities) EnsureWalletAsset(ctx context.Context, ref wallet.AssetRef) (wallet.EnsureWalletAssetOutput, error) {
	outcomes, err := a.applyGroups(ctx, []group{{AssetRef: ref}})
	if err != nil {
		return wallet.EnsureWalletAssetOutput{}, failure.Encode(fmt.Errorf("ensure the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	done := outcomes[0]
	if done.asset.Version == 1 || done.expired > 0 || done.expiredGrants > 0 { // it may be new
		if _, err := a.RecordEvents(ctx, ref); err != nil {
			return wallet.EnsureWalletAssetOutput{}, err
		}
	}
	return wallet.EnsureWalletAssetOutput{Asset: done.asset, NextHolds: done.nextHolds, Expired: done.expired, NextGrants: done.nextGrants, ExpiredGrants: done.expiredGrants}, nil
}
