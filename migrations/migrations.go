// Package migrations contains the schema: numbered SQL files, embedded in the binary and
// applied in order. From version 1.0.0 on a released file never changes; the next one fixes it.
// Until then the files may be rewritten, and an older database is refused.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
)

//go:embed *.sql
var files embed.FS

// ErrBehind says that a database lacks migrations this program needs.
var ErrBehind = errors.New("the database is not migrated: run \"wallet migrate up\"")

// ErrOldForm says that a database was created before the schema was last rewritten.
var ErrOldForm = errors.New("the database was made by a version before 1.0.0 that stored wallets in another form, which is not carried over: start with a new database (of \"make run\": delete the folder .wallet)")

// ErrEncoding says that a database cannot store every text that a command may contain.
var ErrEncoding = errors.New("the database is not in UTF-8, in which alone it can keep every text of a command: make another one (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)")

// Status is one migration and whether it has been applied.
type Status struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

const (
	// lockTimeout is how long a migration waits for a table that is in use. Everything after it
	// queues behind it, including the steps of every command, which give up after half a second
	// (package activities). A migration that has to wait for transactions, for example CREATE
	// INDEX CONCURRENTLY, must set its own timeout.
	lockTimeout = "300ms"
	// lockPause is the pause between two tries, in which commands continue.
	lockPause = 2 * time.Second
	// lockPatience is how long a migration keeps trying in total.
	lockPatience = 10 * time.Minute
)

// Up applies missing migrations and returns their versions, even with an error. Concurrent
// calls wait for each other on a Postgres advisory lock.
func Up(ctx context.Context, databaseURL string) (applied []int64, err error) {
	return UpNotify(ctx, databaseURL, func(error) {})
}

// UpNotify is Up, but calls waiting before each pause in which it waits for a transaction that
// has locked a table.
func UpNotify(ctx context.Context, databaseURL string, waiting func(error)) (applied []int64, err error) {
	return up(ctx, databaseURL, files, waiting)
}

func up(ctx context.Context, databaseURL string, files fs.FS, waiting func(error)) (applied []int64, err error) {
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	err = errors.Join(checkEncoding(ctx, conn), checkForm(ctx, conn), conn.Close(ctx))
	if err != nil {
		return nil, err
	}
	err = with(ctx, databaseURL, files, postgres.PrepareToWrite, func(p *goose.Provider) error {
		_, err := backoff.Retry(ctx, func() ([]*goose.MigrationResult, error) {
			results, err := p.Up(ctx)
			var partial *goose.PartialError
			if errors.As(err, &partial) {
				results = partial.Applied
			}
			for _, r := range results {
				applied = append(applied, r.Source.Version)
			}
			return results, lockedOrPermanent(err)
		}, backoff.WithBackOff(backoff.NewConstantBackOff(lockPause)), backoff.WithMaxElapsedTime(lockPatience),
			backoff.WithNotify(func(err error, _ time.Duration) { waiting(err) }))
		return err
	})
	return applied, err
}

const lockNotAvailable = "55P03" // SQLSTATE, after lock_timeout

func lockedOrPermanent(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == lockNotAvailable {
		return fmt.Errorf("a transaction uses a table that is to be changed: look for the oldest xact_start in pg_stat_activity, and let it end: %w", err)
	}
	if err != nil {
		return backoff.Permanent(err)
	}
	return nil
}

// connect connects to the server in a URL that accepts writes.
func connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config.ValidateConnect = postgres.PrepareToWrite
	return pgx.ConnectConfig(ctx, config)
}

// List returns the state of each migration, oldest first.
func List(ctx context.Context, databaseURL string) (list []Status, err error) {
	err = with(ctx, databaseURL, files, nil, func(p *goose.Provider) error {
		all, err := p.Status(ctx)
		for _, s := range all {
			list = append(list, Status{s.Source.Version, s.Source.Path, s.State == goose.StateApplied})
		}
		return err
	})
	return list, err
}

// Latest is the newest version in this program.
func Latest() int64 {
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		panic("migrations: none embedded")
	}
	version, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		panic(err)
	}
	return version
}

// Querier is what Check needs from a connection or pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check returns ErrBehind unless the database has every migration. It only needs to read
// goose's table.
func Check(ctx context.Context, db Querier) error {
	if err := checkEncoding(ctx, db); err != nil {
		return err
	}
	var exists bool
	if err := db.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		return ErrBehind
	}
	if err := checkForm(ctx, db); err != nil {
		return err
	}
	var version int64
	if err := db.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version); err != nil {
		return err
	}
	if version < Latest() {
		return fmt.Errorf("%w (it is at version %d, this program needs %d)", ErrBehind, version, Latest())
	}
	return nil
}

func checkEncoding(ctx context.Context, db Querier) error {
	var encoding string
	if err := db.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w (its encoding is %s)", ErrEncoding, encoding)
	}
	return nil
}

// sqlMissing names what a journal, a feed and runs of this form have and those of an older one
// lack; nothing where there are none yet.
const sqlMissing = `SELECT coalesce(string_agg(what, ', '), '')
	FROM (
		SELECT 'its journal has no ' || string_agg(name, ', ')
		FROM unnest($1::text[]) AS wanted (name)
		WHERE to_regclass('wallet_commands') IS NOT NULL
			AND NOT EXISTS (
				SELECT FROM pg_attribute
				WHERE attrelid = to_regclass('wallet_commands') AND attname = wanted.name AND NOT attisdropped)
		UNION ALL
		SELECT 'its feed has no wallet_feed_parked'
		WHERE to_regclass('wallet_feed') IS NOT NULL AND to_regclass('wallet_feed_parked') IS NULL
		UNION ALL
		SELECT 'it has no wallet_runs'
		WHERE to_regclass('wallet_feed') IS NOT NULL AND to_regclass('wallet_runs') IS NULL
	) AS missing (what)`

func checkForm(ctx context.Context, db Querier) error {
	var wanted []string
	for _, f := range wallet.EntryFields {
		wanted = append(wanted, f.Name)
	}
	var missing string
	if err := db.QueryRow(ctx, sqlMissing, wanted).Scan(&missing); err != nil {
		return err
	}
	if missing != "" {
		return fmt.Errorf("%w (%s)", ErrOldForm, missing)
	}
	return nil
}

// with runs do with goose. validate, if not nil, chooses a server from the URL.
func with(ctx context.Context, databaseURL string, files fs.FS, validate pgconn.ValidateConnectFunc, do func(*goose.Provider) error) error {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return err
	}
	if validate != nil {
		config.ValidateConnect = validate
	}
	if config.RuntimeParams["lock_timeout"] == "" {
		config.RuntimeParams["lock_timeout"] = lockTimeout
	}
	var db *sql.DB = stdlib.OpenDB(*config)
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return do(provider)
}
