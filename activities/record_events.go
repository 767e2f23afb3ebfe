package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// The service has no right to insert into trail and feed itself: see the schema.
const (
	sqlRecordEvents = `SELECT wallet_record_events($1::text[], $2::text[])`
	sqlRepairEvents = `SELECT events, ranges FROM wallet_repair_events($1, $2)`
)

// RecordEvents appends an event for each applied journal entry that has none yet. It takes no
// list of entries, so the next call completes whatever was cut short earlier by a crash, a
// terminated workflow or a lost history. Two concurrent calls are safe: both begin right after
// the last committed event and continue without a gap, and each waits for and skips what the
// other has inserted.
func (a *Activities) RecordEvents(ctx context.Context, ref wallet.AssetRef) (wallet.RecordEventsOutput, error) {
	versions, err := a.recordEvents(ctx, []wallet.AssetRef{ref})
	if err != nil {
		return wallet.RecordEventsOutput{}, failure.Encode(fmt.Errorf("record events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	return wallet.RecordEventsOutput{Version: versions[0]}, nil
}

// recordEvents records the events of wallets in one transaction, in the order in which everyone
// does, and returns the version of the last event of each in that order.
func (a *Activities) recordEvents(ctx context.Context, refs []wallet.AssetRef) ([]int64, error) {
	var users, currencies []string
	for _, ref := range sorted(refs) {
		users, currencies = append(users, ref.UserID), append(currencies, ref.Currency)
	}
	versions, err := inTransaction(ctx, a, func(t transaction) (versions []int64, err error) {
		whole := &pgx.Batch{}
		whole.Queue(sqlRecordEvents, users, currencies).Query(func(found pgx.Rows) (err error) {
			versions, err = pgx.CollectRows(found, pgx.RowTo[int64])
			return err
		})
		whole.Queue(sqlCommit)
		return versions, t.begin(ctx, whole)
	})
	if err == nil {
		a.feed.Announce()
	}
	return versions, err
}
