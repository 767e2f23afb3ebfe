package migrations_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestTheServiceMayOnlyAppend(t *testing.T) {
	url := testenv.DatabaseURL(t)
	app := testenv.Pool(t, testenv.AppURL(t, url))
	for _, table := range []string{"currencies", "wallets", "wallet_commands", "wallet_asset_events", "wallet_feed"} {
		column := "user_id"
		if table == "currencies" {
			column = "code"
		}
		for _, sql := range []string{
			`UPDATE ` + table + ` SET ` + column + ` = 'x'`, `DELETE FROM ` + table, `TRUNCATE ` + table,
			`ALTER TABLE ` + table + ` DISABLE TRIGGER ALL`, `ALTER TABLE ` + table + ` ADD COLUMN x int`, `DROP TABLE ` + table,
			`CREATE RULE r AS ON INSERT TO ` + table + ` DO INSTEAD NOTHING`,
		} {
			_, err := app.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
			require.ErrorContains(t, err, "42501", sql) // insufficient_privilege
		}
	}
	for _, sql := range []string{
		`INSERT INTO currencies VALUES ('X9', 0)`, `DELETE FROM wallet_assets`, `TRUNCATE wallet_assets`, `UPDATE wallet_assets SET user_id = 'x'`,
		`DROP TRIGGER append_only_rows ON wallet_commands`, `DROP TRIGGER append_only_rows ON wallet_asset_events`,
		`DROP FUNCTION wallet_append_only`, `CREATE OR REPLACE FUNCTION wallet_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
		`SET session_replication_role = replica`, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`,
		`SET ROLE wallet`, `ALTER ROLE wallet_app SUPERUSER`, `INSERT INTO wallet_feed_consumers VALUES ('x', 1, 1)`,
	} {
		_, err := app.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.ErrorContains(t, err, "42501", sql)
	}
	excess, err := migrations.ExcessRights(t.Context(), app)
	require.NoError(t, err)
	require.Empty(t, excess)
}

func TestExcessRightsAreNamed(t *testing.T) {
	owner := testenv.Pool(t, testenv.DatabaseURL(t))
	excess, err := migrations.ExcessRights(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, []string{"it is a superuser"}, excess)

	for _, row := range []struct{ grant, named string }{
		{`ALTER TABLE wallet_commands OWNER TO r`, "it owns wallet_commands, or may become its owner"},
		{`ALTER FUNCTION wallet_append_only() OWNER TO r`, "it owns wallet_append_only, or may become its owner"},
		{`ALTER SCHEMA public OWNER TO r`, "it owns the schema, or may become its owner"},
		{`CREATE ROLE o; ALTER TABLE wallet_feed OWNER TO o; ALTER ROLE r NOINHERIT; GRANT o TO r`, "it owns wallet_feed, or may become its owner"},
		{`CREATE ROLE su SUPERUSER; GRANT su TO r`, "it is a member of su"},
		{`GRANT pg_execute_server_program TO r`, "it is a member of pg_execute_server_program"},
		{`ALTER ROLE r CREATEROLE`, "it may create roles, replicate or bypass row security"},
		{`GRANT DELETE ON wallet_asset_events TO r`, "it may DELETE wallet_asset_events"},
		{`GRANT UPDATE (amount) ON wallet_commands TO r`, "it may UPDATE wallet_commands"},
		{`GRANT TRIGGER ON wallet_commands TO r`, "it may TRIGGER wallet_commands"},
		{`GRANT TRUNCATE ON wallet_assets TO r`, "it may TRUNCATE wallet_assets"},
		{`GRANT INSERT ON currencies TO r`, "it may INSERT currencies"},
	} {
		t.Run(row.grant, func(t *testing.T) {
			tx, err := owner.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) // roles belong to the whole server: these end here
			_, err = tx.Exec(t.Context(), `CREATE ROLE r; GRANT wallet_app TO r; `+row.grant+`; SET LOCAL ROLE r`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err, row.grant)
			excess, err := migrations.ExcessRights(t.Context(), tx)
			require.NoError(t, err)
			require.NotEmpty(t, excess)
			require.Equal(t, row.named, excess[0])
		})
	}
}

func TestSeveralMayLetTheServiceLogInAtOnce(t *testing.T) {
	url := testenv.DatabaseURL(t)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return migrations.AllowLogin(t.Context(), url, testenv.AppPassword) })
	}
	require.NoError(t, group.Wait())
}

func TestAPasswordThatWouldNotLogInIsRefused(t *testing.T) {
	for _, bad := range []string{"x²", "tab\t", "naïve"} {
		require.ErrorContains(t, migrations.AllowLogin(t.Context(), "postgres://nowhere", bad), "other than printable ASCII")
	}
}

func TestOnlyTheNewPasswordLogsIn(t *testing.T) {
	url := testenv.DatabaseURL(t)
	app := testenv.AppURL(t, url)
	conn, err := pgx.Connect(t.Context(), app)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	config, err := pgx.ParseConfig(app)
	require.NoError(t, err)
	config.Password = "another"
	_, err = pgx.ConnectConfig(t.Context(), config)
	require.ErrorContains(t, err, "28P01") // invalid_password
}
