package trail_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/testenv"
	"github.com/valueledger/wallet/trail"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fill writes wallets with every kind of entry, through the steps.
func fill(t *testing.T, db *pgxpool.Pool, wallets int) {
	steps := activities.New(db)
	ctx := context.Background()
	received := func(commandType wallet.CommandType, id, amount string) wallet.Received {
		c := wallet.Command{ID: id, Type: commandType, Description: "d-" + id, Actor: "actor", Metadata: map[string]string{"key": "value"}}
		if amount != "" {
			c.Amount = wallet.MustAmount(amount)
		}
		return wallet.Received{Command: c}
	}
	for i := range wallets {
		ref := wallet.AssetRef{UserID: fmt.Sprintf("u%04d", i), Currency: "USD"}
		_, err := steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{
			received(wallet.TypeCreate, "open", ""),
			received(wallet.TypeAdd, "a", "10"),
			received(wallet.TypeSubtract, "b", "3.5"),
			received(wallet.TypeSubtract, "c", "300"),
			received(wallet.TypeAdd, "d", "1.005"),
			received(wallet.TypeCreate, "e", ""),
			wallet.Malformed([]byte("x"), "json/plain", wallet.Command{}, "_malformed-x-1", wallet.ErrAssetMissing),
			received(wallet.TypeAdd, "f", "2.25"),
		}})
		require.NoError(t, err)
		_, err = steps.RecordEvents(ctx, ref)
		require.NoError(t, err)
	}
}

func verify(t *testing.T, db *pgxpool.Pool, o trail.VerifyOptions) trail.Report {
	report, err := trail.New(db).Verify(context.Background(), o)
	require.NoError(t, err)
	return report
}

func TestVerifyHoldsForWhatTheStepsWrote(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	require.Equal(t, trail.Report{Findings: []trail.Finding{}}, verify(t, db, trail.VerifyOptions{}))
	fill(t, db, 600) // more than two ranges
	for _, parallel := range []int{0, 1, 8} {
		report := verify(t, db, trail.VerifyOptions{Parallel: parallel})
		require.Equal(t, trail.Report{Wallets: 600, Entries: 600 * 8, Events: 600 * 4, Findings: []trail.Finding{}}, report)
	}
	report := verify(t, db, trail.VerifyOptions{UserID: "u0300"})
	require.Equal(t, int64(1), report.Wallets)
	require.Equal(t, int64(8), report.Entries)
	require.Zero(t, verify(t, db, trail.VerifyOptions{UserID: "u0300", Currency: "EUR"}).Wallets)
}

