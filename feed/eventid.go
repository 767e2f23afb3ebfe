package feed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/trail"
)

// eventID is the only form of an id, with rows.EventID and parseEventID.
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

// Where an event is, whether it waits, and the hash in its id; nothing if it is in no range,
// or was deleted from the trail.
var sqlFindEvent = `SELECT id, coalesce(p.from_id <= id AND p.from_version <= $4, false),
		CASE WHEN p.from_version = $4 THEN p.last_error ELSE '' END, ` + rows.EventIDHash + `
	FROM (
		SELECT id, last_version
		FROM wallet_feed
		WHERE user_id = $2 AND currency = $3 AND first_version <= $4
		ORDER BY first_version DESC
		LIMIT 1) AS range
	JOIN wallet_asset_events AS e ON e.user_id = $2 AND e.currency = $3 AND e.version = $4
	LEFT JOIN wallet_feed_parked AS p ON p.consumer = $1 AND p.user_id = $2 AND p.currency = $3
	WHERE last_version >= $4`

// located is an event as a consumer has it.
type located struct {
	wallet.AssetRef
	at        Cursor
	waits     bool
	lastError string // if it is the one that failed
}

func findEvent(ctx context.Context, db querier, consumer, id string) (e located, err error) {
	ref, version, hash, err := parseEventID(id)
	if err != nil {
		return located{}, err
	}
	e.AssetRef, e.at.Version = ref, version
	var inFeed string
	err = db.QueryRow(ctx, sqlFindEvent, consumer, e.UserID, e.Currency, version).Scan(&e.at.Row, &e.waits, &e.lastError, &inFeed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return located{}, unknownEvent("there is no event %q in the feed", id)
	case err == nil && inFeed != hash:
		return located{}, unknownEvent("there is no event %q in the feed: that of version %d has the hash %s", id, version, inFeed)
	}
	return e, err
}

// FindEvent returns of which wallet an event is, and its version. It fails with an
// UnknownEventError if the feed has none with the id.
func FindEvent(ctx context.Context, db *pgxpool.Pool, id string) (wallet.AssetRef, int64, error) {
	e, err := findEvent(ctx, db, "", id)
	return e.AssetRef, e.at.Version, err
}
