package rows

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// sqlLocateEvents finds events, with the hashes in their ids and the rows of the feed that they are in; 0
// for none. It finds nothing of one that was deleted from the trail.
var sqlLocateEvents = `SELECT u, c, v, ` + EventIDHash + `, CASE WHEN last_version >= v THEN id ELSE 0 END
	FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (u, c, v)
	CROSS JOIN LATERAL (
		SELECT hash
		FROM wallet_asset_events
		WHERE user_id = wanted.u AND currency = wanted.c AND version = wanted.v
		LIMIT 1) AS e
	LEFT JOIN LATERAL (
		SELECT id, last_version
		FROM wallet_feed
		WHERE user_id = wanted.u AND currency = wanted.c AND first_version <= wanted.v
		ORDER BY first_version DESC
		LIMIT 1) AS range ON true`

// EventKey names an event without its hash.
type EventKey struct {
	wallet.AssetRef
	Version int64
}

// EventPlace is where an event is.
type EventPlace struct {
	Hash string // in its id
	Row  int64  // of the feed; 0 for none
}

// LocateEvents finds events. Those that were deleted from the trail are not in what it returns. db is a pool
// or a transaction.
func LocateEvents(ctx context.Context, db any, events []EventKey) (map[EventKey]EventPlace, error) {
	var users, currencies []string
	var versions []int64
	for _, e := range events {
		users, currencies, versions = append(users, e.UserID), append(currencies, e.Currency), append(versions, e.Version)
	}
	places := map[EventKey]EventPlace{}
	if len(events) == 0 {
		return places, nil
	}
	return places, postgres.QueryEach(ctx, db, sqlLocateEvents, []any{users, currencies, versions}, func(found pgx.Rows) error {
		var e EventKey
		var at EventPlace
		_, err := pgx.ForEachRow(found, []any{&e.UserID, &e.Currency, &e.Version, &at.Hash, &at.Row}, func() error {
			places[e] = at
			return nil
		})
		return err
	})
}

// AddEventHashes completes the ids of events that are there as "<currency>/<user id>/<version>". That of
// an event which was deleted from the trail stays so.
func AddEventHashes(ctx context.Context, db *pgxpool.Pool, ids []*string) error {
	events := make([]EventKey, len(ids))
	for i, id := range ids {
		currency, rest, _ := strings.Cut(*id, "/")
		slash := strings.LastIndex(rest, "/")
		number, err := strconv.ParseInt(rest[slash+1:], 10, 64)
		if err != nil {
			return fmt.Errorf("the event %q: %w", *id, err)
		}
		events[i] = EventKey{wallet.AssetRef{UserID: rest[:max(slash, 0)], Currency: currency}, number}
	}
	places, err := LocateEvents(ctx, db, events)
	if err != nil {
		return err
	}
	for i, e := range events {
		if at, found := places[e]; found {
			*ids[i] += "-" + at.Hash
		}
	}
	return nil
}
