package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/testenv"
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
	url := testenv.DatabaseURL(t)
	owner := testenv.Pool(t, url)
	excess, err := migrations.ExcessRights(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, []string{"it is a superuser"}, excess)

	// Roles belong to the whole server: these end with the transaction.
	tx, err := owner.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	_, err = tx.Exec(t.Context(), `
		CREATE ROLE table_owner; CREATE ROLE deleter;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO table_owner, deleter;
		ALTER TABLE wallet_commands OWNER TO table_owner;
		GRANT DELETE ON wallet_asset_events TO deleter;
		SET ROLE table_owner`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	excess, err = migrations.ExcessRights(t.Context(), tx)
	require.NoError(t, err)
	require.Equal(t, []string{"it owns wallet_commands, and so could switch its triggers off"}, excess)
	_, err = tx.Exec(t.Context(), `SET ROLE deleter`)
	require.NoError(t, err)
	excess, err = migrations.ExcessRights(t.Context(), tx)
	require.NoError(t, err)
	require.Equal(t, []string{"it may DELETE wallet_asset_events"}, excess)
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
