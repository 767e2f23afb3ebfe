package migrations_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// TestAMigrationLetsCommandsGoOn alters a table that a long transaction reads. Statements after
// a waiting ALTER TABLE wait too.
func TestAMigrationLetsCommandsGoOn(t *testing.T) {
	url := testenv.DatabaseURL(t)
	files := fstest.MapFS{}
	for _, name := range []string{"00001_ledger.sql", "00002_roles_and_feed.sql", "00003_webhooks.sql"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	files["00099_later.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE wallet_assets ADD COLUMN later int;\n")}

	db := testenv.Pool(t, url)
	_, err := db.Exec(t.Context(), `INSERT INTO wallets VALUES ('u1')`)
	require.NoError(t, err)
	long, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = long.Rollback(context.Background()) }()
	_, err = long.Exec(t.Context(), `SELECT FROM wallet_assets`)
	require.NoError(t, err)

	tries, done := make(chan error, 1000), make(chan error, 1)
	go func() {
		applied, err := migrations.UpFiles(context.Background(), url, files, func(err error) { tries <- err })
		if err == nil && fmt.Sprint(applied) != "[99]" {
			err = fmt.Errorf("applied %v", applied)
		}
		done <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := func() {
		_, err := db.Exec(ctx, `UPDATE wallet_assets SET hold_amount = hold_amount WHERE user_id = 'u1'`)
		require.NoError(t, err, "a command waits for as long as the migration does")
	}
	for range 2 {
		for len(tries) == 0 {
			command()
			require.NoError(t, ctx.Err(), "the migration waits for good")
		}
		require.ErrorContains(t, <-tries, "look for the oldest xact_start in pg_stat_activity")
	}
	require.Empty(t, done)
	require.NoError(t, long.Rollback(t.Context()))
	require.NoError(t, <-done)
	_, err = db.Exec(t.Context(), `SELECT later FROM wallet_assets`)
	require.NoError(t, err)
}

func TestADatabaseThatIsNotInUTF8IsRefused(t *testing.T) {
	server := testenv.OwnPostgres(t)
	testenv.Exec(t, server.URL("postgres"), `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	url := server.URL("latin")
	const refusal = "the database is not in UTF-8, in which alone it can keep every text of a command: make another one (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0) (its encoding is LATIN1)"
	_, err := migrations.Up(t.Context(), url)
	require.ErrorIs(t, err, migrations.ErrEncoding)
	require.ErrorContains(t, err, refusal)
	require.ErrorContains(t, migrations.Check(t.Context(), testenv.Pool(t, url)), refusal, "at the start of a worker")
}

func TestMigrationsFindTheServerThatTakesWrites(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	standby := testenv.Standby(t, primary)
	for _, do := range []func(string) error{
		func(url string) error { _, err := migrations.Up(t.Context(), url); return err },
		func(url string) error {
			return migrations.AllowLogin(t.Context(), url, migrations.RoleApp, testenv.AppPassword)
		},
	} {
		require.ErrorContains(t, do(standby.URL(testenv.OwnDatabase)), "is a standby (in recovery) and does not accept writes")
		config, err := pgx.ParseConfig(primary.URL(testenv.OwnDatabase))
		require.NoError(t, err)
		require.NoError(t, do(fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable",
			config.User, config.Password, standby.Port(), primary.Port(), testenv.OwnDatabase)))
	}
}
