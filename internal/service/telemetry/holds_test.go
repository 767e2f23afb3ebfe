package telemetry_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// TestOpenAndOverdueHoldsAreTold has one open, one captured, one expired, and one whose
// entry is late, since nobody may write it.
func TestOpenAndOverdueHoldsAreTold(t *testing.T) {
	w := watch(t)
	defer w.Stop()
	_, err := w.wallets.Add(t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: "funds", Amount: wallet.MustAmount("100")})
	require.NoError(t, err)
	w.hold("open", "1h", false)
	w.hold("captured", "1h", true)
	w.hold("expired", "1s", false)
	w.eventually("its expiry", func() bool {
		return w.count("wallet_commands_total", "type", "expire", "status", "applied") == 1
	})
	require.EqualValues(t, 3, w.count("wallet_commands_total", "type", "hold", "status", "applied"))
	require.EqualValues(t, 1, w.count("wallet_commands_total", "type", "capture", "status", "applied"))
	w.eventually("one open hold", func() bool { return w.gauge("wallet_holds_open") == 1 })
	require.Zero(t, w.gauge("wallet_holds_overdue"))
	require.Zero(t, w.gauge("wallet_holds_overdue_age_seconds"))

	w.hold("late", "1s", false)
	testenv.Exec(t, w.databaseURL, `REVOKE INSERT ON wallet_commands FROM wallet_app`)
	w.eventually("an overdue hold, or its expiry", func() bool {
		return w.gauge("wallet_holds_overdue_age_seconds") > 0 || w.count("wallet_commands_total", "type", "expire", "status", "applied") == 2
	})
	testenv.Exec(t, w.databaseURL, `GRANT INSERT ON wallet_commands TO wallet_app`)
	w.eventually("no overdue hold", func() bool {
		return w.gauge("wallet_holds_overdue") == 0 && w.gauge("wallet_holds_open") == 1
	})
}

// TestOpenAndOverdueGrantsAreTold is the same for grants.
func TestOpenAndOverdueGrantsAreTold(t *testing.T) {
	w := watch(t)
	defer w.Stop()
	grant := func(id, in string) {
		_, err := w.wallets.Add(t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: id, Amount: wallet.MustAmount("1"), ExpiresIn: in})
		require.NoError(t, err)
	}
	grant("open", "1h")
	grant("expired", "1s")
	w.eventually("its expiry", func() bool {
		return w.count("wallet_commands_total", "type", "expire_grant", "status", "applied") == 1
	})
	w.eventually("one open grant", func() bool { return w.gauge("wallet_grants_open") == 1 && w.gauge("wallet_grants_overdue") == 0 })

	grant("late", "1s")
	testenv.Exec(t, w.databaseURL, `REVOKE INSERT ON wallet_commands FROM wallet_app`)
	w.eventually("an overdue grant, or its expiry", func() bool {
		return w.gauge("wallet_grants_overdue_age_seconds") > 0 || w.count("wallet_commands_total", "type", "expire_grant", "status", "applied") == 2
	})
	testenv.Exec(t, w.databaseURL, `GRANT INSERT ON wallet_commands TO wallet_app`)
	w.eventually("no overdue grant", func() bool {
		return w.gauge("wallet_grants_overdue") == 0 && w.gauge("wallet_grants_open") == 1
	})
}

// TestHoldsAndGrantsAreCountedByIndex has tables of closed ones that are analyzed at no time.
func TestHoldsAndGrantsAreCountedByIndex(t *testing.T) {
	for table, sql := range map[string]string{"wallet_holds": telemetry.SQLHolds, "wallet_grants": telemetry.SQLGrants} {
		t.Run(table, func(t *testing.T) { countedByIndex(t, table, sql) })
	}
}

func countedByIndex(t *testing.T, table, sql string) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), map[string]string{"wallet_grants": `INSERT INTO wallet_grants (user_id, currency, grant_number, command_id, state, priority, amount, unused, held, used, expired, expires_at, added_at, updated_at, position)
		SELECT 'u', 'USD', n, 'g' || n, CASE WHEN n % 1000 = 0 THEN 'open' ELSE 'used' END, 50, 1, CASE WHEN n % 1000 = 0 THEN 1 ELSE 0 END, 0, CASE WHEN n % 1000 = 0 THEN 0 ELSE 1 END, 0,
			clock_timestamp() + CASE WHEN n % 5000 = 0 THEN interval '-1 minute' ELSE interval '1 hour' END, clock_timestamp(), clock_timestamp(), n
		FROM generate_series(1, 20000) AS n`, "wallet_holds": `INSERT INTO wallet_holds (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position)
		SELECT 'u', 'USD', 'h' || n, CASE WHEN n % 1000 = 0 THEN 'open' ELSE 'captured' END, 1, CASE WHEN n % 1000 = 0 THEN 0 ELSE 1 END, 0,
			clock_timestamp() + CASE WHEN n % 5000 = 0 THEN interval '-1 minute' ELSE interval '1 hour' END, clock_timestamp(), clock_timestamp(), n
		FROM generate_series(1, 20000) AS n`}[table])
	require.NoError(t, err)
	counted, err := telemetry.CountOpen(t.Context(), db, sql)
	require.NoError(t, err)
	require.Equal(t, int64(20), counted.Open)
	require.Equal(t, int64(4), counted.Overdue)
	require.GreaterOrEqual(t, counted.OverdueFor, 60.0)

	var plan string
	require.NoError(t, pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), telemetry.SQLByIndex); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `EXPLAIN (FORMAT json) `+sql, telemetry.MostCounted).Scan(&plan)
	}))
	require.Contains(t, plan, table+"_due")
	require.NotContains(t, plan, "Seq Scan")
}
