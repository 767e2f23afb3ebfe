package trail_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fill writes wallets with every kind of entry, using the steps.
func fill(t *testing.T, db *pgxpool.Pool, wallets int) {
	steps := activities.New(db)
	ctx := context.Background()
	received := func(commandType wallet.CommandType, id, amount string) wallet.Received {
		c := wallet.Command{ID: id, Type: commandType, Description: "d-é-" + id, Actor: "actor", Metadata: map[string]string{"key": "value"}}
		switch id {
		case "a": // without any optional field
			c.Description, c.Actor, c.Metadata = "", "", nil
		case "b": // text that looks like JSON
			c.Metadata = map[string]string{"plain": "{, : }", "": "", "more": ", "}
		case "d", "f": // text that JSON must escape
			c.Metadata = map[string]map[string]string{"d": {`quote"d`: `": "`}, "f": {"path": `back\slash`}}[id]
		}
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
			wallet.Malformed([]byte("x"), "json/plain", wallet.Command{}, errors.New("no good")),
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

// TestEveryQueryModeWritesAndReadsTheSame uses the modes that a pooler may require. In some of
// them all values come as text.
func TestEveryQueryModeWritesAndReadsTheSame(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			url := testenv.DatabaseURL(t)
			plain, db := testenv.Pool(t, url), testenv.Pool(t, url+"&default_query_exec_mode="+mode)
			fill(t, db, 2)
			ref := wallet.AssetRef{UserID: "u0001", Currency: "USD"}
			fillHolds(t, db, ref)
			fillHolds(t, db, ref) // each command gets its first answer again

			report := verify(t, db, trail.VerifyOptions{})
			require.Equal(t, trail.Report{Wallets: 2, Entries: 2*8 + 6, Events: 2*4 + 5, Findings: []trail.Finding{}}, report)
			require.Equal(t, report, verify(t, plain, trail.VerifyOptions{}))
			read := func(db *pgxpool.Pool) (all []any) {
				reader := trail.New(db)
				asset, err := reader.Asset(t.Context(), ref.UserID, ref.Currency)
				require.NoError(t, err)
				entries, err := reader.Commands(t.Context(), trail.CommandFilter{UserID: ref.UserID, Currency: ref.Currency})
				require.NoError(t, err)
				events, err := reader.Events(t.Context(), trail.EventFilter{UserID: ref.UserID, Currency: ref.Currency})
				require.NoError(t, err)
				holds, err := reader.Holds(t.Context(), trail.HoldFilter{UserID: ref.UserID})
				require.NoError(t, err)
				receipt, err := reader.Receipt(t.Context(), ref.UserID, ref.Currency, "hold-2")
				require.NoError(t, err)
				finding, err := reader.CheckReceipt(t.Context(), receipt)
				require.NoError(t, err)
				require.Nil(t, finding)
				require.Len(t, entries, 14)
				require.Len(t, holds, 3)
				return []any{asset, entries, events, holds, receipt}
			}
			require.Equal(t, read(plain), read(db))
		})
	}
}

