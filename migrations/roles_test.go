package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/trail"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestTheServiceMayOnlyAppend(t *testing.T) {
	url := testenv.DatabaseURL(t)
	app := testenv.Pool(t, testenv.AppURL(t, url))
	for _, table := range []string{"currencies", "wallets", "wallet_commands", "wallet_asset_events", "wallet_feed", "wallet_run_lines", "wallet_run_failures"} {
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
		`SET ROLE wallet`, `ALTER ROLE wallet_app SUPERUSER`, `INSERT INTO wallet_feed_consumers (name, after_id, after_version) VALUES ('x', 1, 1)`,
		`DELETE FROM wallet_feed_parked`, `DELETE FROM wallet_runs`, `UPDATE wallet_runs SET run_id = 'x'`, `DELETE FROM wallet_run_parts`, `INSERT INTO wallet_feed_skipped (consumer, user_id, currency, version, actor, reason) VALUES ('x', 'u1', 'USD', 1, 'ann', 'bad')`,
		// What is in trail and feed comes from the journal, by functions that do nothing else.
		`INSERT INTO wallet_asset_events SELECT * FROM wallet_asset_events`, `INSERT INTO wallet_feed (user_id, currency, first_version, last_version) VALUES ('u1', 'USD', 1, 1)`,
		`DO 'BEGIN LOCK TABLE wallet_feed IN ROW EXCLUSIVE MODE; END'`, `SELECT nextval(pg_get_serial_sequence('wallet_feed', 'id'))`,
		`CREATE OR REPLACE FUNCTION wallet_record_events(text[], text[]) RETURNS SETOF bigint LANGUAGE sql AS 'SELECT 1'`,
		`ALTER FUNCTION wallet_record_events SET search_path = pg_temp`, `CREATE TABLE wallet_entry_events ()`,
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
		{`GRANT INSERT ON wallet_asset_events TO r`, "it may INSERT wallet_asset_events"},
		{`GRANT INSERT ON wallet_feed TO r`, "it may INSERT wallet_feed"},
		{`GRANT wallet_consumer TO r`, "it may INSERT wallet_feed_consumers"},
		{`GRANT INSERT ON currencies TO r`, "it may INSERT currencies"},
	} {
		t.Run(row.grant, func(t *testing.T) {
			tx, err := owner.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) // roles belong to the whole server: the rollback removes these
			_, err = tx.Exec(t.Context(), `CREATE ROLE r; GRANT wallet_app TO r; `+row.grant+`; SET LOCAL ROLE r`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err, row.grant)
			excess, err := migrations.ExcessRights(t.Context(), tx)
			require.NoError(t, err)
			require.NotEmpty(t, excess)
			require.Equal(t, row.named, excess[0])
		})
	}
}

