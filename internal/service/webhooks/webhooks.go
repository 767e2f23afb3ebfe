// Package webhooks sends the events of the feed by HTTP, signed as Standard Webhooks says: those of
// one wallet in order, several wallets at once.
//
// A consumer of the feed notes, in its own transaction, which versions of which wallets each
// endpoint is still to be sent (enqueue.go). Any number of processes take wallets from there, each
// for a while (deliver.go): an event is sent at least once, and again only if a process dies
// before it has noted that it was. An event that fails is tried again with growing pauses, while
// its wallet waits; then it is parked and the wallet goes on. If nothing gets through to an
// endpoint, it is only probed, and in the end parked as a whole: its events then keep their order.
package webhooks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/migrations"
)

// ConsumerName is that of the feed's consumer.
const ConsumerName = "wallet-webhooks"

const (
	maxEndpoints   = 200
	maxFilter      = 100 // values of one
	maxDescription = 500 // characters
	maxSecrets     = 2   // valid at once
	// DefaultOverlap is how long the last secret stays valid after a rotation.
	DefaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
	// maxRedeliver is how many events one call has sent again.
	maxRedeliver = 1_000_000
)

// State of an endpoint.
type State string

const (
	Active State = "active"
	Paused State = "paused" // by a person
	Parked State = "parked" // by the service: LastError says why
)

// Filter says what an endpoint is sent. An empty list means all.
type Filter struct {
	Users      []string `json:"users,omitempty"`
	Currencies []string `json:"currencies,omitempty"`
	Events     []string `json:"events,omitempty"` // types, see wallet.Kind
}

func (f Filter) wantsWallet(userID, currency string) bool {
	return wants(f.Users, userID) && wants(f.Currencies, currency)
}

func wants(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

// Endpoint is a URL that events are sent to.
type Endpoint struct {
	ID          string `json:"endpoint_id"`
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	Filter
	State        State     `json:"state"`
	Failures     int       `json:"failures"`          // probes in a row, if it is down
	RetryAt      time.Time `json:"retry_at,omitzero"` // the next probe, if it is down
	LastError    string    `json:"last_error,omitempty"`
	LastErrorAt  time.Time `json:"last_error_at,omitzero"`
	Delivered    int64     `json:"delivered"` // events
	DeliveredAt  time.Time `json:"delivered_at,omitzero"`
	CreatedBy    string    `json:"created_by"`
	CreatedAt    time.Time `json:"created_at"`
	Secrets      int       `json:"secrets"`                // valid ones
	Waiting      int64     `json:"waiting"`                // wallets with events to send
	WaitingFrom  time.Time `json:"waiting_since,omitzero"` // when the last of them got on
	Parked       int64     `json:"parked"`                 // events
	Redelivering int64     `json:"redelivering"`           // events that are to be sent again
}

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

// Store manages endpoints. Its role is the owner of the tables or a member of RoleWebhooks.
type Store struct {
	db    *pgxpool.Pool
	guard *Guard
	keys  *codec.Keys
}

// NewStore uses the keys of WALLET_PAYLOAD_KEYS for secrets.
func NewStore(db *pgxpool.Pool, guard *Guard, keys *codec.Keys) *Store {
	return &Store{db, guard, keys}
}

// NotFoundError says that there is no such endpoint.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no endpoint %q: \"wallet webhook list\" has those there are", e.ID)
}

// InvalidError says what of an endpoint cannot be used.
type InvalidError struct{ err error }

func (e *InvalidError) Error() string { return e.err.Error() }
func (e *InvalidError) Unwrap() error { return e.err }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Errorf(format, args...)} }

// Settings of an endpoint.
type Settings struct {
	URL         string
	Description string
	Filter
}

func (s *Store) check(ctx context.Context, o Settings) error {
	if err := s.guard.CheckURL(ctx, o.URL); err != nil {
		return &InvalidError{err}
	}
	if n := utf8.RuneCountInString(o.Description); n > maxDescription || !utf8.ValidString(o.Description) || strings.ContainsRune(o.Description, 0) {
		return invalid("the description has %d characters, or some that are no text: use at most %d", n, maxDescription)
	}
	var types []string
	for _, kind := range wallet.Kinds() {
		types = append(types, kind.Event)
	}
	for what, list := range map[string][]string{"users": o.Users, "currencies": o.Currencies, "events": o.Events} {
		if len(list) > maxFilter {
			return invalid("%d %s are too many for a filter: use at most %d, or none and sort them out at the receiver", len(list), what, maxFilter)
		}
	}
	for _, user := range o.Users {
		if err := wallet.ValidateUserID(user); err != nil {
			return &InvalidError{err}
		}
	}
	for _, currency := range o.Currencies {
		if err := wallet.ValidateCurrency(currency); err != nil {
			return &InvalidError{err}
		}
	}
	for _, event := range o.Events {
		if !slices.Contains(types, event) {
			return invalid("%q is no type of event: use some of %s", event, strings.Join(types, ", "))
		}
	}
	return nil
}

