package trail

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// With a generic plan each range would read to the end of the table. The name of a snapshot
// comes from Postgres, and SET takes no parameters.
const sqlJoinSnapshot = `SET LOCAL plan_cache_mode = force_custom_plan; SET TRANSACTION SNAPSHOT `

var snapshotOptions = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// inSnapshot calls do with n transactions on separate connections that all see the same data.
func (r Reader) inSnapshot(ctx context.Context, n int, do func([]pgx.Tx) error) error {
	connections, err := r.acquire(ctx, n)
	if err != nil {
		return err
	}
	for _, connection := range connections {
		defer connection.Release() // closes a connection that is still in a transaction
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
// for more would deadlock, so only one at a time takes connections, all that it needs;
// afterwards it waits for nothing and returns them.
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
