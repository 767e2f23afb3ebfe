package trail

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ApplyCommands and RecordEvents are two transactions: in between an entry has no event yet, so
// every snapshot of a busy service shows some.

// waiting is a wallet asset whose only problem is that events are missing from some entry on.
type waiting struct {
	finding Finding
	version int64 // of the first entry without an event
	// known is the wallet's version at that time. Later entries have had less time to get an
	// event.
	known int64
}

const (
	awaitEventsPause = 50 * time.Millisecond

	sqlRecorded = `SELECT user_id, currency
		FROM unnest($1::text[], $2::text[], $3::bigint[]) AS missing (user_id, currency, version)
		JOIN wallet_asset_events USING (user_id, currency, version)`
)

// awaitEvents waits until every wallet's first missing event has come, or patience ends, and
// returns the wallets whose event has come.
func (r Reader) awaitEvents(ctx context.Context, patience time.Duration, missing map[key]waiting) (recorded map[key]bool, err error) {
	if len(missing) == 0 || patience < 0 {
		return nil, nil
	}
	var users, currencies []string
	var versions []int64
	for at, w := range missing {
		users, currencies, versions = append(users, at.userID), append(currencies, at.currency), append(versions, w.version)
	}
	over := time.After(patience)
	for {
		recorded = map[key]bool{}
		rows, err := r.db.Query(ctx, sqlRecorded, users, currencies, versions)
		if err != nil {
			return nil, err
		}
		var at key
		_, err = pgx.ForEachRow(rows, []any{&at.userID, &at.currency}, func() error {
			recorded[at] = true
			return nil
		})
		if err != nil || len(recorded) == len(missing) {
			return recorded, err
		}
		select {
		case <-time.After(awaitEventsPause):
		case <-over:
			return recorded, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