const (
	// Adding endpoints one after the other keeps to their number.
	sqlLockEndpoints = `LOCK TABLE wallet_webhook_endpoints IN SHARE ROW EXCLUSIVE MODE`

	sqlCountEndpoints = `SELECT count(*) FROM wallet_webhook_endpoints`

	sqlAddEndpoint = `INSERT INTO wallet_webhook_endpoints (endpoint_id, url, description, users, currencies, events, after_id, after_version, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce(nullif($9, ''), current_user))`

	sqlAddSecret = `INSERT INTO wallet_webhook_secrets (endpoint_id, secret) VALUES ($1, $2)`

	// It belongs to the role that sends, whoever adds the first endpoint.
	sqlAddConsumer = `INSERT INTO wallet_feed_consumers (name, role, after_id, after_version)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`

	sqlEndpoints = `SELECT endpoint_id, url, description, users, currencies, events, state, failures, retry_at, last_error, last_error_at,
			delivered, delivered_at, created_by, created_at,
			(SELECT count(*) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id),
			(SELECT min(since) FROM wallet_webhook_queue AS q WHERE q.endpoint_id = e.endpoint_id),
			(SELECT count(*) FROM wallet_webhook_events AS p WHERE p.endpoint_id = e.endpoint_id AND retry_at IS NULL),
			(SELECT count(*) FROM wallet_webhook_events AS p WHERE p.endpoint_id = e.endpoint_id AND retry_at IS NOT NULL),
			(SELECT count(*) FROM wallet_webhook_secrets AS s WHERE s.endpoint_id = e.endpoint_id AND (expires_at IS NULL OR expires_at > now()))
		FROM wallet_webhook_endpoints AS e
		WHERE $1 = '' OR endpoint_id = $1
		ORDER BY created_at, endpoint_id`

	sqlChangeEndpoint = `UPDATE wallet_webhook_endpoints
		SET url = $2, description = $3, users = $4, currencies = $5, events = $6, updated_at = now()
		WHERE endpoint_id = $1`

	sqlPause = `UPDATE wallet_webhook_endpoints
		SET state = 'paused', updated_at = now()
		WHERE endpoint_id = $1`

	sqlResume = `UPDATE wallet_webhook_endpoints
		SET state = 'active', failures = 0, retry_at = NULL, updated_at = now()
		WHERE endpoint_id = $1`

	// All that waits is tried at once. A lease is kept: somebody may just be sending.
	// Locked in the order in which the consumer inserts.
	sqlRetryAll = `WITH waiting AS (
			SELECT user_id, currency
			FROM wallet_webhook_queue
			WHERE endpoint_id = $1 AND retry_at > statement_timestamp()
			ORDER BY user_id, currency
			FOR NO KEY UPDATE)
		UPDATE wallet_webhook_queue AS q
		SET retry_at = clock_timestamp()
		FROM waiting
		WHERE q.endpoint_id = $1 AND q.user_id = waiting.user_id AND q.currency = waiting.currency`

	sqlRemove = `DELETE FROM wallet_webhook_endpoints WHERE endpoint_id = $1`

	sqlLockEndpoint = `SELECT FROM wallet_webhook_endpoints WHERE endpoint_id = $1 FOR NO KEY UPDATE`

	// A long INSERT must not hold up what is being sent.
	sqlKeepEndpoint = `SELECT FROM wallet_webhook_endpoints WHERE endpoint_id = $1 FOR KEY SHARE`

	// The oldest ones go at once where too many would be valid.
	sqlExpireSecrets = `UPDATE wallet_webhook_secrets
		SET expires_at = least(expires_at, clock_timestamp() + $2)
		WHERE endpoint_id = $1`

	sqlDropSecrets = `DELETE FROM wallet_webhook_secrets
		WHERE endpoint_id = $1 AND (expires_at <= statement_timestamp() OR secret_id NOT IN (
			SELECT secret_id FROM wallet_webhook_secrets WHERE endpoint_id = $1 ORDER BY secret_id DESC LIMIT $2))`
)

