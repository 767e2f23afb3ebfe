package trail

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// fetchSize is how many rows of a cursor are in memory.
const fetchSize = 1000

// cursor reads a query in parts, so that several can be read side by side on one connection.
type cursor struct {
	ctx    context.Context
	tx     pgx.Tx
	fetch  string
	fields []pgconn.FieldDescription
	rows   [][][]byte // fetched, the current one first
	on     bool       // the first of rows is the current one
	ended  bool
	err    error
}

// openCursor runs a query under a name that the transaction has no other cursor of.
func openCursor(ctx context.Context, tx pgx.Tx, name, sql string, args []any) (pgx.Rows, error) {
	if _, err := tx.Exec(ctx, `DECLARE `+name+` NO SCROLL CURSOR FOR `+sql, args...); err != nil {
		return nil, err
	}
	c := &cursor{ctx: ctx, tx: tx, fetch: fmt.Sprintf(`FETCH %d FROM %s`, fetchSize, name)}
	return c, c.more()
}

// more fetches the next rows.
func (c *cursor) more() error {
	found, err := c.tx.Query(c.ctx, c.fetch, pgx.QueryExecModeDescribeExec)
	if err != nil {
		return err
	}
	defer found.Close()
	c.fields = append(c.fields[:0], found.FieldDescriptions()...)
	for found.Next() {
		row := make([][]byte, len(c.fields))
		for i, value := range found.RawValues() {
			if value != nil {
				row[i] = append([]byte{}, value...)
			}
		}
		c.rows = append(c.rows, row)
	}
	c.ended = len(c.rows) < fetchSize
	return found.Err()
}

func (c *cursor) Next() bool {
	if c.on {
		c.rows = c.rows[1:]
	}
	if len(c.rows) == 0 && !c.ended && c.err == nil {
		c.err = c.more()
	}
	c.on = len(c.rows) > 0 && c.err == nil
	return c.on
}

func (c *cursor) RawValues() [][]byte                          { return c.rows[0] }
func (c *cursor) FieldDescriptions() []pgconn.FieldDescription { return c.fields }
func (c *cursor) Conn() *pgx.Conn                              { return c.tx.Conn() }
func (c *cursor) Err() error                                   { return c.err }
func (c *cursor) Close()                                       {} // its transaction ends soon
func (c *cursor) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }

func (c *cursor) TypeMap() *pgtype.Map { return c.Conn().TypeMap() }

func (c *cursor) Scan(dest ...any) error {
	return pgx.ScanRow(c.TypeMap(), c.fields, c.RawValues(), dest...)
}

func (c *cursor) Values() ([]any, error) {
	return nil, fmt.Errorf("a cursor has raw values only")
}
