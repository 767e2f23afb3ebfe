// Command ledger keeps a double-entry ledger of everything that moved in the wallets, from their feed,
// in a schema of its own in their Postgres. It connects to LEDGER_DATABASE_URL, as a member of the role
// value_ledger; without it, to WALLET_OWNER_DATABASE_URL, where it makes schema and role.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/feed"
)

// consumer is the ledger's name in the feed.
const consumer = "value-ledger"

//go:embed schema.sql
var schema string

const usage = `usage: ledger [COMMAND]
  (none)                  book the feed until Ctrl-C; several beside each other take turns
  totals                  what the wallets own, compared with the wallets; the trial balance
  line NUMBER             a line as JSON, with its parties, its receipt and related lines
  prove NUMBER            check a line against the wallet's chain
  close MONTH             close a month such as 2026-11
  export [MONTH]          all lines, or those of a month, as CSV`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, arguments []string) error {
	db, err := open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	arguments = append(arguments, "", "")
	command, argument := arguments[0], arguments[1]
	number, notNumber := strconv.ParseInt(argument, 10, 64)
	switch {
	case command == "":
		fmt.Fprintln(out, "booking the feed until Ctrl-C")
		return feed.Consume(ctx, db, feed.Options{Name: consumer}, book)
	case command == "totals":
		return snapshot(ctx, db, func(tx pgx.Tx) error {
			_, err := balance(ctx, tx, "infinity", "", out)
			return err
		})
	case command == "line" && notNumber == nil:
		return printLine(ctx, db, number, out)
	case command == "prove" && notNumber == nil:
		return prove(ctx, db, number, out)
	case command == "close":
		return closeMonth(ctx, db, argument, out)
	case command == "export":
		return export(ctx, db, argument, out)
	}
	return errors.New(usage)
}

// open connects as value_ledger, so the ledger's place in the feed is that of all members: whoever of
// them books, another may close.
func open(ctx context.Context) (*pgxpool.Pool, error) {
	own := os.Getenv("LEDGER_DATABASE_URL")
	config, err := pgxpool.ParseConfig(cmp.Or(own, os.Getenv("WALLET_OWNER_DATABASE_URL")))
	if err != nil {
		return nil, err
	}
	if own == "" {
		owner, err := pgx.ConnectConfig(ctx, config.ConnConfig.Copy())
		if err != nil {
			return nil, err
		}
		defer owner.Close(ctx)
		_, err = owner.Exec(ctx, schema)
		if refused := (*pgconn.PgError)(nil); err != nil && !(errors.As(err, &refused) && refused.Code == "42P06") { // but it exists
			return nil, fmt.Errorf("make the ledger's schema: %w", err)
		}
	}
	config.ConnConfig.RuntimeParams["role"] = "value_ledger"
	return pgxpool.NewWithConfig(ctx, config)
}

// export writes lines as CSV, in one snapshot. Text that a spreadsheet would run as a formula, or that
// begins with an apostrophe, gets an apostrophe before it.
func export(ctx context.Context, db *pgxpool.Pool, m string, out io.Writer) error {
	if _, err := time.Parse(layoutMonth, m); err != nil && m != "" { // COPY takes no parameters
		return fmt.Errorf("%q is no month: write it as 2026-11", m)
	}
	columns := `line, month, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at, currency, event->>'event_type' AS event_type,
		available, held, outside, transactions, expired, event->>'total_after' AS total_after, running_total, parties, version, event->>'position' AS position, event->>'hash' AS hash`
	for _, text := range []string{"user_id", "command_id", "transaction_id", "hold_id", "original_id", "description", "actor"} {
		columns += `, regexp_replace(event->>'` + text + `', E'^[-=+@\t\r\']', E'\'\\&') AS ` + text
	}
	return db.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		_, err := c.Conn().PgConn().CopyTo(ctx, out, `COPY (SELECT `+columns+` FROM value_ledger.lines LEFT JOIN value_ledger.parties USING (line)
			WHERE '`+m+`' IN ('', month) ORDER BY line) TO STDOUT WITH (FORMAT csv, HEADER)`)
		return err
	})
}