// as connects with the rights of a role that is a member of another, until the end of the test.
func as(t *testing.T, url, role, memberOf string) *pgxpool.Pool {
	owner := testenv.Pool(t, url)
	_, err := owner.Exec(t.Context(), `CREATE ROLE `+role+`; GRANT `+memberOf+` TO `+role, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	t.Cleanup(func() { // roles belong to the whole server
		_, err := owner.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	})
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET ROLE `+role)
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func roleName(t *testing.T) string {
	return fmt.Sprintf("r%d_%d", os.Getpid(), time.Now().UnixNano())
}

// TestNobodyLeadsTheFunctionsElsewhere has a caller create tables with the names that the
// functions use.
func TestNobodyLeadsTheFunctionsElsewhere(t *testing.T) {
	url := testenv.DatabaseURL(t)
	app := testenv.Pool(t, testenv.AppURL(t, url))
	ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
	_, err := activities.New(app).EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	conn, err := app.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), `
		CREATE TEMP TABLE wallet_entry_events (LIKE wallet_asset_events);
		INSERT INTO pg_temp.wallet_entry_events SELECT * FROM public.wallet_asset_events;
		UPDATE pg_temp.wallet_entry_events SET version = 2, total_after = 1000000;
		CREATE TEMP TABLE wallet_feed (user_id text, currency text, first_version bigint, last_version bigint);
		SET search_path = pg_temp, public`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	var last, events, ranges int64
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT public.wallet_record_events('{u1}', '{USD}')`).Scan(&last))
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT * FROM public.wallet_repair_events('u1', 'USD')`).Scan(&events, &ranges))
	require.Equal(t, []int64{1, 0, 0}, []int64{last, events, ranges})
}

// TestOnlyTheServiceCallsTheFunctions checks the functions that append to trail and feed.
func TestOnlyTheServiceCallsTheFunctions(t *testing.T) {
	url := testenv.DatabaseURL(t)
	for _, memberOf := range []string{migrations.RoleReader, migrations.RoleConsumer} {
		db := as(t, url, roleName(t), memberOf)
		for _, call := range []string{`SELECT wallet_record_events('{u1}', '{USD}')`, `SELECT wallet_repair_events('u1', 'USD')`} {
			_, err := db.Exec(t.Context(), call)
			require.ErrorContains(t, err, "42501", memberOf+": "+call)
		}
	}
}

// TestAReaderReadsAndVerifiesAndNoMore tries every way of writing to every table.
func TestAReaderReadsAndVerifiesAndNoMore(t *testing.T) {
	url := testenv.DatabaseURL(t)
	owner := testenv.Pool(t, url)
	_, err := activities.New(owner).EnsureWalletAsset(t.Context(), wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	reader := as(t, url, roleName(t), migrations.RoleReader)

	report, err := trail.New(reader).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 1, report.Events)
	_, err = trail.New(reader).Commands(t.Context(), trail.CommandFilter{UserID: "u1"})
	require.NoError(t, err)
	_, err = feed.Lags(t.Context(), reader)
	require.NoError(t, err)
	enough := errors.New("enough")
	require.ErrorIs(t, feed.Follow(t.Context(), reader, feed.FollowOptions{}, func(feed.Event) error { return enough }), enough)

	rows, err := owner.Query(t.Context(), `SELECT oid::regclass::text, (SELECT attname FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum = 1)
		FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Column string }])
	require.NoError(t, err)
	require.Greater(t, len(tables), 8)
	for _, table := range tables {
		_, err := reader.Exec(t.Context(), `SELECT FROM `+table.Name)
		require.NoError(t, err, table.Name)
		for _, sql := range []string{
			`INSERT INTO ` + table.Name + ` DEFAULT VALUES`, `UPDATE ` + table.Name + ` SET ` + table.Column + ` = DEFAULT`,
			`DELETE FROM ` + table.Name, `TRUNCATE ` + table.Name, `SELECT FROM ` + table.Name + ` FOR UPDATE`,
		} {
			_, err := reader.Exec(t.Context(), sql)
			require.ErrorContains(t, err, "42501", sql)
		}
	}
	excess, err := migrations.ExcessRights(t.Context(), reader)
	require.NoError(t, err)
	require.Empty(t, excess)
}