// TestVerifyFindsEveryChange tampers as a superuser would, triggers off, with one
// thing at a time, and puts it back.
func TestVerifyFindsEveryChange(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	for _, table := range []string{"wallet_commands", "wallet_asset_events", "wallet_assets"} {
		for _, sql := range []string{
			`ALTER TABLE ` + table + ` DISABLE TRIGGER ALL`,
			`CREATE TABLE kept_` + table + ` AS TABLE ` + table,
		} {
			_, err := db.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
	}
	dropChecks(t, db)

	journal := []string{"open", "a", "b", "c", "d", "e", "_malformed-x-1", "f"}
	at := func(id string) string { return ` WHERE user_id = 'u0001' AND command_id = '` + id + `'` }
	changes := []string{
		`UPDATE wallet_assets SET total_amount = total_amount + 1 WHERE user_id = 'u0001'`,
		`UPDATE wallet_assets SET hold_amount = 1 WHERE user_id = 'u0001'`,
		`UPDATE wallet_assets SET version = version - 1 WHERE user_id = 'u0001'`,
		`UPDATE wallet_assets SET position = position + 1 WHERE user_id = 'u0001'`,
		`UPDATE wallet_assets SET hash = set_byte(hash, 31, get_byte(hash, 31) # 1) WHERE user_id = 'u0001'`,
		`UPDATE wallet_assets SET updated_at = updated_at + interval '1 microsecond' WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_assets WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_asset_events WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'; DELETE FROM wallet_assets WHERE user_id = 'u0001'`,
		// Two entries change places.
		`UPDATE wallet_commands SET position = 11 - position WHERE user_id = 'u0001' AND position IN (5, 6)`,
		// The tail goes, of journal and events alike.
		`DELETE FROM wallet_commands WHERE user_id = 'u0001' AND position > 6; DELETE FROM wallet_asset_events WHERE user_id = 'u0001' AND position > 6`,
		// An event of its own, and one that is twice there.
		`INSERT INTO wallet_asset_events SELECT * FROM (SELECT (e #= hstore('version', '9')).* FROM wallet_asset_events e WHERE user_id = 'u0001' AND version = 2) x`,
	}
	for _, id := range journal {
		changes = append(changes, `DELETE FROM wallet_commands`+at(id))
		for _, column := range columns(t, db, "wallet_commands") {
			changes = append(changes, `UPDATE wallet_commands SET `+column+at(id))
		}
	}
	for _, id := range []string{"open", "a", "b", "f"} {
		changes = append(changes, `DELETE FROM wallet_asset_events`+at(id))
		for _, column := range columns(t, db, "wallet_asset_events") {
			changes = append(changes, `UPDATE wallet_asset_events SET `+column+at(id))
		}
	}
	for _, change := range changes {
		tag, err := db.Exec(t.Context(), change, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, change)
		require.Positive(t, tag.RowsAffected(), change)
		report, err := trail.New(db).Verify(t.Context(), trail.VerifyOptions{})
		require.NoError(t, err, change)
		require.NotEmpty(t, report.Findings, change)
		for _, f := range report.Findings {
			require.NotEqual(t, "u0000", f.UserID, "the others hold: %s", change)
			require.NotEmpty(t, f.Problem)
		}
		_, err = db.Exec(t.Context(), `
			TRUNCATE wallet_commands, wallet_asset_events, wallet_assets;
			INSERT INTO wallet_assets TABLE kept_wallet_assets;
			INSERT INTO wallet_commands TABLE kept_wallet_commands;
			INSERT INTO wallet_asset_events TABLE kept_wallet_asset_events`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
	require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings, "all is back")
}

// dropChecks takes away what would refuse a change before verify can find it.
func dropChecks(t *testing.T, db *pgxpool.Pool) {
	_, err := db.Exec(t.Context(), `
		CREATE EXTENSION hstore;
		DO $$ DECLARE c record; BEGIN
			FOR c IN SELECT conrelid::regclass AS tab, conname FROM pg_constraint
				WHERE contype IN ('c', 'u', 'p', 'f') AND conrelid IN ('wallet_commands'::regclass, 'wallet_asset_events'::regclass, 'wallet_assets'::regclass)
			LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.tab, c.conname); END LOOP;
			FOR c IN SELECT attrelid::regclass AS tab, attname FROM pg_attribute
				WHERE attnotnull AND attnum > 0 AND attrelid IN ('wallet_commands'::regclass, 'wallet_asset_events'::regclass)
			LOOP EXECUTE format('ALTER TABLE %s ALTER %I DROP NOT NULL', c.tab, c.attname); END LOOP;
		END $$`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
}

// columns gives an assignment for each column of a table that changes its value by
// as little as its type allows.
func columns(t *testing.T, db *pgxpool.Pool, table string) []string {
	rows, err := db.Query(t.Context(), `SELECT attname || ' = ' || CASE format_type(atttypid, NULL)
			WHEN 'text'    THEN format('CASE WHEN coalesce(%1$I, '''') = '''' THEN ''x'' ELSE overlay(%1$I placing chr(ascii(%1$I) # 1) from 1 for 1) END', attname)
			WHEN 'bytea'   THEN format('set_byte(%1$I, 7, get_byte(%1$I, 7) # 1)', attname)
			WHEN 'bigint'  THEN format('coalesce(%1$I, 4) + 1', attname)
			WHEN 'numeric' THEN format('coalesce(%1$I, 0) + 0.01', attname)
			WHEN 'jsonb'   THEN format('coalesce(%1$I, ''{}'') || ''{"key": "valuf"}''', attname)
			WHEN 'timestamp with time zone' THEN format('%1$I + interval ''1 microsecond''', attname)
		END
		FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`, table)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(list), 15)
	return list
}
