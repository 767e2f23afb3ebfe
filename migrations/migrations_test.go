package migrations_test

import (
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// TestADatabaseOfAnOlderFormIsRefused takes away what came after its form: a
// column, and a table of the feed.
func TestADatabaseOfAnOlderFormIsRefused(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	require.NoError(t, migrations.Check(t.Context(), db))
	_, err := db.Exec(t.Context(), `ALTER TABLE wallet_commands DROP COLUMN format`)
	require.NoError(t, err)
	require.ErrorIs(t, migrations.Check(t.Context(), db), migrations.ErrOldForm)
	_, err = migrations.Up(t.Context(), db.Config().ConnString())
	require.ErrorIs(t, err, migrations.ErrOldForm)
	require.ErrorContains(t, err, "its journal has no format")

	db = testenv.Pool(t, testenv.DatabaseURL(t))
	_, err = db.Exec(t.Context(), `DROP TABLE wallet_feed_parked`)
	require.NoError(t, err)
	require.ErrorContains(t, migrations.Check(t.Context(), db), "its feed has no wallet_feed_parked")

	db = testenv.Pool(t, testenv.DatabaseURL(t))
	_, err = db.Exec(t.Context(), `DROP TABLE wallet_run_parts, wallet_runs`)
	require.NoError(t, err)
	require.ErrorContains(t, migrations.Check(t.Context(), db), "it has no wallet_runs")
}

var quoted = regexp.MustCompile(`'([a-z_.]+)'`)

// TestTheSchemaKnowsTheTypesOfTheTable compares the lists in the CHECKs with the table of
// kinds.
func TestTheSchemaKnowsTheTypesOfTheTable(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	var types, events, reasons []string
	for _, k := range wallet.Kinds() {
		types, events = append(types, string(k.Type)), append(events, k.Event)
	}
	for _, reason := range wallet.RecordedReasons() {
		reasons = append(reasons, string(reason))
	}
	for constraint, want := range map[string][]string{
		"wallet_commands_type_check": types, "wallet_commands_reason_check": reasons, "wallet_asset_events_event_type_check": events,
	} {
		var definition string
		require.NoError(t, db.QueryRow(t.Context(), `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1`, constraint).Scan(&definition))
		var got []string
		for _, match := range quoted.FindAllStringSubmatch(definition, -1) {
			got = append(got, match[1])
		}
		require.ElementsMatch(t, want, got, constraint)
	}
}

// TestTheViewOfEventsFitsTheirTable compares the view with the table of kinds, and with the
// columns that its rows are inserted into, in order.
func TestTheViewOfEventsFitsTheirTable(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	columns := func(relation string) (list []string) {
		found, err := db.Query(t.Context(), `SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, relation)
		require.NoError(t, err)
		list, err = pgx.CollectRows(found, pgx.RowTo[string])
		require.NoError(t, err)
		return list
	}
	require.Equal(t, columns("wallet_asset_events"), columns("wallet_entry_events"))

	var definition string
	require.NoError(t, db.QueryRow(t.Context(), `SELECT pg_get_viewdef('wallet_entry_events'::regclass)`).Scan(&definition))
	var got, want []string
	for _, match := range quoted.FindAllStringSubmatch(definition, -1) {
		got = append(got, match[1])
	}
	for _, k := range wallet.Kinds() {
		want = append(want, string(k.Type), k.Event)
	}
	require.ElementsMatch(t, want, got)
}
