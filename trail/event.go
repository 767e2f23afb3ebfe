package trail

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Event is a row of wallet_asset_events: one applied command, as other modules see it.
type Event struct {
	UserID        string            `json:"user_id"`
	Currency      string            `json:"currency"`
	Version       int64             `json:"version"`
	EventType     string            `json:"event_type"` // see wallet.Kind
	CommandID     string            `json:"command_id"`
	Amount        wallet.Amount     `json:"amount,omitzero"`
	TotalBefore   wallet.Amount     `json:"total_before"`
	TotalAfter    wallet.Amount     `json:"total_after"`
	HoldBefore    wallet.Amount     `json:"hold_before"`
	HoldAfter     wallet.Amount     `json:"hold_after"`
	Description   string            `json:"description,omitempty"`
	Actor         string            `json:"actor,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	OccurredAt    time.Time         `json:"occurred_at"`
	Position      int64             `json:"position"` // of its journal entry
	Hash          wallet.Hash       `json:"hash"`     // of its journal entry
	wallet.LegRef                   // of a transaction
	// As the command said.
	ExpiresIn       string    `json:"expires_in,omitempty"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"`
	Partial         bool      `json:"partial,omitempty"`
	NotAfter        time.Time `json:"not_after,omitzero"`
	ExpectedVersion *int64    `json:"expected_version,omitzero"`
	// Of the hold that was placed or changed: see wallet.Result.
	HoldID        string           `json:"hold_id,omitempty"`
	HoldState     wallet.HoldState `json:"hold_state,omitempty"`
	HoldLeft      wallet.Amount    `json:"hold_left,omitzero"`
	HoldExpiresAt time.Time        `json:"hold_expires_at,omitzero"`
	// Of the command that was reversed: see wallet.Result.
	OriginalID   string        `json:"original_id,omitempty"`
	OriginalLeft wallet.Amount `json:"original_left,omitzero"`
	// What a freeze is of, and whether the wallet is frozen and closed after the command.
	What   string        `json:"what,omitempty"`
	Frozen wallet.Frozen `json:"frozen,omitempty"`
	wallet.FreezeEnds
	Closed      bool          `json:"closed,omitempty"`
	CreditLimit wallet.Amount `json:"credit_limit,omitzero"` // after the command
	// The threshold that was set or removed, those that the wallet has after that, and the ones
	// that the command crossed: see wallet.Result.
	Threshold  string            `json:"threshold,omitempty"`
	Thresholds wallet.Thresholds `json:"thresholds,omitempty"`
	Crossed    wallet.Crossed    `json:"crossed,omitempty"`
	// What an add asked of its grant, and a reversal of expired ones; when the grant that the command
	// made expires; and the amounts of grants, in order, that it took, reserved or gave back.
	Priority       int64             `json:"priority,omitempty"`
	ReturnExpired  bool              `json:"return_expired,omitempty"`
	GrantExpiresAt time.Time         `json:"grant_expires_at,omitzero"`
	Grants         wallet.GrantParts `json:"grants,omitempty"`
	// Reversed is how much of this one was reversed so far. Only the lines of a statement have it:
	// events do not change.
	Reversed wallet.Amount `json:"reversed,omitzero"`
}

// MadeGrant reports whether the command of the event has made a grant. Of those with such fields, only an
// add raises the total.
func (e Event) MadeGrant() bool {
	return e.TotalAfter.Cmp(e.TotalBefore) > 0 && (e.Priority != 0 || e.ExpiresIn != "" || !e.ExpiresAt.IsZero())
}

// EventOf returns the event that an applied journal entry must have.
func EventOf(e wallet.Entry) Event {
	kind, _ := wallet.KindOf(e.Type)
	return eventOf(kind.Event, e)
}

func eventOf(eventType string, e wallet.Entry) Event {
	for _, kind := range wallet.Kinds() {
		if kind.Event == eventType {
			e.Type = kind.Type
		}
	}
	grants, _ := wallet.ParseGrantParts(e.Grants) // verification checks them
	return Event{
		UserID: e.UserID, Currency: e.Currency, Version: e.Version, EventType: eventType, CommandID: e.CommandID, Amount: e.Amount,
		TotalBefore: e.TotalBefore, TotalAfter: e.TotalAfter, HoldBefore: e.HoldBefore, HoldAfter: e.HoldAfter,
		Description: e.Description, Actor: e.Actor, Metadata: e.Metadata, OccurredAt: e.RecordedAt, Position: e.Position, Hash: e.Hash,
		LegRef: e.LegRef, ExpiresIn: e.ExpiresIn, ExpiresAt: e.ExpiresAt, Partial: e.Partial,
		NotAfter: e.NotAfter, ExpectedVersion: e.ExpectedVersion,
		HoldID: e.Result().HoldID, HoldState: e.HoldState, HoldLeft: e.HoldLeft, HoldExpiresAt: e.HoldExpiresAt,
		OriginalID: e.OriginalID, OriginalLeft: e.OriginalLeft, What: e.What, Frozen: e.Frozen, FreezeEnds: e.FreezeEnds, Closed: e.Closed, CreditLimit: e.CreditLimit,
		Threshold: e.Threshold, Thresholds: e.Thresholds, Crossed: e.Crossed,
		Priority: e.Priority, ReturnExpired: e.ReturnExpired, GrantExpiresAt: e.GrantExpiresAt, Grants: grants,
	}
}

// CollectEvents reads all rows of a query of the events' columns.
func CollectEvents(found pgx.Rows) ([]Event, error) {
	stored, err := rows.CollectEvents(found)
	events := make([]Event, len(stored))
	for i, e := range stored {
		events[i] = eventOf(e.Type, e.Entry)
	}
	return events, err
}
