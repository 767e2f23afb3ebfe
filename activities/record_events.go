package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
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

	// After that no event is missing: what is in no range yet follows each other without
	// gaps, but for what other ranges have.
	sqlRepairFeed = `INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
		SELECT $1, $2, min(version), max(version)
		FROM (
			SELECT version, version - row_number() OVER (ORDER BY version) AS run
			FROM (
				SELECT version
				FROM wallet_asset_events
				WHERE user_id = $1 AND currency = $2
				EXCEPT
				SELECT generate_series(first_version, last_version)
				FROM wallet_feed
				WHERE user_id = $1 AND currency = $2
			) AS unseen
		) AS runs
		GROUP BY run
		ORDER BY min(version)`

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

// Repaired is what RepairEvents has appended.
type Repaired struct {
	Events int64 `json:"events_appended"`
	// Ranges of the feed for events that were there, and in none.
	Ranges int64 `json:"ranges_appended"`
}

// RepairEvents appends the events that are missing anywhere in the trail of a
// wallet asset, and ranges of the feed for the events that are in none. What it
// appends to the feed comes at its end, so that consumers get these events late, those
// that were missing perhaps a second time. It is no step of the workflow: "wallet
// repair" calls it, after it has seen that journal and balance agree.
func (a *Activities) RepairEvents(ctx context.Context, ref wallet.AssetRef) (repaired Repaired, err error) {
	b := &pgx.Batch{}
	b.Queue(sqlLockAsset, ref.UserID, ref.Currency) // two at once would append a range twice
	count := func(sql string, appended *int64) {
		b.Queue(sql, ref.UserID, ref.Currency).Exec(func(tag pgconn.CommandTag) error {
			*appended = tag.RowsAffected()
			return nil
		})
	}
	count(sqlRepairEvents, &repaired.Events)
	count(sqlRepairFeed, &repaired.Ranges)
	if err := a.atOnce(ctx, b); err != nil {
		return Repaired{}, fmt.Errorf("repair events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	return repaired, nil
}
