package rows

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// HoldColumns are the columns of wallet_holds.
const HoldColumns = `user_id, currency, hold_id, state, amount::text, captured::text, released::text, expires_at, placed_at, updated_at, position, grants`

// Hold is a row of wallet_holds.
type Hold struct {
	wallet.AssetRef
	wallet.Hold
}

// InsertHolds inserts rows of holds. Its parameters come from HoldParameters.
const InsertHolds = `INSERT INTO wallet_holds (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position, grants)
	SELECT user_id, currency, hold_id, state, amount::numeric, captured::numeric, released::numeric, expires_at, placed_at, updated_at, position, NULLIF(grants, '')
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bigint[], $12::text[])
		AS h (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position, grants)`

// UpsertHolds writes holds in their current state.
const UpsertHolds = InsertHolds + `
	ON CONFLICT (user_id, currency, hold_id) DO UPDATE
	SET state = excluded.state, amount = excluded.amount, captured = excluded.captured, released = excluded.released,
		expires_at = excluded.expires_at, updated_at = excluded.updated_at, position = excluded.position, grants = excluded.grants`

// HoldParameters turns holds into the arrays that UpsertHolds unnests.
func HoldParameters(holds []Hold) []any {
	var (
		users, currencies, ids, states []string
		grants                         []string
		amounts, captured, released    []string
		expiresAt                      []*time.Time
		placedAt, updatedAt            []time.Time
		positions                      []int64
	)
	for _, h := range holds {
		users, currencies, ids, states = append(users, h.UserID), append(currencies, h.Currency), append(ids, h.ID), append(states, string(h.State))
		amounts, captured, released = append(amounts, h.Amount.String()), append(captured, h.Captured.String()), append(released, h.Released.String())
		var at *time.Time
		if !h.ExpiresAt.IsZero() {
			at = &h.ExpiresAt
		}
		expiresAt, placedAt, updatedAt, positions = append(expiresAt, at), append(placedAt, h.PlacedAt), append(updatedAt, h.UpdatedAt), append(positions, h.Position)
		grants = append(grants, h.Grants.String())
	}
	return []any{users, currencies, ids, states, amounts, captured, released, expiresAt, placedAt, updatedAt, positions, grants}
}

// ReadHold reads a row of HoldColumns, and returns the first problem with it.
func ReadHold(found pgx.Rows) (h Hold, problem string) {
	var grants string
	problem = Read(found,
		Column{Name: "user_id", Of: &h.UserID}, Column{Name: "currency", Of: &h.Currency}, Column{Name: "hold_id", Of: &h.ID},
		Column{Name: "state", Of: (*string)(&h.State)},
		Column{Name: "amount", Of: &h.Amount}, Column{Name: "captured", Of: &h.Captured}, Column{Name: "released", Of: &h.Released},
		Column{Name: "expires_at", Of: &h.ExpiresAt, Optional: true}, Column{Name: "placed_at", Of: &h.PlacedAt},
		Column{Name: "updated_at", Of: &h.UpdatedAt}, Column{Name: "position", Of: &h.Position}, Column{Name: "grants", Of: &grants, Optional: true})
	if parts, err := wallet.ParseGrantParts(grants); err == nil {
		h.Grants = parts
	} else if problem == "" {
		problem = "grants: " + err.Error()
	}
	return h, problem
}

// CollectHolds reads all rows of a query of HoldColumns.
func CollectHolds(found pgx.Rows) ([]Hold, error) {
	defer found.Close()
	var holds []Hold
	for found.Next() {
		h, problem := ReadHold(found)
		if problem != "" {
			return nil, unreadable(h, problem)
		}
		holds = append(holds, h)
	}
	return holds, found.Err()
}

// ReadHoldAnd reads a row of HoldColumns and of a boolean column.
func ReadHoldAnd(found pgx.Rows, column string) (h Hold, value bool, err error) {
	h, problem := ReadHold(found)
	if problem == "" {
		problem = Read(found, Column{Name: column, Of: &value})
	}
	if problem != "" {
		err = unreadable(h, problem)
	}
	return h, value, err
}

func unreadable(h Hold, problem string) error {
	return fmt.Errorf("hold %q of the %s wallet of user %q cannot be read: %s", h.ID, h.Currency, h.UserID, problem)
}