// Add makes an endpoint for the events from now on. The secret is shown this once.
func (s *Store) Add(ctx context.Context, o Settings, actor string) (id, secret string, err error) {
	if err := s.check(ctx, o); err != nil {
		return "", "", err
	}
	after, err := feed.End(ctx, s.db)
	if err != nil {
		return "", "", err
	}
	id, secret = "we_"+strings.ToLower(rand.Text()), newSecret()
	sealed, err := seal(s.keys, secret)
	if err != nil {
		return "", "", err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var n int
		if _, err := tx.Exec(ctx, sqlLockEndpoints); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlCountEndpoints).Scan(&n); err != nil {
			return err
		}
		if n >= maxEndpoints {
			return invalid("there are %d endpoints already, and no more than %d may be: remove one", n, maxEndpoints)
		}
		if _, err := tx.Exec(ctx, sqlAddEndpoint, id, o.URL, o.Description, list(o.Users), list(o.Currencies), list(o.Events), after.Row, after.Version, actor); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlAddSecret, id, sealed); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlAddConsumer, ConsumerName, migrations.RoleWebhooks, after.Row, after.Version)
		return err
	})
	return id, secret, err
}

// list is what a column that is NOT NULL takes.
func list(values []string) []string { return append([]string{}, values...) }

// List returns all endpoints with how far they are, or one if an id is given.
func List(ctx context.Context, db *pgxpool.Pool, id string) ([]Endpoint, error) {
	found, err := db.Query(ctx, sqlEndpoints, id)
	if err != nil {
		return nil, err
	}
	endpoints, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (e Endpoint, err error) {
		var retryAt, lastErrorAt, deliveredAt, since *time.Time
		err = row.Scan(&e.ID, &e.URL, &e.Description, &e.Users, &e.Currencies, &e.Events, &e.State, &e.Failures, &retryAt, &e.LastError, &lastErrorAt,
			&e.Delivered, &deliveredAt, &e.CreatedBy, &e.CreatedAt, &e.Waiting, &since, &e.Parked, &e.Redelivering, &e.Secrets)
		e.RetryAt, e.LastErrorAt, e.DeliveredAt, e.WaitingFrom = orZero(retryAt), orZero(lastErrorAt), orZero(deliveredAt), orZero(since)
		return e, err
	})
	if err == nil && id != "" && len(endpoints) == 0 {
		return nil, &NotFoundError{id}
	}
	return endpoints, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Change replaces the settings of an endpoint, for what is sent from now on.
func (s *Store) Change(ctx context.Context, id string, o Settings) error {
	if err := s.check(ctx, o); err != nil {
		return err
	}
	return s.update(ctx, sqlChangeEndpoint, id, o.URL, o.Description, list(o.Users), list(o.Currencies), list(o.Events))
}

// Pause sends nothing more, but for what is just being sent. What happens meanwhile is sent after
// Resume.
func (s *Store) Pause(ctx context.Context, id string) error { return s.update(ctx, sqlPause, id) }

// Resume sends again, also to an endpoint that was parked or is down, and tries at once what waits.
func (s *Store) Resume(ctx context.Context, id string) error {
	if err := s.update(ctx, sqlResume, id); err != nil {
		return err
	}
	_, err := s.db.Exec(ctx, sqlRetryAll, id)
	return err
}

// Remove forgets an endpoint, and what it is still to be sent.
func (s *Store) Remove(ctx context.Context, id string) error { return s.update(ctx, sqlRemove, id) }

func (s *Store) update(ctx context.Context, sql, id string, args ...any) error {
	tag, err := s.db.Exec(ctx, sql, append([]any{id}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		return &NotFoundError{id}
	}
	return err
}

// Rotate makes a new secret. Events are signed with the last one too for so long.
func (s *Store) Rotate(ctx context.Context, id string, overlap time.Duration) (secret string, err error) {
	if overlap < 0 || overlap > maxOverlap {
		return "", invalid("overlap %s: use 0 to end the last secret at once, or at most %s", overlap, maxOverlap)
	}
	secret = newSecret()
	sealed, err := seal(s.keys, secret)
	if err != nil {
		return "", err
	}
	return secret, pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlLockEndpoint, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return &NotFoundError{id}
		}
		if _, err := tx.Exec(ctx, sqlExpireSecrets, id, overlap); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlAddSecret, id, sealed); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlDropSecrets, id, maxSecrets)
		return err
	})
}