// TestVerifyFindsWhatIsMissingMovedOrTwiceThere tampers as a superuser would, with triggers
// off, one change at a time, and undoes each.
func TestVerifyFindsWhatIsMissingMovedOrTwiceThere(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	openToTampering(t, db)
	execute := func(sql string) int64 {
		tag, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, sql)
		return tag.RowsAffected()
	}
	tables := []string{"wallets", "wallet_assets", "wallet_commands", "wallet_asset_events", "wallet_feed"}
	for _, table := range tables {
		execute(`CREATE TABLE kept_` + table + ` AS TABLE ` + table)
	}

	changes := []string{
		`DELETE FROM wallets WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_assets WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_asset_events WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'; DELETE FROM wallet_assets WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'; DELETE FROM wallet_asset_events WHERE user_id = 'u0001'`,
		// Swap two entries, and two events.
		`UPDATE wallet_commands SET position = 11 - position WHERE user_id = 'u0001' AND position IN (5, 6)`,
		`UPDATE wallet_asset_events SET version = 5 - version WHERE user_id = 'u0001' AND version IN (2, 3)`,
		// Remove the tail of both journal and events.
		`DELETE FROM wallet_commands WHERE user_id = 'u0001' AND position > 6; DELETE FROM wallet_asset_events WHERE user_id = 'u0001' AND position > 6`,
		// Duplicate rows, and one with a version that nothing else has.
		`INSERT INTO wallets (user_id) VALUES ('u0001')`,
		`INSERT INTO wallet_assets SELECT * FROM kept_wallet_assets WHERE user_id = 'u0001'`,
		`INSERT INTO wallet_commands SELECT * FROM kept_wallet_commands WHERE user_id = 'u0001' AND position = 3`,
		`INSERT INTO wallet_asset_events SELECT * FROM kept_wallet_asset_events WHERE user_id = 'u0001' AND version = 3`,
		`INSERT INTO wallet_asset_events SELECT * FROM kept_wallet_asset_events WHERE user_id = 'u0001' AND version = 1;
			UPDATE wallet_asset_events SET version = 9 WHERE ctid = (SELECT max(ctid) FROM wallet_asset_events)`,
		// The feed lacks the wallet, its beginning, its end or its middle; it has more than the
		// wallet has, or a wallet that does not exist.
		`DELETE FROM wallet_feed WHERE user_id = 'u0001'`,
		`UPDATE wallet_feed SET first_version = 2 WHERE user_id = 'u0001'`,
		`UPDATE wallet_feed SET last_version = 3 WHERE user_id = 'u0001'`,
		`UPDATE wallet_feed SET last_version = 1 WHERE user_id = 'u0001';
			INSERT INTO wallet_feed SELECT id + 100, user_id, currency, 3, 4 FROM kept_wallet_feed WHERE user_id = 'u0001'`,
		`INSERT INTO wallet_feed SELECT id + 100, user_id, currency, 5, 5 FROM kept_wallet_feed WHERE user_id = 'u0001'`,
		`INSERT INTO wallet_feed SELECT id + 100, user_id, currency, 1, 9223372036854775807 FROM kept_wallet_feed WHERE user_id = 'u0001'`,
		`DELETE FROM wallet_commands WHERE user_id = 'u0001'; DELETE FROM wallet_asset_events WHERE user_id = 'u0001'; DELETE FROM wallet_assets WHERE user_id = 'u0001'`,
	}
	for position := 1; position <= 8; position++ {
		changes = append(changes, fmt.Sprintf(`DELETE FROM wallet_commands WHERE user_id = 'u0001' AND position = %d`, position))
	}
	for version := 1; version <= 4; version++ {
		changes = append(changes, fmt.Sprintf(`DELETE FROM wallet_asset_events WHERE user_id = 'u0001' AND version = %d`, version))
	}
	for _, change := range changes {
		require.Positive(t, execute(change), change)
		report, err := trail.New(db).Verify(t.Context(), trail.VerifyOptions{Patience: -1})
		require.NoError(t, err, change)
		requireAccused(t, report.Findings, false, "%s", change)
		for _, table := range tables {
			execute(`TRUNCATE ` + table + `; INSERT INTO ` + table + ` TABLE kept_` + table)
		}
	}
	require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings, "all is back")
}

