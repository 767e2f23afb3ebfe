// Command outbox is a shop with its own Postgres database. It writes each order in one transaction
// with the command that pays for it, and sends the commands to wallets from there; "outbox drain"
// only sends, until it is stopped. The database is at SHOP_DATABASE_URL, by default "shop" on the
// server of WALLET_OWNER_DATABASE_URL. It connects to Temporal according to TEMPORAL_ADDRESS and its
// other variables.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

//go:embed schema.sql
var schema string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, arguments []string) error {
	db, wallets, err := connect(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(arguments) == 0:
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		go drain(ctx, db, wallets)
		return sell(ctx, db, out)
	case len(arguments) == 1 && arguments[0] == "drain":
		drain(ctx, db, wallets)
		return nil
	default:
		return errors.New(`usage: "outbox" sells and sends, "outbox drain" only sends`)
	}
}

const duplicateDatabase = "42P04"

// openDatabase opens the shop's database with its tables, and creates what is missing.
func openDatabase(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(cmp.Or(os.Getenv("SHOP_DATABASE_URL"), os.Getenv("WALLET_OWNER_DATABASE_URL")))
	if err != nil {
		return nil, err
	}
	if os.Getenv("SHOP_DATABASE_URL") == "" {
		server, err := pgx.ConnectConfig(ctx, config.ConnConfig.Copy())
		if err != nil {
			return nil, err
		}
		defer server.Close(ctx)
		_, err = server.Exec(ctx, `CREATE DATABASE shop`)
		if refused := (*pgconn.PgError)(nil); err != nil && !(errors.As(err, &refused) && refused.Code == duplicateDatabase) {
			return nil, err
		}
		config.ConnConfig.Database = "shop"
	}
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	var missing bool
	if err = db.QueryRow(ctx, `SELECT to_regclass('wallet_outbox_command') IS NULL`).Scan(&missing); err == nil && missing {
		_, err = db.Exec(ctx, schema)
	}
	return db, err
}

// connect connects until the end of the process.
func connect(ctx context.Context) (*pgxpool.Pool, *starter.Client, error) {
	db, err := openDatabase(ctx)
	if err != nil {
		return nil, nil, err
	}
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = temporallog.NewStructuredLogger(slog.Default())
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, nil, err
	}
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: os.Getenv("WALLET_TASK_QUEUE")})
	return db, wallets, err
}

// sell gives a new customer 20.00 and places two orders, of which the second is for more than is
// left. It prints the result of each command.
func sell(ctx context.Context, db *pgxpool.Pool, out io.Writer) error {
	user := "customer-" + rand.Text()
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		return enqueue(ctx, tx, user, "USD", wallet.Command{ID: "top-up-1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("20.00")})
	})
	for _, price := range []string{"12.50", "9.00"} {
		if err != nil {
			return err
		}
		err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			return placeOrder(ctx, tx, order{ID: rand.Text(), User: user, Currency: "USD", Price: wallet.MustAmount(price)})
		})
	}
	for waiting := true; waiting && err == nil; time.Sleep(20 * time.Millisecond) {
		err = db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM wallet_outbox WHERE user_id = $1 AND done_at IS NULL)`, user).Scan(&waiting)
	}
	if err != nil {
		return err
	}
	rows, _ := db.Query(ctx, `SELECT result FROM wallet_outbox WHERE user_id = $1 ORDER BY id`, user) // CollectRows returns the error
	results, err := pgx.CollectRows(rows, pgx.RowTo[wallet.Result])
	for _, r := range results {
		fmt.Fprintf(out, "%s %s: %s, balance %s\n", r.Type, r.Amount, cmp.Or(string(r.Reason), string(r.Status)), r.TotalAfter)
	}
	return err
}

type order struct {
	// ID is made before the first try to place the order. It is never used for another order, not
	// even after a restore: a UUID, or a number that does not come from the database.
	ID, User, Currency string
	Price              wallet.Amount
}

// placeOrder writes an order, and the command that pays for it, in the caller's transaction:
// both are committed, or neither is.
func placeOrder(ctx context.Context, tx pgx.Tx, o order) error {
	_, err := tx.Exec(ctx, `INSERT INTO orders (id, user_id, currency, price) VALUES ($1, $2, $3, $4)`, o.ID, o.User, o.Currency, o.Price.String())
	if err != nil {
		return err
	}
	return enqueue(ctx, tx, o.User, o.Currency, wallet.Command{
		ID: "order-" + o.ID, Type: wallet.TypeSubtract, Amount: o.Price, Description: "order " + o.ID, Actor: "shop",
	})
}

var errCommandID = errors.New("the outbox has a command with this id for the wallet already")

// enqueue writes a command to the outbox. One that no wallet accepts is refused here, because it
// would never get a result; so is an id a second time, with errCommandID, even of the same command:
// the wallet would answer as to the first, and move nothing.
func enqueue(ctx context.Context, tx pgx.Tx, user, currency string, command wallet.Command) error {
	if err := errors.Join(wallet.ValidateWallet(user, currency), command.Validate()); err != nil {
		return err
	}
	added, err := tx.Exec(ctx, `INSERT INTO wallet_outbox (user_id, currency, command) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, user, currency, command)
	if err == nil && added.RowsAffected() == 0 {
		err = fmt.Errorf("enqueue %q: %w", command.ID, errCommandID)
	}
	return err
}

