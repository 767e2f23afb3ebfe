package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// What was recorded before there was a feed is in it, each run without gaps as one
// range.
func TestTheFeedBeginsWithTheEventsThatWereThere(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), `
		INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, total_before, total_after, hold_before, hold_after, occurred_at, position, hash)
		SELECT u, c, v, 'wallet_asset.added', 'c' || v, 0, 0, 0, 0, now(), v, ''
		FROM (VALUES ('u1', 'EUR', 1), ('u1', 'USD', 1), ('u1', 'USD', 2), ('u1', 'USD', 3), ('u2', 'USD', 1), ('u2', 'USD', 3), ('u2', 'USD', 4)) AS e (u, c, v)`)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `
		DROP TABLE wallet_feed, wallet_feed_consumers;
		DROP FUNCTION wallet_feed_append CASCADE;
		DELETE FROM goose_db_version WHERE version_id = 2`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	_, err = migrations.Up(t.Context(), db.Config().ConnString())
	require.NoError(t, err)
	rows, err := db.Query(t.Context(), `SELECT concat_ws(' ', id, user_id, currency, first_version, last_version) FROM wallet_feed ORDER BY id`)
	require.NoError(t, err)
	feed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"1 u1 EUR 1 1", "2 u1 USD 1 3", "3 u2 USD 1 1", "4 u2 USD 3 4"}, feed)
}
