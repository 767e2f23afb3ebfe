package postgres

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// onCitus is the key of what a connection knows of its server.
const onCitus = "wallet.citus"

// OnCitus reports whether a connection leads to a server with Citus. It asks once per connection.
func OnCitus(ctx context.Context, conn *pgx.Conn) (bool, error) {
	known := conn.PgConn().CustomData()
	if citus, asked := known[onCitus].(bool); asked {
		return citus, nil
	}
	var citus bool
	if err := conn.QueryRow(ctx, `SELECT current_setting('citus.version', true) IS NOT NULL`).Scan(&citus); err != nil {
		return false, err
	}
	known[onCitus] = citus
	return citus, nil
}

// SetOnNodes are the settings PlanByIndex and LockTimeout for the rest of a transaction, also on
// the nodes of a Citus cluster, which set_config does not reach.
var SetOnNodes = func() []string {
	statements := []string{`SET LOCAL citus.propagate_set_commands = 'local'`, `SET LOCAL lock_timeout = '` + LockTimeout + `'`}
	for _, setting := range regexp.MustCompile(`'(\w+)', 'off'`).FindAllStringSubmatch(PlanByIndex, -1) {
		statements = append(statements, `SET LOCAL `+setting[1]+` = off`)
	}
	return statements
}()

// QueryEach runs a query that unnests arrays, on Citus one for each of their rows, and calls read with
// the result of each. db is a pool or a transaction.
func QueryEach(ctx context.Context, db any, sql string, arguments []any, read func(pgx.Rows) error) error {
	on := func(conn *pgx.Conn) error {
		citus, err := OnCitus(ctx, conn)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue(sql, arguments...).Query(read)
		if citus {
			batch = OneByOne(batch)
		}
		return conn.SendBatch(ctx, batch).Close()
	}
	switch db := db.(type) {
	case *pgxpool.Pool:
		return db.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return on(conn.Conn()) })
	case interface{ Conn() *pgx.Conn }:
		return on(db.Conn())
	}
	panic(fmt.Sprintf("postgres: a %T has no connection", db))
}

// wantedRows is the source of a statement that is about many wallets: an array for each column.
var wantedRows = regexp.MustCompile(`FROM unnest\((\$1::\w+\[\](?:, \$\d+::\w+\[\])*)\)`)

// OneByOne returns a batch with a statement for each row of the arrays that a statement unnests, in
// their order. Citus runs a statement on one node if it compares user_id with one value; it cannot
// lock or look up rows with LATERAL on several. Their callbacks are called for each statement.
func OneByOne(batch *pgx.Batch) *pgx.Batch {
	single := &pgx.Batch{}
	for _, q := range batch.QueuedQueries {
		single.QueuedQueries = append(single.QueuedQueries, oneByOne(q)...)
	}
	return single
}

// IsOneByOne reports whether OneByOne divides a statement.
func IsOneByOne(sql string) bool { return wantedRows.MatchString(sql) }

func oneByOne(q *pgx.QueuedQuery) []*pgx.QueuedQuery {
	arrays := wantedRows.FindStringSubmatch(q.SQL)
	if arrays == nil {
		return []*pgx.QueuedQuery{q}
	}
	sql := wantedRows.ReplaceAllLiteralString(q.SQL, `FROM (VALUES (`+strings.ReplaceAll(arrays[1], "[]", "")+`))`)
	var columns []int
	for _, parameter := range strings.Split(arrays[1], ", ") {
		number, _, _ := strings.Cut(parameter[1:], "::")
		n, err := strconv.Atoi(number)
		if err != nil || n > len(q.Arguments) {
			panic(fmt.Sprintf("postgres: the statement has no parameter %s: %s", parameter, q.SQL))
		}
		columns = append(columns, n-1)
	}
	var each []*pgx.QueuedQuery
	for row := range reflect.ValueOf(q.Arguments[columns[0]]).Len() {
		one := &pgx.QueuedQuery{SQL: sql, Arguments: append([]any{}, q.Arguments...), Fn: q.Fn}
		for _, c := range columns {
			one.Arguments[c] = reflect.ValueOf(q.Arguments[c]).Index(row).Interface()
		}
		each = append(each, one)
	}
	return each
}