// row is a command in the outbox.
type row struct {
	id             int64
	user, currency string
	command        []byte
}

// lockNext locks the next row to send. Of each wallet only the oldest row is eligible, and only
// if nobody else has locked it, so a wallet gets its commands in order from any number of
// drainers. A row that got no answer is tried again after 10 s; other wallets do not wait for it.
func lockNext(ctx context.Context, tx pgx.Tx) (r row, err error) {
	err = tx.QueryRow(ctx, `
		SELECT id, user_id, currency, command FROM wallet_outbox AS o
		WHERE done_at IS NULL AND (failed_at IS NULL OR now() NOT BETWEEN failed_at AND failed_at + interval '10 seconds')
		AND NOT EXISTS (SELECT FROM wallet_outbox AS earlier WHERE earlier.done_at IS NULL
			AND earlier.user_id = o.user_id AND earlier.currency = o.currency AND earlier.id < o.id)
		ORDER BY coalesce(failed_at, created_at), id LIMIT 1
		FOR UPDATE SKIP LOCKED`).Scan(&r.id, &r.user, &r.currency, &r.command)
	return r, err
}

// drainNext sends one command and writes its result back; pgx.ErrNoRows means that none is due.
// If the process dies on the way, Postgres unlocks the row and the next try sends the same.
func drainNext(ctx context.Context, db *pgxpool.Pool, wallets *starter.Client) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		r, err := lockNext(ctx, tx)
		if err != nil {
			return err
		}
		result, err := send(ctx, wallets, r)
		if err != nil { // the wallet's later rows wait: what they do may depend on this one
			slog.Error("no answer to a command in the outbox", "row", r.id, "user", r.user, "currency", r.currency, "error", err)
			_, err = tx.Exec(ctx, `UPDATE wallet_outbox SET failed_at = clock_timestamp(), error = $2 WHERE id = $1`, r.id, err.Error())
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE wallet_outbox SET done_at = clock_timestamp(), result = $2, failed_at = NULL, error = NULL WHERE id = $1`, r.id, result)
		return err
	})
}

// send returns the wallet's answer. A refusal is one too.
func send(ctx context.Context, wallets *starter.Client, r row) (wallet.Result, error) {
	command, err := wallet.DecodeCommand(r.command) // refuses fields of a newer version; encoding/json would drop them
	if err != nil {
		return wallet.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the row is locked, and a connection used, meanwhile
	defer cancel()
	result, err := wallets.Apply(ctx, r.user, r.currency, command)
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		return unapplied.Result, nil
	}
	return result, err
}

// drain sends what is in the outbox until its context ends. Run any number of it, in any number
// of processes.
func drain(ctx context.Context, db *pgxpool.Pool, wallets *starter.Client) {
	for ctx.Err() == nil {
		err := drainNext(ctx, db, wallets)
		if err == nil {
			continue
		}
		if !errors.Is(err, pgx.ErrNoRows) && ctx.Err() == nil {
			slog.Error("cannot drain the outbox", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
