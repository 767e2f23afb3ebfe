package trail

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A plan that serves every range would have to read to the end of the table for
// each. The name of a snapshot comes from Postgres; SET takes no parameters.
const sqlJoinSnapshot = `SET LOCAL plan_cache_mode = force_custom_plan; SET TRANSACTION SNAPSHOT `

var snapshotOptions = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// inSnapshot gives do n transactions on connections of their own, which all see the
// same.
func (r Reader) inSnapshot(ctx context.Context, n int, do func([]pgx.Tx) error) error {
	connections, err := r.acquire(ctx, n)
	if err != nil {
		return err
	}
	for _, connection := range connections {
		defer connection.Release() // one that is still in its transaction is closed
	}
	txs, snapshot := make([]pgx.Tx, n), ""
	for i, connection := range connections {
		if txs[i], err = connection.BeginTx(ctx, snapshotOptions); err != nil {
			return err
		}
		defer txs[i].Rollback(ctx)
		if i == 0 {
			err = txs[i].QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot)
		} else {
			_, err = txs[i].Exec(ctx, sqlJoinSnapshot+`'`+snapshot+`'`)
		}
		if err != nil {
			return err
		}
	}
	return do(txs)
}

// acquire takes n connections from the pool. Two verifications that each held some and waited
// for more would wait for each other for ever, so one at a time takes all of its own; it then
// waits for nobody, and gives them back.
func (r Reader) acquire(ctx context.Context, n int) (connections []*pgxpool.Conn, err error) {
	select {
	case r.acquiring <- struct{}{}:
		defer func() { <-r.acquiring }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for range n {
		connection, err := r.db.Acquire(ctx)
		if err != nil {
			for _, taken := range connections {
				taken.Release()
			}
			return nil, err
		}
		connections = append(connections, connection)
	}
	return connections, nil
}
