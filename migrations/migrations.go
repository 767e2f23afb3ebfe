// Package migrations is the schema: numbered SQL files, embedded in the binary
// and applied in order. From version 1.0.0 on a file that was released is never changed; what
// is wrong with it is mended by the next one. Until then the files are written anew, and a
// database of before is refused.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

//go:embed *.sql
var files embed.FS

// ErrBehind says that a database lacks migrations this program needs.
var ErrBehind = errors.New("the database is not migrated: run \"wallet migrate up\"")

// ErrOldForm says that a database was made before the schema was last written anew.
var ErrOldForm = errors.New("the database was made by a version before 1.0.0 that stored wallets in another form, which is not carried over: start with a new database (of \"make run\": delete the folder .wallet)")

// ErrEncoding says that a database cannot keep every text that a command may have.
var ErrEncoding = errors.New("the database is not in UTF-8, in which alone it can keep every text of a command: make another one (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)")

// Status is one migration and whether it has been applied.
type Status struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Up applies what is missing and returns the versions it applied, with an error too.
// Two at once wait for each other on a Postgres advisory lock.
func Up(ctx context.Context, databaseURL string) (applied []int64, err error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	err = errors.Join(checkForm(ctx, conn), conn.Close(ctx))
	if err != nil {
		return nil, err
	}
	err = with(ctx, databaseURL, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, r := range results {
			applied = append(applied, r.Source.Version)
		}
		return err
	})
	return applied, err
}

// List tells the state of each migration, oldest first.
func List(ctx context.Context, databaseURL string) (list []Status, err error) {
	err = with(ctx, databaseURL, func(p *goose.Provider) error {
		all, err := p.Status(ctx)
		for _, s := range all {
			list = append(list, Status{s.Source.Version, s.Source.Path, s.State == goose.StateApplied})
		}
		return err
	})
	return list, err
}

// Latest is the newest version this program carries.
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

// Querier is what Check needs of a connection or pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check returns ErrBehind unless the database has every migration. It needs
// nothing but the right to read goose's table.
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

// sqlMissingColumns names the columns that an entry has and the journal of an older form
// lacks; none where there is no journal yet.
const sqlMissingColumns = `SELECT coalesce(string_agg(name, ', '), '')
	FROM unnest($1::text[]) AS wanted (name)
	WHERE to_regclass('wallet_commands') IS NOT NULL
		AND NOT EXISTS (
			SELECT FROM pg_attribute
			WHERE attrelid = to_regclass('wallet_commands') AND attname = wanted.name AND NOT attisdropped)`

func checkForm(ctx context.Context, db Querier) error {
	var wanted []string
	for _, f := range wallet.EntryFields {
		wanted = append(wanted, f.Name)
	}
	var missing string
	if err := db.QueryRow(ctx, sqlMissingColumns, wanted).Scan(&missing); err != nil {
		return err
	}
	if missing != "" {
		return fmt.Errorf("%w (its journal has no %s)", ErrOldForm, missing)
	}
	return nil
}

func with(ctx context.Context, databaseURL string, do func(*goose.Provider) error) error {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return err
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
