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
	out, err := inTransaction(ctx, a, func(t transaction) (wallet.RecordEventsOutput, error) {
		return t.recordEvents(ctx, ref)
	})
	if err != nil {
		return wallet.RecordEventsOutput{}, failure.Encode(fmt.Errorf("record events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	a.feed.Announce()
	return out, nil
}

func (t transaction) recordEvents(ctx context.Context, ref wallet.AssetRef) (out wallet.RecordEventsOutput, err error) {
	whole := &pgx.Batch{}
	whole.Queue(sqlRecordEvents, []string{ref.UserID}, []string{ref.Currency}).QueryRow(func(row pgx.Row) error { return row.Scan(&out.Version) })
	whole.Queue(sqlCommit)
	return out, t.begin(ctx, whole)
}
