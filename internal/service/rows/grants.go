package rows

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// GrantColumns are the columns of wallet_grants.
const GrantColumns = `user_id, currency, grant_number, command_id, state, priority, amount::text, unused::text, held::text, used::text, expired::text, expiries, expires_at, added_at, updated_at, position`

// EntriesOfGrants selects the entries of a wallet that wallet.GrantsOf reads, in one pass over its
// journal: only rows that were lost call for it.
var EntriesOfGrants = `SELECT ` + EntryColumns + `
	FROM wallet_commands
	WHERE user_id = $1 AND currency = $2 AND version IS NOT NULL
		AND (grants IS NOT NULL OR hold_state IS NOT NULL OR type = 'add' AND (priority IS NOT NULL OR expires_in IS NOT NULL OR expires_at IS NOT NULL))
	ORDER BY position`

// Grant is a row of wallet_grants.
type Grant struct {
	wallet.AssetRef
	wallet.Grant
}

// InsertGrants inserts rows of grants. Its parameters come from GrantParameters.
const InsertGrants = `INSERT INTO wallet_grants (user_id, currency, grant_number, command_id, state, priority, amount, unused, held, used, expired, expiries, expires_at, added_at, updated_at, position)
	SELECT user_id, currency, grant_number, command_id, state, priority, amount::numeric, unused::numeric, held::numeric, used::numeric, expired::numeric, expiries, expires_at, added_at, updated_at, position
	FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $16::bigint[])
		AS g (user_id, currency, grant_number, command_id, state, priority, amount, unused, held, used, expired, expiries, expires_at, added_at, updated_at, position)`

// UpsertGrants writes grants in their current state.
const UpsertGrants = InsertGrants + `
	ON CONFLICT (user_id, currency, grant_number) DO UPDATE
	SET state = excluded.state, unused = excluded.unused, held = excluded.held, used = excluded.used, expired = excluded.expired,
		expiries = excluded.expiries, updated_at = excluded.updated_at, position = excluded.position`

// GrantParameters turns grants into the arrays that UpsertGrants unnests.
func GrantParameters(grants []Grant) []any {
	var (
		users, currencies, ids, states       []string
		numbers, priorities, expiries        []int64
		amounts, unused, held, used, expired []string
		expiresAt                            []*time.Time
		addedAt, updatedAt                   []time.Time
		positions                            []int64
	)
	for _, g := range grants {
		users, currencies, numbers, ids = append(users, g.UserID), append(currencies, g.Currency), append(numbers, g.Number), append(ids, g.ID)
		states, priorities, expiries = append(states, string(g.State)), append(priorities, g.Priority), append(expiries, g.Expiries)
		amounts, unused, held = append(amounts, g.Amount.String()), append(unused, g.Left.String()), append(held, g.Held.String())
		used, expired = append(used, g.Used.String()), append(expired, g.Expired.String())
		var at *time.Time
		if !g.ExpiresAt.IsZero() {
			at = &g.ExpiresAt
		}
		expiresAt, addedAt, updatedAt, positions = append(expiresAt, at), append(addedAt, g.AddedAt), append(updatedAt, g.UpdatedAt), append(positions, g.Position)
	}
	return []any{users, currencies, numbers, ids, states, priorities, amounts, unused, held, used, expired, expiries, expiresAt, addedAt, updatedAt, positions}
}

// ReadGrant reads a row of GrantColumns, and returns the first problem with it.
func ReadGrant(found pgx.Rows) (g Grant, problem string) {
	problem = Read(found,
		Column{Name: "user_id", Of: &g.UserID}, Column{Name: "currency", Of: &g.Currency}, Column{Name: "grant_number", Of: &g.Number},
		Column{Name: "command_id", Of: &g.ID}, Column{Name: "state", Of: (*string)(&g.State)}, Column{Name: "priority", Of: &g.Priority},
		Column{Name: "amount", Of: &g.Amount}, Column{Name: "unused", Of: &g.Left}, Column{Name: "held", Of: &g.Held}, Column{Name: "used", Of: &g.Used},
		Column{Name: "expired", Of: &g.Expired}, Column{Name: "expiries", Of: &g.Expiries}, Column{Name: "expires_at", Of: &g.ExpiresAt, Optional: true},
		Column{Name: "added_at", Of: &g.AddedAt}, Column{Name: "updated_at", Of: &g.UpdatedAt}, Column{Name: "position", Of: &g.Position})
	return g, problem
}

// CollectGrants reads all rows of a query of GrantColumns.
func CollectGrants(found pgx.Rows) ([]Grant, error) {
	defer found.Close()
	var grants []Grant
	for found.Next() {
		g, problem := ReadGrant(found)
		if problem != "" {
			return nil, fmt.Errorf("grant %d of the %s wallet of user %q cannot be read: %s", g.Number, g.Currency, g.UserID, problem)
		}
		grants = append(grants, g)
	}
	return grants, found.Err()
}
