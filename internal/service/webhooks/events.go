package webhooks

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Event is one that is parked, or that a wallet waits with.
type Event struct {
	EndpointID string    `json:"endpoint_id"`
	EventID    string    `json:"event_id"`
	Failures   int       `json:"failures"`
	LastError  string    `json:"last_error"`
	Since      time.Time `json:"since"`
	RetryAt    time.Time `json:"retry_at,omitzero"` // if it is not parked
	Parked     bool      `json:"parked"`
}

const (
	// Only those that failed wait: the others are just being sent. The ids are without their hashes.
	sqlListEvents = `SELECT endpoint_id, currency || '/' || user_id || '/' || version, failures, last_error, coalesce(parked_at, retry_at), NULL, true
		FROM wallet_webhook_events
		WHERE ($1 = '' OR endpoint_id = $1) AND retry_at IS NULL
		UNION ALL
		SELECT endpoint_id, currency || '/' || user_id || '/' || next_version, failures, last_error, since, retry_at, false
		FROM wallet_webhook_queue
		WHERE ($1 = '' OR endpoint_id = $1) AND failures > 0
		ORDER BY 1, 5, 2
		LIMIT $2`
)

// MaxListed is how many events ListEvents returns.
const MaxListed = 1000

// ListEvents lists the events of an endpoint, or of all, that are parked, and those that failed
// and that their wallets wait with.
func ListEvents(ctx context.Context, db *pgxpool.Pool, id string) ([]Event, error) {
	if id != "" {
		if _, err := List(ctx, db, id); err != nil {
			return nil, err
		}
	}
	found, err := db.Query(ctx, sqlListEvents, id, MaxListed)
	if err != nil {
		return nil, err
	}
	events, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (e Event, err error) {
		return e, row.Scan(&e.EndpointID, &e.EventID, &e.Failures, &e.LastError, &e.Since, orZero(&e.RetryAt), &e.Parked)
	})
	if err != nil {
		return nil, err
	}
	ids := make([]*string, len(events))
	for i := range events {
		ids[i] = &events[i].EventID
	}
	return events, rows.AddEventHashes(ctx, db, ids)
}

// maxRedeliver is how many events one call has sent again.
const maxRedeliver = 1_000_000

const (
	isSkipped = `EXISTS (
			SELECT 1 FROM wallet_feed_skipped AS s
			WHERE s.consumer = '` + ConsumerName + `' AND s.user_id = e.user_id AND s.currency = e.currency AND s.version = e.version AND ended_at IS NULL)`

	sqlEventType = `SELECT event_type FROM wallet_asset_events WHERE user_id = $1 AND currency = $2 AND version = $3`

	// Only if its wallet's turn sends it.
	sqlRetryEvent = `UPDATE wallet_webhook_queue AS q
		SET retry_at = clock_timestamp()
		FROM wallet_webhook_endpoints AS to_endpoint, (VALUES ($2, $3, $4::bigint, $5)) AS e (user_id, currency, version, event_type)
		WHERE q.endpoint_id = $1 AND q.user_id = $2 AND q.currency = $3 AND $4 BETWEEN next_version AND last_version
			AND to_endpoint.endpoint_id = $1
			AND (cardinality(events) = 0 OR e.event_type = ANY (events)) AND NOT ` + isSkipped

	// What is parked or to be sent again already is tried at once, as if for the first time.
	redeliver = `ON CONFLICT (endpoint_id, user_id, currency, version) DO UPDATE
		SET failures = 0, retry_at = clock_timestamp()`

	sqlRedeliverEvent = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, retry_at)
		VALUES ($1, $2, $3, $4, clock_timestamp())
		` + redeliver

	sqlRedeliverParked = `UPDATE wallet_webhook_events
		SET failures = 0, retry_at = clock_timestamp()
		WHERE endpoint_id = $1 AND retry_at IS NULL`

	sqlFilterOf = `SELECT users, currencies, events FROM wallet_webhook_endpoints WHERE endpoint_id = $1`

	// No more than the limit and one, by which too many are noticed. What is still in the queue is
	// sent anyway. MATERIALIZED: Citus joins no tables of the nodes with those of the coordinator.
	sqlRedeliverRange = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, retry_at)
		WITH e AS MATERIALIZED (
			SELECT user_id, currency, version
			FROM wallet_asset_events
			WHERE occurred_at >= $2 AND occurred_at < $3
				AND ($4 = '' OR user_id = $4) AND ($5 = '' OR currency = $5)
				AND (cardinality($7::text[]) = 0 OR user_id = ANY ($7))
				AND (cardinality($8::text[]) = 0 OR currency = ANY ($8))
				AND (cardinality($9::text[]) = 0 OR event_type = ANY ($9)))
		SELECT $1, e.user_id, e.currency, e.version, clock_timestamp()
		FROM e
		WHERE NOT EXISTS (
			SELECT 1 FROM wallet_webhook_queue AS q
			WHERE q.endpoint_id = $1 AND q.user_id = e.user_id AND q.currency = e.currency AND e.version BETWEEN next_version AND last_version)
			AND NOT ` + isSkipped + `
		LIMIT $6
		` + redeliver
)

