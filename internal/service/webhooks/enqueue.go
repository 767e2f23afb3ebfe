package webhooks

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/feed"
)

const (
	sqlFilters = `SELECT endpoint_id, users, currencies, events, after_id, after_version FROM wallet_webhook_endpoints`

	// A wallet that is being sent gets more; whoever sends it sees that when it wants to delete the
	// row. Versions below the next come only from a repair.
	sqlEnqueue = `INSERT INTO wallet_webhook_queue AS q (endpoint_id, user_id, currency, next_version, last_version)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
		ON CONFLICT (endpoint_id, user_id, currency) DO UPDATE
		SET next_version = least(q.next_version, EXCLUDED.next_version), last_version = greatest(q.last_version, EXCLUDED.last_version)`
)

// filtered is an endpoint as the consumer of the feed needs it.
type filtered struct {
	id string
	Filter
	after feed.Cursor
}

// queued is what an endpoint is to be sent of a wallet.
type queued struct {
	endpoint, user, currency string
	first, last              int64
}

// enqueue is the consumer's handler: in the transaction that moves it on it notes what each endpoint
// is to be sent, so nothing is left out and nothing noted twice.
func enqueue(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
	found, err := tx.Query(ctx, sqlFilters)
	if err != nil {
		return err
	}
	endpoints, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (f filtered, err error) {
		return f, row.Scan(&f.id, &f.Users, &f.Currencies, &f.Events, &f.after.Row, &f.after.Version)
	})
	if err != nil {
		return err
	}
	var rows []queued
	for _, endpoint := range endpoints {
		rows = append(rows, endpoint.wanted(events)...)
	}
	if len(rows) == 0 {
		return nil
	}
	// Whoever locks several rows does it in this order.
	slices.SortFunc(rows, func(a, b queued) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.user, b.user), cmp.Compare(a.currency, b.currency))
	})
	n := len(rows)
	ids, users, currencies, first, last := make([]string, n), make([]string, n), make([]string, n), make([]int64, n), make([]int64, n)
	for i, r := range rows {
		ids[i], users[i], currencies[i], first[i], last[i] = r.endpoint, r.user, r.currency, r.first, r.last
	}
	_, err = tx.Exec(ctx, sqlEnqueue, ids, users, currencies, first, last)
	return err
}

// wanted returns one item per wallet.
func (f filtered) wanted(events []feed.Event) (rows []queued) {
	type key struct{ user, currency string }
	index := map[key]int{}
	for _, e := range events {
		isLater := e.Cursor.Row > f.after.Row || e.Cursor.Row == f.after.Row && e.Version > f.after.Version
		if !isLater || !f.wantsWallet(e.UserID, e.Currency) || !wants(f.Events, e.EventType) {
			continue
		}
		k := key{e.UserID, e.Currency}
		i, known := index[k]
		if !known {
			i = len(rows)
			index[k] = i
			rows = append(rows, queued{f.id, e.UserID, e.Currency, e.Version, e.Version})
		}
		rows[i].first, rows[i].last = min(rows[i].first, e.Version), max(rows[i].last, e.Version)
	}
	return rows
}
