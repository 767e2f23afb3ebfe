package rows

import (
	"fmt"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// AssetUpdate is what a step writes to the row of a wallet asset: the state after its commands.
type AssetUpdate struct {
	wallet.Asset
	HoldsChanged, GrantsChanged bool // so that the next expiry is to be looked up
}

// assetUpdates are the parameters of UpdateAssets: their types, and the columns they change, if any.
var assetUpdates = []struct {
	name, pgType string
	set          string
	of           func(*AssetUpdate) any
}{
	{"user_id", "text", "", func(u *AssetUpdate) any { return u.UserID }},
	{"currency", "text", "", func(u *AssetUpdate) any { return u.Currency }},
	{"total", "text", "total_amount = after.total::numeric", func(u *AssetUpdate) any { return u.Total.String() }},
	{"hold", "text", "hold_amount = after.hold::numeric", func(u *AssetUpdate) any { return u.Hold.String() }},
	{"version", "bigint", "version = after.version", func(u *AssetUpdate) any { return u.Version }},
	{"position", "bigint", "position = after.position", func(u *AssetUpdate) any { return u.Position }},
	{"hash", "bytea", "hash = after.hash", func(u *AssetUpdate) any { return u.Hash[:] }},
	{"format", "bigint", "format = after.format", func(u *AssetUpdate) any { return u.Format }},
	{"updated_at", "timestamptz", "updated_at = after.updated_at", func(u *AssetUpdate) any { return u.UpdatedAt }},
	{"open_holds", "bigint", "open_holds = after.open_holds", func(u *AssetUpdate) any { return u.OpenHolds }},
	// The order is that of the wallet's index; the index over all wallets has no hold_id.
	{"holds_changed", "boolean", `next_expiry = CASE WHEN after.holds_changed THEN (
				SELECT expires_at
				FROM wallet_holds AS h
				WHERE h.user_id = a.user_id AND h.currency = a.currency AND h.state = 'open' AND h.expires_at IS NOT NULL
				ORDER BY expires_at, hold_id
				LIMIT 1) ELSE a.next_expiry END`, func(u *AssetUpdate) any { return u.HoldsChanged }},
	{"open_grants", "bigint", "open_grants = after.open_grants", func(u *AssetUpdate) any { return u.OpenGrants }},
	{"granted", "text", "granted_amount = after.granted::numeric", func(u *AssetUpdate) any { return u.Granted.Canonical().String() }},
	{"grants_changed", "boolean", `next_grant_expiry = CASE WHEN after.grants_changed THEN (
				SELECT expires_at
				FROM wallet_grants AS g
				WHERE g.user_id = a.user_id AND g.currency = a.currency AND g.state = 'open' AND g.expires_at IS NOT NULL
				ORDER BY expires_at, grant_number
				LIMIT 1) ELSE a.next_grant_expiry END`, func(u *AssetUpdate) any { return u.GrantsChanged }},
	{"frozen", "text", "frozen = NULLIF(after.frozen, '')", func(u *AssetUpdate) any { return string(u.Frozen) }},
	{"debits_frozen_until", "timestamptz", "debits_frozen_until = NULLIF(after.debits_frozen_until, '0001-01-01T00:00:00Z')", func(u *AssetUpdate) any { return u.DebitsFrozenUntil }},
	{"credits_frozen_until", "timestamptz", "credits_frozen_until = NULLIF(after.credits_frozen_until, '0001-01-01T00:00:00Z')", func(u *AssetUpdate) any { return u.CreditsFrozenUntil }},
	{"closed", "boolean", "closed = after.closed", func(u *AssetUpdate) any { return u.Closed }},
	{"credit_limit", "text", "credit_limit = NULLIF(after.credit_limit, '')::numeric", func(u *AssetUpdate) any {
		if u.CreditLimit.IsZero() {
			return ""
		}
		return u.CreditLimit.String()
	}},
	{"thresholds", "text", "thresholds = NULLIF(after.thresholds, '')::jsonb", func(u *AssetUpdate) any { return string(u.Thresholds) }},
}

// Postgres replaces VALUES with one row by its parameters, so that the statement for one asset is an
// update by key: no join, and so no other plan, however small the tables were when it was planned.
var (
	sqlUpdateAsset  = updateAssets(`(VALUES (%s))`, "")
	sqlUpdateAssets = updateAssets(`unnest(%s)`, "[]")
)

func updateAssets(from, array string) string {
	var names, parameters, changes []string
	for i, u := range assetUpdates {
		names = append(names, u.name)
		parameters = append(parameters, fmt.Sprintf("$%d::%s%s", i+1, u.pgType, array))
		if u.set != "" {
			changes = append(changes, u.set)
		}
	}
	return `UPDATE wallet_assets AS a
		SET ` + strings.Join(changes, ",\n\t\t\t") + `
		FROM ` + fmt.Sprintf(from, strings.Join(parameters, ", ")) + `
			AS after (` + strings.Join(names, ", ") + `)
		WHERE a.user_id = after.user_id AND a.currency = after.currency`
}

// UpdateAssets is the statement that writes the state of wallet assets, at least one, to rows that
// the transaction has locked, and its parameters.
func UpdateAssets(updates []AssetUpdate) (sql string, parameters []any) {
	parameters = make([]any, len(assetUpdates))
	for i, u := range assetUpdates {
		if len(updates) == 1 {
			parameters[i] = u.of(&updates[0])
			continue
		}
		switch u.of(&updates[0]).(type) {
		case string:
			parameters[i] = arrayOf[string](updates, u.of)
		case int64:
			parameters[i] = arrayOf[int64](updates, u.of)
		case bool:
			parameters[i] = arrayOf[bool](updates, u.of)
		case []byte:
			parameters[i] = arrayOf[[]byte](updates, u.of)
		case time.Time:
			parameters[i] = arrayOf[time.Time](updates, u.of)
		default:
			panic("rows: " + u.name + " has no type for an array")
		}
	}
	if len(updates) == 1 {
		return sqlUpdateAsset, parameters
	}
	return sqlUpdateAssets, parameters
}

func arrayOf[T any](updates []AssetUpdate, of func(*AssetUpdate) any) []T {
	values := make([]T, len(updates))
	for i := range updates {
		values[i] = of(&updates[i]).(T)
	}
	return values
}
