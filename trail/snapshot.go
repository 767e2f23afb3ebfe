package trail

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/internal/service/postgres"
)

// With a generic plan each range would read to the end of the table. The name of a snapshot
// comes from Postgres, and SET takes no parameters.
const (
	sqlExportSnapshot = `SELECT pg_export_snapshot() FROM set_config('plan_cache_mode', 'force_custom_plan', true)`
	sqlJoinSnapshot   = `SET LOCAL plan_cache_mode = force_custom_plan; SET TRANSACTION SNAPSHOT `

	// A snapshot holds on one server. With one connection to each node, a transaction has one there
	// too, and all rows of a wallet are on one node.
	sqlOneSnapshotPerNode = `SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL citus.max_adaptive_executor_pool_size = 1`
)

var snapshotOptions = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// inSnapshot calls do with a transaction on each connection, which all see the same data of a wallet.
// On Citus they are all the same one, which has to be read with cursors.
func inSnapshot(ctx context.Context, connections []*pgxpool.Conn, do func([]pgx.Tx) error) (err error) {
	if citus, err := postgres.OnCitus(ctx, connections[0].Conn()); citus || err != nil {
		if err != nil {
			return err
		}
		return pgx.BeginTxFunc(ctx, connections[0], snapshotOptions, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlOneSnapshotPerNode, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
			return do(slices.Repeat([]pgx.Tx{tx}, len(connections)))
		})
	}
	txs, snapshot := make([]pgx.Tx, len(connections)), ""
	for i, connection := range connections {
		if txs[i], err = connection.BeginTx(ctx, snapshotOptions); err != nil {
			return err
		}
		defer txs[i].Rollback(ctx)
		if i == 0 {
			err = txs[i].QueryRow(ctx, sqlExportSnapshot).Scan(&snapshot)
		} else {
			_, err = txs[i].Exec(ctx, sqlJoinSnapshot+`'`+snapshot+`'`)
		}
		if err != nil {
			return err
		}
	}
	return do(txs)
}

// withConnections calls do with n connections.
func (r Reader) withConnections(ctx context.Context, n int, do func([]*pgxpool.Conn) error) error {
	connections, err := r.acquire(ctx, n)
	if err != nil {
		return err
	}
	for _, connection := range connections {
		defer connection.Release() // closes a connection that is still in a transaction
	}
	return do(connections)
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