// TestTwoVerificationsShareAPool runs them on pools that have connections for one, or
// for one and a part of another.
func TestVerifyTellsWhatTheFeedLacks(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	openToTampering(t, db)
	_, err := db.Exec(t.Context(), `UPDATE wallet_feed SET last_version = 2 WHERE user_id = 'u0001'`)
	require.NoError(t, err)
	require.Equal(t, []trail.Finding{{
		UserID: "u0001", Currency: "USD", Table: "wallet_feed", Position: 3, MissingRange: true,
		Problem: `event of version 3 is in no range of the feed, its consumers do not see it: run "wallet repair"`,
	}}, verify(t, db, trail.VerifyOptions{}).Findings)
	require.Empty(t, verify(t, db, trail.VerifyOptions{WithoutMissing: true}).Findings)

	_, err = db.Exec(t.Context(), `UPDATE wallet_feed SET last_version = 5 WHERE user_id = 'u0001'`)
	require.NoError(t, err)
	require.Equal(t, []trail.Finding{{
		UserID: "u0001", Currency: "USD", Table: "wallet_feed", Position: 8,
		Problem: `a range goes up to version 5, but the journal has 4 applied commands`,
	}}, verify(t, db, trail.VerifyOptions{WithoutMissing: true}).Findings)

	_, err = db.Exec(t.Context(), `UPDATE wallet_feed SET last_version = 4 WHERE user_id = 'u0001';
		INSERT INTO wallet_feed SELECT id + 100, user_id, currency, 1, 4 FROM wallet_feed WHERE user_id = 'u0002'`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	require.Equal(t, []trail.Finding{{
		UserID: "u0002", Currency: "USD", Table: "wallet_feed", Position: 8,
		Problem: `first_version is 1, but another range goes up to version 4`,
	}}, verify(t, db, trail.VerifyOptions{}).Findings, "a range twice would hand its events out twice")
}

func TestTwoVerificationsShareAPool(t *testing.T) {
	url := testenv.DatabaseURL(t)
	fill(t, testenv.Pool(t, url), 3)
	for _, size := range []int32{4, 5, 8} {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		config.MaxConns = size
		db, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		defer db.Close()
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		defer stop()
		read := trail.New(db)
		for range 20 {
			group, ctx := errgroup.WithContext(ctx)
			for range 2 {
				group.Go(func() error {
					_, err := read.Verify(ctx, trail.VerifyOptions{})
					return err
				})
			}
			require.NoError(t, group.Wait(), "a pool of %d", size)
		}
	}
}

func TestExpectedEntriesAreAHintThatNeverFails(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	expected := func(userID string) int64 {
		n, err := trail.New(db).ExpectedEntries(t.Context(), userID, "")
		require.NoError(t, err)
		return n
	}
	require.Equal(t, int64(24), expected(""))
	require.Equal(t, int64(8), expected("u0001"))
	require.Zero(t, expected("nobody"))
	_, err := db.Exec(t.Context(), `UPDATE wallet_assets SET position = 9223372036854775807`)
	require.NoError(t, err)
	require.Positive(t, expected(""))
}

func TestVerifyAccusesEveryWalletOfACurrencyThatIsNotWhatItWas(t *testing.T) {
	for name, change := range map[string]string{
		"unregistered":    `DELETE FROM currencies WHERE code = 'USD'`,
		"without a scale": `UPDATE currencies SET scale = NULL WHERE code = 'USD'`,
		"a longer scale":  `UPDATE currencies SET scale = 3 WHERE code = 'USD'`,
		"a shorter scale": `UPDATE currencies SET scale = 1 WHERE code = 'USD'`,
		"no scale at all": `UPDATE currencies SET scale = -1 WHERE code = 'USD'`,
		"twice there":     `INSERT INTO currencies VALUES ('USD', 2)`,
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			_, err := db.Exec(t.Context(), change)
			require.NoError(t, err)
			require.Len(t, verify(t, db, trail.VerifyOptions{}).Findings, 2)
		})
	}
}

// TestBalancesOfNobodyStopNoVerification has so many of them that a range would end with one.
func TestBalancesOfNobodyStopNoVerification(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 2)
	openToTampering(t, db)
	for _, nobody := range []string{`NULL, 'USD'`, `'nobody', NULL`} {
		_, err := db.Exec(t.Context(), `INSERT INTO wallet_assets (user_id, currency) SELECT `+nobody+` FROM generate_series(1, 300)`)
		require.NoError(t, err)
	}
	report, err := trail.New(db).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(2), report.Wallets)
}