// TestAConsumerMovesOnlyItsOwnPlace uses two modules, each with its own role.
func TestAConsumerMovesOnlyItsOwnPlace(t *testing.T) {
	url := testenv.DatabaseURL(t)
	group, other := roleName(t), roleName(t)
	billing := as(t, url, group, migrations.RoleConsumer)
	mail := as(t, url, other, migrations.RoleConsumer)
	second := as(t, url, roleName(t), group) // another login of billing
	for pool, name := range map[*pgxpool.Pool]string{billing: "billing", mail: "mail"} {
		_, err := pool.Exec(t.Context(), `INSERT INTO wallet_feed_consumers (name, after_id, after_version) VALUES ($1, 0, 0)`, name)
		require.NoError(t, err)
	}
	rowsOf := func(pool *pgxpool.Pool, sql string) int64 {
		tag, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
		return tag.RowsAffected()
	}
	require.EqualValues(t, 2, rowsOf(mail, `SELECT FROM wallet_feed_consumers`), "each sees all")
	for _, sql := range []string{
		`SELECT FROM wallet_feed_consumers WHERE name = 'billing' FOR UPDATE`,
		`UPDATE wallet_feed_consumers SET after_id = 9 WHERE name = 'billing'`,
		`DELETE FROM wallet_feed_consumers WHERE name = 'billing'`,
	} {
		require.Zero(t, rowsOf(mail, sql), sql)
	}
	for _, sql := range []string{
		`INSERT INTO wallet_feed_consumers (name, role, after_id, after_version) VALUES ('third', '` + group + `', 0, 0)`,
		`UPDATE wallet_feed_consumers SET role = '` + group + `'`, `TRUNCATE wallet_feed_consumers`,
		`ALTER TABLE wallet_feed_consumers DISABLE ROW LEVEL SECURITY`,
	} {
		_, err := mail.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "42501", sql)
	}
	// Nor what waits for another, and what is skipped.
	for pool, name := range map[*pgxpool.Pool]string{billing: "billing", mail: "mail"} {
		_, err := pool.Exec(t.Context(), `INSERT INTO wallet_feed_parked (consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at)
			VALUES ($1, 'u1', 'USD', 1, 1, 1, false, '', now())`, name)
		require.NoError(t, err)
		_, err = pool.Exec(t.Context(), `INSERT INTO wallet_feed_skipped (consumer, user_id, currency, version, actor, reason) VALUES ($1, 'u1', 'USD', 1, 'ann', 'bad')`, name)
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, rowsOf(mail, `SELECT FROM wallet_feed_parked`))
	require.EqualValues(t, 1, rowsOf(mail, `UPDATE wallet_feed_parked SET retry_at = now()`))
	require.EqualValues(t, 1, rowsOf(mail, `DELETE FROM wallet_feed_parked`))
	require.EqualValues(t, 2, rowsOf(mail, `SELECT FROM wallet_feed_skipped`))
	for _, sql := range []string{
		`INSERT INTO wallet_feed_parked (consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at) VALUES ('billing', 'u2', 'USD', 1, 1, 1, false, '', now())`,
		`INSERT INTO wallet_feed_skipped (consumer, user_id, currency, version, actor, reason) VALUES ('billing', 'u2', 'USD', 1, 'ann', 'bad')`,
		`INSERT INTO wallet_feed_skipped (consumer, user_id, currency, version, actor, reason, role) VALUES ('mail', 'u2', 'USD', 1, 'ann', 'bad', 'other')`,
		`UPDATE wallet_feed_parked SET consumer = 'billing'`, `UPDATE wallet_feed_skipped SET actor = 'ben'`, `DELETE FROM wallet_feed_skipped`,
		`TRUNCATE wallet_feed_parked`, `ALTER TABLE wallet_feed_parked DISABLE ROW LEVEL SECURITY`,
	} {
		_, err := mail.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "42501", sql)
	}
	nobody := func(context.Context, pgx.Tx, []feed.Event) error { return nil }
	require.ErrorContains(t, feed.Consume(t.Context(), mail, feed.Options{Name: "billing"}, nobody),
		`it belongs to the role "`+group+`"`, "rather than wait for ever")

	require.EqualValues(t, 1, rowsOf(second, `UPDATE wallet_feed_consumers SET after_id = 7 WHERE name = 'billing'`))
	require.EqualValues(t, 1, rowsOf(billing, `DELETE FROM wallet_feed_consumers WHERE name = 'billing' AND after_id = 7`))
	require.EqualValues(t, 1, rowsOf(mail, `SELECT FROM wallet_feed_skipped`), "what is recorded for a consumer goes with it")
	require.EqualValues(t, 1, rowsOf(testenv.Pool(t, url), `UPDATE wallet_feed_consumers SET after_id = 5`), "the owner moves all")
}

func TestSeveralMayLetTheServiceLogInAtOnce(t *testing.T) {
	url := testenv.DatabaseURL(t)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return migrations.AllowLogin(t.Context(), url, migrations.RoleApp, testenv.AppPassword) })
	}
	require.NoError(t, group.Wait())
}

func TestAPasswordThatWouldNotLogInIsRefused(t *testing.T) {
	for _, bad := range []string{"x²", "tab\t", "naïve"} {
		require.ErrorContains(t, migrations.AllowLogin(t.Context(), "postgres://nowhere", migrations.RoleApp, bad), "other than printable ASCII")
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
