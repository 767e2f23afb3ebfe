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

// eventID is the only form of an id, with rows.AddEventHashes and parseEventID.
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

// Where the events of a wallet wait, and what the first one failed with.
const sqlWaitsFrom = `SELECT from_id, from_version, last_error
	FROM wallet_feed_parked
	WHERE consumer = $1 AND user_id = $2 AND currency = $3`

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
	places, err := rows.LocateEvents(ctx, db, []rows.EventKey{{AssetRef: ref, Version: number}})
	if err != nil {
		return located{}, err
	}
	switch at := places[rows.EventKey{AssetRef: ref, Version: number}]; {
	case at.Row == 0:
		return located{}, unknownEvent("there is no event %q in the feed", id)
	case at.Hash != hash:
		return located{}, unknownEvent("there is no event %q in the feed: that of version %d has the hash %s", id, number, at.Hash)
	default:
		e = located{AssetRef: ref, at: Cursor{at.Row, number}}
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
