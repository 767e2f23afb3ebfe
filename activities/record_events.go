package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/failure"
)

const (
	// A trigger gives what is appended its place in the feed.
	sqlInsertEvents = `INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, amount,
			total_before, total_after, hold_before, hold_after,
			description, actor, metadata, occurred_at, position, hash)
		SELECT user_id, currency, version,
			CASE type WHEN 'create' THEN 'wallet_asset.created' WHEN 'add' THEN 'wallet_asset.added' ELSE 'wallet_asset.subtracted' END,
			command_id, amount, total_before, total_after, hold_before, hold_after,
			description, actor, metadata, recorded_at, position, hash
		FROM wallet_commands AS c
		WHERE user_id = $1 AND currency = $2 `

	sqlRecordEvents = sqlInsertEvents + `
			AND version > (` + sqlLastEvent + `)
		ORDER BY version
		ON CONFLICT DO NOTHING`

	// Unlike sqlRecordEvents it reads the whole journal of the wallet, and so finds
	// a hole in the middle of the trail too.
	sqlRepairEvents = sqlInsertEvents + `
			AND version IS NOT NULL
			AND NOT EXISTS (SELECT FROM wallet_asset_events AS e
				WHERE e.user_id = c.user_id AND e.currency = c.currency AND e.version = c.version)
		ORDER BY version
		ON CONFLICT DO NOTHING`

	// Not max(version), which is planned as a scan of the whole trail as long as
	// Postgres has no statistics.
	sqlLastEvent = `SELECT coalesce((
			SELECT version
			FROM wallet_asset_events
			WHERE user_id = $1 AND currency = $2
			ORDER BY version DESC
			LIMIT 1), 0)`
)

// RecordEvents appends an event for each applied journal entry that has none yet.
// It takes no list of them, so whatever was cut short earlier (a crash, a
// terminated workflow, a lost history) is completed by the next call. Two at
// once are safe: both begin right after the last committed event and go on
// without a gap, and what one has inserted the other waits for and skips.
func (a *Activities) RecordEvents(ctx context.Context, ref wallet.AssetRef) (wallet.RecordEventsOutput, error) {
	var out wallet.RecordEventsOutput
	b := &pgx.Batch{}
	queueRecord(b, ref, &out)
	err := a.atOnce(ctx, b)
	if err != nil {
		return wallet.RecordEventsOutput{}, failure.Encode(fmt.Errorf("record events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err))
	}
	a.feed.Announce()
	return out, nil
}

func queueRecord(b *pgx.Batch, ref wallet.AssetRef, out *wallet.RecordEventsOutput) {
	b.Queue(sqlRecordEvents, ref.UserID, ref.Currency)
	b.Queue(sqlLastEvent, ref.UserID, ref.Currency).QueryRow(func(row pgx.Row) error { return row.Scan(&out.Version) })
}

// RepairEvents appends the events that are missing anywhere in the trail of a
// wallet asset and returns how many. It is no step of the workflow: "wallet repair"
// calls it, after it has seen that journal and balance agree.
func (a *Activities) RepairEvents(ctx context.Context, ref wallet.AssetRef) (appended int64, err error) {
	tag, err := a.db.Exec(ctx, sqlRepairEvents, ref.UserID, ref.Currency)
	if err != nil {
		return 0, fmt.Errorf("repair events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	return tag.RowsAffected(), nil
}
