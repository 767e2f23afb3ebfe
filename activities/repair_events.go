package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

var (
	// All entries that concern holds, in one pass over the wallet's journal.
	sqlEntriesOfHolds = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND hold_state IS NOT NULL
		ORDER BY position`

	sqlLockAsset = `SELECT 1 FROM wallet_assets WHERE user_id = $1 AND currency = $2 FOR NO KEY UPDATE`

	sqlRecountHolds = `UPDATE wallet_assets AS a
		SET open_holds = h.open, next_expiry = h.next
		FROM (
			SELECT count(*) AS open, min(expires_at) AS next
			FROM wallet_holds
			WHERE user_id = $1 AND currency = $2 AND state = 'open') AS h
		WHERE a.user_id = $1 AND a.currency = $2`

	sqlRecountGrants = `UPDATE wallet_assets AS a
		SET open_grants = g.open, granted_amount = trim_scale(g.granted), next_grant_expiry = g.next
		FROM (
			SELECT count(*) AS open, coalesce(sum(unused), 0) AS granted, min(expires_at) FILTER (WHERE state = 'open') AS next
			FROM wallet_grants
			WHERE user_id = $1 AND currency = $2 AND state IN ('open', 'held')) AS g
		WHERE a.user_id = $1 AND a.currency = $2`

	sqlInsertLostGrants = rows.InsertGrants + `
		ON CONFLICT DO NOTHING`

	sqlInsertLostHolds = rows.InsertHolds + `
		ON CONFLICT DO NOTHING`
)

// Repaired counts what RepairEvents has repaired.
type Repaired struct {
	Events int64 `json:"events_appended"`
	// Ranges of the feed for events that were in none, including events that were missing
	// themselves.
	Ranges int64 `json:"ranges_appended"`
	Holds  int64 `json:"holds_restored"`  // hold rows that were lost
	Grants int64 `json:"grants_restored"` // grant rows that were lost
}

// RepairEvents appends the events that are missing anywhere in the trail of a wallet asset, and
// ranges of the feed for events that are in none. What it adds to the feed comes at the end, so
// consumers get these events late, and perhaps a missing one for the second time. It is not a
// step of the workflow: "wallet repair" calls it after checking that journal and balance agree.
//
// Events and rows are repaired in two transactions: events are written with the owner's rights,
// rows with the service's, and on Citus no transaction can do both.
func (a *Activities) RepairEvents(ctx context.Context, ref wallet.AssetRef) (Repaired, error) {
	repaired, err := inTransaction(ctx, a, func(t transaction) (repaired Repaired, err error) {
		batch := &pgx.Batch{}
		batch.Queue(sqlRepairEvents, ref.UserID, ref.Currency).QueryRow(func(row pgx.Row) error {
			return row.Scan(&repaired.Events, &repaired.Ranges)
		})
		batch.Queue(sqlCommit)
		err = t.begin(ctx, batch)
		return repaired, err
	})
	if err != nil {
		return Repaired{}, fmt.Errorf("repair events of the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	restored, err := inTransaction(ctx, a, func(t transaction) (repaired Repaired, err error) {
		lock := &pgx.Batch{}
		lock.Queue(sqlLockAsset, ref.UserID, ref.Currency)
		if err := t.begin(ctx, lock); err != nil {
			return repaired, err
		}
		if repaired.Holds, err = t.repairHolds(ctx, ref); err != nil {
			return repaired, err
		}
		if repaired.Grants, err = t.repairGrants(ctx, ref); err != nil {
			return repaired, err
		}
		return repaired, t.commit(ctx, &pgx.Batch{})
	})
	if err != nil {
		return repaired, fmt.Errorf("repair holds and grants of the %s wallet of %q: %w", ref.Currency, ref.UserID, err)
	}
	repaired.Holds, repaired.Grants = restored.Holds, restored.Grants
	return repaired, nil
}

// repairHolds inserts the rows of holds that the journal knows and that are gone, and counts
// the open ones again.
func (t transaction) repairHolds(ctx context.Context, ref wallet.AssetRef) (int64, error) {
	found, err := t.conn.Query(ctx, sqlEntriesOfHolds, ref.UserID, ref.Currency)
	if err != nil {
		return 0, err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return 0, err
	}
	byHold := map[string][]wallet.Entry{}
	for _, e := range entries {
		byHold[e.TargetHoldID()] = append(byHold[e.TargetHoldID()], e)
	}
	var holds []rows.Hold
	for _, id := range slices.Sorted(maps.Keys(byHold)) {
		if h, placed := wallet.HoldOf(id, byHold[id]); placed {
			holds = append(holds, rows.Hold{AssetRef: ref, Hold: h})
		}
	}
	if len(holds) == 0 {
		return 0, nil
	}
	return t.insertLost(ctx, ref, sqlInsertLostHolds, rows.HoldParameters(holds), sqlRecountHolds)
}

// repairGrants is repairHolds for grants.
func (t transaction) repairGrants(ctx context.Context, ref wallet.AssetRef) (int64, error) {
	derived, err := t.derivedGrants(ctx, ref)
	if err != nil || len(derived) == 0 {
		return 0, err
	}
	var grants []rows.Grant
	for _, number := range slices.Sorted(maps.Keys(derived)) {
		grants = append(grants, rows.Grant{AssetRef: ref, Grant: derived[number]})
	}
	return t.insertLost(ctx, ref, sqlInsertLostGrants, rows.GrantParameters(grants), sqlRecountGrants)
}

// insertLost returns how many rows were inserted.
func (t transaction) insertLost(ctx context.Context, ref wallet.AssetRef, insert string, parameters []any, recount string) (n int64, err error) {
	batch := &pgx.Batch{}
	batch.Queue(insert, parameters...).Exec(func(tag pgconn.CommandTag) error {
		n += tag.RowsAffected()
		return nil
	})
	batch.Queue(recount, ref.UserID, ref.Currency)
	err = t.send(ctx, batch)
	return n, err
}
