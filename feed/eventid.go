package feed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/trail"
)

// eventID is the only form of an id, with AddHashes and parseEventID.
func eventID(e trail.Event) string {
	return fmt.Sprintf("%s/%s/%d-%s", e.Currency, e.UserID, e.Version, e.Hash.String()[:rows.EventIDDigits])
}

// anEventID reads what Event.ID is. A user id may have slashes itself.
var anEventID = regexp.MustCompile(fmt.Sprintf(`^([^/]+)/(.+)/([1-9][0-9]{0,18})-([0-9a-f]{%d})$`, rows.EventIDDigits))

// An UnknownEventError says that there is no event with an id.
type UnknownEventError struct{ text string }

func (e *UnknownEventError) Error() string { return e.text }

func unknownEvent(format string, args ...any) error {
	return &UnknownEventError{fmt.Sprintf(format, args...)}
}

func parseEventID(id string) (ref wallet.AssetRef, version int64, hash string, err error) {
	if found := anEventID.FindStringSubmatch(id); found != nil && wallet.ValidateCurrency(found[1]) == nil {
		if version, err = strconv.ParseInt(found[3], 10, 64); err == nil {
			return wallet.AssetRef{UserID: found[2], Currency: found[1]}, version, found[4], nil
		}
	}
	return wallet.AssetRef{}, 0, "", unknownEvent("%q is no event: use its id, CURRENCY/USER/VERSION-HASH, such as USD/u1/17-9f86d081884c7d65", id)
}

// sqlLocate finds events, with the hashes in their ids and the rows of the feed that they are in; 0
// for none. It finds nothing of one that was deleted from the trail.
var sqlLocate = `SELECT u, c, v, ` + rows.EventIDHash + `, CASE WHEN last_version >= v THEN id ELSE 0 END
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

// Where the events of a wallet wait, and what the first one failed with.
const sqlWaitsFrom = `SELECT from_id, from_version, last_error
	FROM wallet_feed_parked
	WHERE consumer = $1 AND user_id = $2 AND currency = $3`

// eventKey names an event without its hash.
type eventKey struct {
	wallet.AssetRef
	version int64
}

// location is where an event is.
type location struct {
	hash string // in its id
	row  int64  // of the feed; 0 for none
}

// locate finds events. Those that were deleted from the trail are not in what it returns. db is a pool
// or a transaction.
func locate(ctx context.Context, db any, events []eventKey) (map[eventKey]location, error) {
	var users, currencies []string
	var versions []int64
	for _, e := range events {
		users, currencies, versions = append(users, e.UserID), append(currencies, e.Currency), append(versions, e.version)
	}
	places := map[eventKey]location{}
	if len(events) == 0 {
		return places, nil
	}
	return places, postgres.QueryEach(ctx, db, sqlLocate, []any{users, currencies, versions}, func(found pgx.Rows) error {
		var e eventKey
		var at location
		_, err := pgx.ForEachRow(found, []any{&e.UserID, &e.Currency, &e.version, &at.hash, &at.row}, func() error {
			places[e] = at
			return nil
		})
		return err
	})
}

// AddHashes completes the ids of events that are there as "<currency>/<user id>/<version>". That of
// an event which was deleted from the trail stays so.
func AddHashes(ctx context.Context, db *pgxpool.Pool, ids []*string) error {
	events := make([]eventKey, len(ids))
	for i, id := range ids {
		currency, rest, _ := strings.Cut(*id, "/")
		slash := strings.LastIndex(rest, "/")
		number, err := strconv.ParseInt(rest[slash+1:], 10, 64)
		if err != nil {
			return fmt.Errorf("the event %q: %w", *id, err)
		}
		events[i] = eventKey{wallet.AssetRef{UserID: rest[:max(slash, 0)], Currency: currency}, number}
	}
	places, err := locate(ctx, db, events)
	if err != nil {
		return err
	}
	for i, e := range events {
		if at, found := places[e]; found {
			*ids[i] += "-" + at.hash
		}
	}
	return nil
}

// located is an event as a consumer has it.
type located struct {
	wallet.AssetRef
	at        Cursor
	waits     bool
	lastError string // if it is the one that failed
}

func findEvent(ctx context.Context, db querier, consumer, id string) (e located, err error) {
	ref, number, hash, err := parseEventID(id)
	if err != nil {
		return located{}, err
	}
	places, err := locate(ctx, db, []eventKey{{ref, number}})
	if err != nil {
		return located{}, err
	}
	switch at := places[eventKey{ref, number}]; {
	case at.row == 0:
		return located{}, unknownEvent("there is no event %q in the feed", id)
	case at.hash != hash:
		return located{}, unknownEvent("there is no event %q in the feed: that of version %d has the hash %s", id, number, at.hash)
	default:
		e = located{AssetRef: ref, at: Cursor{at.row, number}}
	}
	var from Cursor
	var lastError string
	err = db.QueryRow(ctx, sqlWaitsFrom, consumer, ref.UserID, ref.Currency).Scan(&from.Row, &from.Version, &lastError)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, nil
	}
	e.waits = from.Row <= e.at.Row && from.Version <= number
	if from.Version == number {
		e.lastError = lastError
	}
	return e, err
}

// FindEvent returns of which wallet an event is, and its version. It fails with an
// UnknownEventError if the feed has none with the id.
func FindEvent(ctx context.Context, db *pgxpool.Pool, id string) (wallet.AssetRef, int64, error) {
	e, err := findEvent(ctx, db, "", id)
	return e.AssetRef, e.at.Version, err
}
