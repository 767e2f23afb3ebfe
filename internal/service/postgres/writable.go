// Package postgres says what a server has to be before Wallet writes to it, and what
// the connections that write are given.
package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// NotWritableError says that a server takes no writes. It can pass: a standby is promoted,
// a setting is changed. Until then another server may be the one to write to.
type NotWritableError struct {
	Server     string // address
	InRecovery bool   // else its transactions begin read-only
}

func (e *NotWritableError) Error() string {
	if e.InRecovery {
		return fmt.Sprintf("the server %s is a standby (in recovery) and takes no writes: connect to the primary, or name all servers in the URL (host1:port1,host2:port2), of which the worker uses the one that takes writes", e.Server)
	}
	return fmt.Sprintf("the server %s begins transactions read-only: set default_transaction_read_only to off for the server, the database and the role", e.Server)
}

// WritableColumns is what Writable needs, of the transaction that selects it.
const WritableColumns = `pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'`

// Writable returns a *NotWritableError if WritableColumns are not those of a server that
// takes writes.
func Writable(conn *pgconn.PgConn, inRecovery, readOnly bool) error {
	if inRecovery || readOnly {
		return &NotWritableError{Server(conn), inRecovery}
	}
	return nil
}

// CheckWritable returns a *NotWritableError if the server takes no writes.
func CheckWritable(ctx context.Context, conn *pgx.Conn) error {
	var inRecovery, readOnly bool
	if err := conn.QueryRow(ctx, `SELECT `+WritableColumns).Scan(&inRecovery, &readOnly); err != nil {
		return err
	}
	return Writable(conn.PgConn(), inRecovery, readOnly)
}

// Server is the address that a connection leads to; of several in a URL, that one.
func Server(conn *pgconn.PgConn) string { return conn.Conn().RemoteAddr().String() }

// A worker's host that loses power takes no leave: without keepalives its connections
// would count against max_connections for the two hours that Linux waits by default. No
// transaction holds locks for so long: see the steps' settings in package activities.
//
// These are set by a statement and not in the startup packet, in which pgbouncer refuses
// parameters that it does not know. Behind it they are those of its own connections, which
// does no harm.
const sqlNewConnection = `SELECT ` + WritableColumns + `,
	set_config('tcp_keepalives_idle', '30', false), -- seconds of silence before the first probe
	set_config('tcp_keepalives_interval', '10', false), -- seconds between probes
	set_config('tcp_keepalives_count', '3', false), -- that may get no answer: gone after a minute
	set_config('tcp_user_timeout', '30000', false) -- ms in which what was sent has to be acknowledged`

// PrepareToWrite is the ValidateConnect of a connection that writes: of several servers in
// a URL, pgx goes on to the next until one takes writes.
func PrepareToWrite(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, sqlNewConnection).ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 2 {
		return errors.New("no answer to whether the server takes writes")
	}
	row := results[0].Rows[0]
	return Writable(conn, string(row[0]) == "t", string(row[1]) == "t")
}
