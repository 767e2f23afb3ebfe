package webhooks

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/feed"
)

const (
	sqlFilters = `SELECT endpoint_id, users, currencies, events, after_id, after_version FROM wallet_webhook_endpoints`

	// A wallet that is being sent gets more; whoever sends it sees that when it wants to delete the
	// row. What it has gone past stays so: see enqueueSingles.
	sqlEnqueue = `INSERT INTO wallet_webhook_queue AS q (endpoint_id, user_id, currency, next_version, last_version)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
		ON CONFLICT (endpoint_id, user_id, currency) DO UPDATE
		SET last_version = greatest(q.last_version, EXCLUDED.last_version)
		RETURNING endpoint_id, user_id, currency, next_version`

	sqlEnqueueSingles = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, retry_at)
		SELECT *, clock_timestamp() FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
		` + redeliver
)

// filtered is an endpoint as the consumer of the feed needs it.
type filtered struct {
	id string
	Filter
	after feed.Cursor
}

// queued is a wallet with events that an endpoint is to be sent.
type queued struct{ endpoint, user, currency string }

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
	inOrder, singles := map[queued][]int64{}, map[queued][]int64{}
	for _, endpoint := range endpoints {
		for _, e := range events {
			if !endpoint.wants(e) {
				continue
			}
			to, key := inOrder, queued{endpoint.id, e.UserID, e.Currency}
			if e.Redelivered { // the row of its wallet would be a range from it to later ones
				to = singles
			}
			to[key] = append(to[key], e.Version)
		}
	}
	if err := enqueueInOrder(ctx, tx, inOrder, singles); err != nil {
		return err
	}
	return enqueueSingles(ctx, tx, singles)
}

// wants reports whether an endpoint is sent an event.
func (f filtered) wants(e feed.Event) bool {
	isLater := e.Cursor.Row > f.after.Row || e.Cursor.Row == f.after.Row && e.Version > f.after.Version
	return isLater && f.wantsWallet(e.UserID, e.Currency) && wants(f.Events, e.EventType)
}

// enqueueInOrder adds to the queue. Versions that the queue has gone past, which come from a
// repair or a consumer that somebody moved back, it adds to singles.
func enqueueInOrder(ctx context.Context, tx pgx.Tx, versions, singles map[queued][]int64) error {
	if len(versions) == 0 {
		return nil
	}
	var ids, users, currencies []string
	var first, last []int64
	for _, q := range sorted(versions) {
		ids, users, currencies = append(ids, q.endpoint), append(users, q.user), append(currencies, q.currency)
		first, last = append(first, slices.Min(versions[q])), append(last, slices.Max(versions[q]))
	}
	found, err := tx.Query(ctx, sqlEnqueue, ids, users, currencies, first, last)
	if err != nil {
		return err
	}
	var q queued
	var next int64
	_, err = pgx.ForEachRow(found, []any{&q.endpoint, &q.user, &q.currency, &next}, func() error {
		for _, version := range versions[q] {
			if version < next {
				singles[q] = append(singles[q], version)
			}
		}
		return nil
	})
	return err
}

// enqueueSingles has events sent out of their order.
func enqueueSingles(ctx context.Context, tx pgx.Tx, singles map[queued][]int64) error {
	if len(singles) == 0 {
		return nil
	}
	var ids, users, currencies []string
	var versions []int64
	for _, q := range sorted(singles) {
		for _, version := range singles[q] {
			ids, users, currencies, versions = append(ids, q.endpoint), append(users, q.user), append(currencies, q.currency), append(versions, version)
		}
	}
	_, err := tx.Exec(ctx, sqlEnqueueSingles, ids, users, currencies, versions)
	return err
}

// sorted is the order in which whoever locks several rows does it.
func sorted(versions map[queued][]int64) []queued {
	return slices.SortedFunc(maps.Keys(versions), func(a, b queued) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.user, b.user), cmp.Compare(a.currency, b.currency))
	})
}
