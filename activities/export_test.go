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
	_, err = transaction{conn}.lock(ctx, []group{{AssetRef: ref}})
	context.AfterFunc(ctx, conn.Release)
	return err
}