// Redelivery says which events to send again: one by its id, all parked ones, or those of a range,
// by its Since.
type Redelivery struct {
	EventID string
	Parked  bool
	Range
}

// Range is a span of time, of all wallets that the endpoint is sent, or of one user or currency.
type Range struct {
	Since, Until     time.Time // Until is not in it; now if it is zero
	UserID, Currency string
}

// What is wrong with a Redelivery; the callers say it in the names of their flags or fields.
var (
	ErrWhichEvents = invalid("say which events: one by its id, all parked ones, or those of a range")
	ErrNoSince     = invalid("until, user and currency are of a range: say since when")
)

// Check returns ErrWhichEvents or ErrNoSince if it is unclear which events are meant.
func (r Redelivery) Check() error {
	chosen := 0
	for _, given := range []bool{r.EventID != "", r.Parked, !r.Since.IsZero()} {
		if given {
			chosen++
		}
	}
	switch {
	case chosen != 1:
		return ErrWhichEvents
	case r.Since.IsZero() && (!r.Until.IsZero() || r.UserID != "" || r.Currency != ""):
		return ErrNoSince
	}
	return nil
}

// Redeliver has events sent again, and returns how many.
func (s *Store) Redeliver(ctx context.Context, id string, r Redelivery) (int64, error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	switch {
	case r.EventID != "":
		return 1, s.redeliverEvent(ctx, id, r.EventID)
	case r.Parked:
		return s.redeliverParked(ctx, id)
	}
	if r.Until.IsZero() {
		r.Until = time.Now()
	}
	return s.redeliverRange(ctx, id, r.Range)
}

// redeliverEvent has an event sent again, whatever the filter says, parked or not. One that its
// wallet waits with is tried at once.
func (s *Store) redeliverEvent(ctx context.Context, id, eventID string) error {
	ref, version, err := feed.FindEvent(ctx, s.db, eventID)
	if unknown := (*feed.UnknownEventError)(nil); errors.As(err, &unknown) {
		return &InvalidError{err}
	} else if err != nil {
		return err
	}
	return s.redeliver(ctx, id, func(tx pgx.Tx) error {
		var eventType string
		if err := tx.QueryRow(ctx, sqlEventType, ref.UserID, ref.Currency, version).Scan(&eventType); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sqlRetryEvent, id, ref.UserID, ref.Currency, version, eventType)
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
		_, err = tx.Exec(ctx, sqlRedeliverEvent, id, ref.UserID, ref.Currency, version)
		return err
	})
}

func (s *Store) redeliverParked(ctx context.Context, id string) (n int64, err error) {
	err = s.redeliver(ctx, id, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlRedeliverParked, id)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// redeliverRange reads all events if the range has no user.
func (s *Store) redeliverRange(ctx context.Context, id string, r Range) (n int64, err error) {
	if !r.Since.Before(r.Until) {
		return 0, invalid("the range ends before it begins (%s to %s)", r.Since.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	}
	err = s.redeliver(ctx, id, func(tx pgx.Tx) error {
		var f Filter
		if err := tx.QueryRow(ctx, sqlFilterOf, id).Scan(&f.Users, &f.Currencies, &f.Events); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sqlRedeliverRange, id, r.Since, r.Until, r.UserID, r.Currency, maxRedeliver+1, f.Users, f.Currencies, f.Events)
		if n = tag.RowsAffected(); n > maxRedeliver {
			return invalid("the range has more than %d events: have shorter ones sent one after the other", maxRedeliver)
		}
		return err
	})
	return n, err
}

func (s *Store) redeliver(ctx context.Context, id string, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlKeepEndpoint, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return &NotFoundError{id}
		}
		return do(tx)
	})
}
