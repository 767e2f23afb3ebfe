package wallet

import "time"

// Balance is what a user owns in one currency, as the reads answer it: those of the CLI, of Nexus and
// of HTTP.
type Balance struct {
	AssetRef
	Total     Amount `json:"total"`
	Hold      Amount `json:"hold"` // without what has expired
	Available Amount `json:"available"`
	// Due is what has expired of the holds but has no journal entry yet: the journal still
	// counts it as held, Hold and Available do not.
	Due    Amount `json:"due,omitzero"`
	Frozen Frozen `json:"frozen,omitempty"`
	FreezeEnds
	Closed bool `json:"closed,omitempty"`
	// Granted is what is left of grants, with what is due of them, and OpenGrants is how many are open.
	// DueGrants is what has expired of them but has no journal entry yet: Total does not count it.
	Granted         Amount    `json:"granted,omitzero"`
	OpenGrants      int64     `json:"open_grants,omitempty"`
	NextGrantExpiry time.Time `json:"next_grant_expiry,omitzero"`
	DueGrants       Amount    `json:"due_grants,omitzero"`
	// CreditLimit is by how much Total may be below 0.
	CreditLimit Amount    `json:"credit_limit,omitzero"`
	Version     int64     `json:"version"`
	Position    int64     `json:"position"`
	Hash        Hash      `json:"hash"`                // of the last journal entry
	UpdatedAt   time.Time `json:"updated_at,omitzero"` // when it was recorded; absent before the first
	// Thresholds are those that are set, by name.
	Thresholds Thresholds `json:"thresholds,omitempty"`
}

// Balance is the asset's.
func (a Asset) Balance() Balance {
	return Balance{
		AssetRef: AssetRef{UserID: a.UserID, Currency: a.Currency}, Total: a.Owned(), Hold: a.Reserved(), Available: a.Available(), Due: a.Due,
		Granted: a.Granted, OpenGrants: a.OpenGrants, NextGrantExpiry: a.NextGrantExpiry, DueGrants: a.DueGrants,
		Frozen: a.Frozen, FreezeEnds: a.FreezeEnds, Closed: a.Closed, CreditLimit: a.CreditLimit, Version: a.Version, Position: a.Position, Hash: a.Hash, UpdatedAt: a.UpdatedAt, Thresholds: a.Thresholds,
	}
}
