package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/rows"
)

var (
	// OFFSET 0 keeps the subqueries from becoming joins of whole tables.
	sqlRecordEvents = rows.InsertEvents + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT coalesce((
				SELECT version
				FROM wallet_asset_events
				WHERE user_id = wanted.u AND currency = wanted.c
				ORDER BY version DESC
				LIMIT 1), 0) AS version
			OFFSET 0) AS last
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_commands
			WHERE user_id = wanted.u AND currency = wanted.c AND version > last.version
			ORDER BY version
			OFFSET 0) AS c
		ON CONFLICT DO NOTHING
		RETURNING user_id, currency, version`

	// Unlike sqlRecordEvents it reads the whole journal of the wallet, and so finds
	// a hole in the middle of the trail too.
	sqlRepairEvents = rows.InsertEvents + `
		FROM wallet_commands AS c
		WHERE user_id = $1 AND currency = $2 AND version IS NOT NULL
			AND NOT EXISTS (SELECT FROM wallet_asset_events AS e
				WHERE e.user_id = c.user_id AND e.currency = c.currency AND e.version = c.version)
		ORDER BY version
		ON CONFLICT DO NOTHING`
)

const (
	// The feed has its own order, of all wallets: the step gives what it appended its place
	// there, in the same transaction.
	sqlInsertRanges = `INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
		SELECT user_id, currency, first_version, last_version
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS appended (user_id, currency, first_version, last_version)`

	// After sqlRepairEvents no event is missing: what is in no range yet follows each other
	// without gaps, but for what other ranges have.
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
	request := &pgx.Batch{}
	request.Queue(sqlRecordEvents, []string{ref.UserID}, []string{ref.Currency})
	request.Queue(sqlLastEvent, ref.UserID, ref.Currency)
	results, err := t.begin(ctx, request)
	if err != nil {
		return out, err
	}
	appended, err := readRanges(results)
	if err == nil {
		err = results.QueryRow().Scan(&out.Version)
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return out, err
	}
	last := &pgx.Batch{}
	if len(appended) > 0 {
		last.Queue(sqlInsertRanges, rangeColumns(appended)...)
	}
	return out, t.commit(ctx, last)
}

// versions are events of a wallet asset that follow each other.
type versions struct {
	wallet.AssetRef
	first, last int64
}

// readRanges reads the events that were appended, in the order of their versions.
func readRanges(results pgx.BatchResults) (ranges []versions, err error) {
	found, err := results.Query()
	if err != nil {
		return nil, err
	}
	var ref wallet.AssetRef
	var version int64
	_, err = pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &version}, func() error {
		if n := len(ranges); n > 0 && ranges[n-1].AssetRef == ref && ranges[n-1].last+1 == version {
			ranges[n-1].last = version
		} else {
			ranges = append(ranges, versions{ref, version, version})
		}
		return nil
	})
	return ranges, err
}

// rangeColumns are the parameters of sqlInsertRanges.
func rangeColumns(ranges []versions) []any {
	var users, currencies []string
	var first, last []int64
	for _, r := range ranges {
		users, currencies = append(users, r.UserID), append(currencies, r.Currency)
		first, last = append(first, r.first), append(last, r.last)
	}
	return []any{users, currencies, first, last}
}
