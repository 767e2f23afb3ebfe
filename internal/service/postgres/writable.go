// Package postgres checks that a server is fit for Wallet to write to, and sets up the
// connections that write.
package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// NotWritableError says that a server accepts no writes. That can change: a standby is
// promoted, a setting is changed. Until then another server may be the right one.
type NotWritableError struct {
	Server     string // address
	InRecovery bool   // otherwise its transactions begin read-only
}

func (e *NotWritableError) Error() string {
	if e.InRecovery {
		return fmt.Sprintf("the server %s is a standby (in recovery) and does not accept writes: connect to the primary, or list all servers in the URL (host1:port1,host2:port2), and the worker uses the one that accepts writes", e.Server)
	}
	return fmt.Sprintf("the server %s begins transactions read-only: set default_transaction_read_only to off for the server, the database and the role", e.Server)
}

// WritableColumns are the columns that Writable needs, selected in the transaction to check.
const WritableColumns = `pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'`

// Writable returns a *NotWritableError if the values of WritableColumns show that the server
// accepts no writes.
func Writable(conn *pgconn.PgConn, inRecovery, readOnly bool) error {
	if inRecovery || readOnly {
		return &NotWritableError{Server(conn), inRecovery}
	}
	return nil
}

// CheckWritable returns a *NotWritableError if the server accepts no writes.
func CheckWritable(ctx context.Context, conn *pgx.Conn) error {
	var inRecovery, readOnly bool
	if err := conn.QueryRow(ctx, `SELECT `+WritableColumns).Scan(&inRecovery, &readOnly); err != nil {
		return err
	}
	return Writable(conn.PgConn(), inRecovery, readOnly)
}

// Server is the address that a connection leads to, if the URL has several.
func Server(conn *pgconn.PgConn) string { return conn.Conn().RemoteAddr().String() }

// A worker's host that loses power does not close its connections: without keepalives they
// would count against max_connections for the two hours that Linux waits by default. No
// transaction holds locks for that long: see the steps' settings in package activities.
//
// These are set by a statement and not in the startup packet, where pgbouncer refuses
// parameters that it does not know. Behind pgbouncer they apply to pgbouncer's own connections,
// which does no harm.
const sqlNewConnection = `SELECT ` + WritableColumns + `,
	set_config('tcp_keepalives_idle', '30', false), -- seconds of silence before the first probe
	set_config('tcp_keepalives_interval', '10', false), -- seconds between probes
	set_config('tcp_keepalives_count', '3', false), -- that may get no answer: gone after a minute
	set_config('tcp_user_timeout', '30000', false) -- ms in which what was sent has to be acknowledged`

// PrepareToWrite is the ValidateConnect of a connection that writes: if the URL has several
// servers, pgx tries one after the other until one accepts writes.
func PrepareToWrite(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, sqlNewConnection).ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 2 {
		return errors.New("the server did not say whether it accepts writes")
	}
	row := results[0].Rows[0]
	return Writable(conn, string(row[0]) == "t", string(row[1]) == "t")
}
