// Package webhooks sends the events of the feed by HTTP, signed as Standard Webhooks says: those of
// one wallet in order, several wallets at once.
//
// A consumer of the feed notes, in its own transaction, which versions of which wallets each
// endpoint is still to be sent (enqueue.go). Any number of processes (deliver.go) take wallets from
// there (queue.go), each for a while (wallet.go): an event is sent at least once, and again only if
// a process dies before it has noted that it was. An event that fails is tried again with growing
// pauses, while its wallet waits; then it is parked and the wallet goes on. If nothing gets through
// to an endpoint, it is only probed (probe.go), and in the end parked as a whole: its events then
// keep their order. Single events go beside the queue (redeliver.go).
package webhooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/postgres"
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
	if n := utf8.RuneCountInString(o.Description); n > maxDescription || !postgres.IsText(o.Description) {
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
