package activities

import (
	"context"

	"github.com/valueledger/wallet"
)

// LockAndStop locks a wallet asset as a step does and then stops, like a worker whose host has
// lost power. Its connection stays open until the pool is closed.
func (a *Activities) LockAndStop(ctx context.Context, ref wallet.AssetRef) error {
	conn, err := a.acquire(ctx)
	if err != nil {
		return err
	}
	_, err = transaction{conn: conn}.lock(ctx, []group{{AssetRef: ref}}, nil)
	context.AfterFunc(ctx, conn.Release)
	return err
}

// Group is a group, and ApplyGroups is what a transaction over several wallets does.
type Group struct {
	wallet.AssetRef
	Commands []wallet.Received
}

// ApplyGroups returns the results of each group.
func (a *Activities) ApplyGroups(ctx context.Context, all []Group) (results [][]wallet.Result, err error) {
	groups := make([]group, len(all))
	for i, g := range all {
		groups[i] = group{AssetRef: g.AssetRef, commands: g.Commands}
	}
	outcomes, err := a.applyGroups(ctx, groups)
	for _, o := range outcomes {
		results = append(results, o.results)
	}
	return results, err
}
