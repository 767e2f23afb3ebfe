package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// Repaired is what RepairEvents has appended.
type Repaired struct {
	Events int64 `json:"events_appended"`
	// Ranges of the feed for events that were in none, those that were missing among them.
	Ranges int64 `json:"ranges_appended"`
}

// RepairEvents appends the events that are missing anywhere in the trail of a
// wallet asset, and ranges of the feed for the events that are in none. What it
// appends to the feed comes at its end, so that consumers get these events late, those
// that were missing perhaps a second time. It is no step of the workflow: "wallet
// repair" calls it, after it has seen that journal and balance agree.
func (a *Activities) RepairEvents(ctx context.Context, ref wallet.AssetRef) (Repaired, error) {
	repaired, err := inTransaction(ctx, a, func(t transaction) (repaired Repaired, err error) {
		request := &pgx.Batch{}
		request.Queue(sqlRepairEvents, ref.UserID, ref.Currency)
		results, err := t.begin(ctx, request)
		if err != nil {
			return repaired, err
		}
		defer results.Close()
		if err := results.QueryRow().Scan(&repaired.Events, &repaired.Ranges); err != nil {
			return repaired, err
		}
		if err := results.Close(); err != nil {
			return repaired, err
		}
		return repaired, t.commit(ctx, &pgx.Batch{})
	})
	if err != nil {
		return Repaired{}, fmt.Errorf("repair events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	return repaired, nil
}