const (
	// Only those that failed wait: the others are just being sent.
	sqlListEvents = `SELECT endpoint_id, %s, failures, last_error, coalesce(parked_at, retry_at), NULL, true
		FROM wallet_webhook_events AS p
		WHERE ($1 = '' OR endpoint_id = $1) AND retry_at IS NULL
		UNION ALL
		SELECT endpoint_id, %s, failures, last_error, since, retry_at, false
		FROM wallet_webhook_queue AS q
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
	found, err := db.Query(ctx, fmt.Sprintf(sqlListEvents, rows.EventID("p", "version"), rows.EventID("q", "next_version")), id, MaxListed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (e Event, err error) {
		var retryAt *time.Time
		err = row.Scan(&e.EndpointID, &e.EventID, &e.Failures, &e.LastError, &e.Since, &retryAt, &e.Parked)
		e.RetryAt = orZero(retryAt)
		return e, err
	})
}

const (
	isSkipped = `EXISTS (
			SELECT FROM wallet_feed_skipped AS s
			WHERE s.consumer = '` + ConsumerName + `' AND s.user_id = e.user_id AND s.currency = e.currency AND s.version = e.version AND ended_at IS NULL)`

	// Only if its wallet's turn sends it.
	sqlRetryEvent = `UPDATE wallet_webhook_queue AS q
		SET retry_at = clock_timestamp()
		FROM wallet_webhook_endpoints AS to_endpoint, wallet_asset_events AS e
		WHERE q.endpoint_id = $1 AND q.user_id = $2 AND q.currency = $3 AND $4 BETWEEN next_version AND last_version
			AND to_endpoint.endpoint_id = $1 AND e.user_id = $2 AND e.currency = $3 AND e.version = $4
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

	// No more than the limit and one, by which too many are noticed. What is still in the queue is
	// sent anyway.
	sqlRedeliverRange = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, retry_at)
		SELECT endpoint_id, e.user_id, e.currency, e.version, clock_timestamp()
		FROM wallet_webhook_endpoints AS to_endpoint
		JOIN wallet_asset_events AS e ON e.occurred_at >= $2 AND e.occurred_at < $3
			AND ($4 = '' OR e.user_id = $4) AND ($5 = '' OR e.currency = $5)
			AND (cardinality(users) = 0 OR e.user_id = ANY (users))
			AND (cardinality(currencies) = 0 OR e.currency = ANY (currencies))
			AND (cardinality(events) = 0 OR e.event_type = ANY (events))
		WHERE endpoint_id = $1 AND NOT EXISTS (
			SELECT FROM wallet_webhook_queue AS q
			WHERE q.endpoint_id = $1 AND q.user_id = e.user_id AND q.currency = e.currency AND e.version BETWEEN next_version AND last_version)
			AND NOT ` + isSkipped + `
		LIMIT $6
		` + redeliver
)

// RedeliverEvent has an event sent again, whatever the filter says, parked or not. One that its
// wallet waits with is tried at once.
func (s *Store) RedeliverEvent(ctx context.Context, id, eventID string) error {
	ref, version, err := feed.FindEvent(ctx, s.db, eventID)
	if unknown := (*feed.UnknownEventError)(nil); errors.As(err, &unknown) {
		return &InvalidError{err}
	} else if err != nil {
		return err
	}
	return s.redeliver(ctx, id, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlRetryEvent, id, ref.UserID, ref.Currency, version)
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
		_, err = tx.Exec(ctx, sqlRedeliverEvent, id, ref.UserID, ref.Currency, version)
		return err
	})
}

// RedeliverParked has all parked events sent again, and returns how many there are.
func (s *Store) RedeliverParked(ctx context.Context, id string) (n int64, err error) {
	err = s.redeliver(ctx, id, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlRedeliverParked, id)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Range is a span of time, of all wallets that the endpoint is sent, or of one user or currency.
type Range struct {
	Since, Until     time.Time // Until is not in it
	UserID, Currency string
}

// RedeliverRange has the events of a range sent again, and returns how many they are. Without a user it
// reads all events.
func (s *Store) RedeliverRange(ctx context.Context, id string, r Range) (n int64, err error) {
	if !r.Since.Before(r.Until) {
		return 0, invalid("the range ends before it begins (%s to %s)", r.Since.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	}
	err = s.redeliver(ctx, id, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlRedeliverRange, id, r.Since, r.Until, r.UserID, r.Currency, maxRedeliver+1)
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
