package feed_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestTheFeedIsWholeAsOnCitus(t *testing.T) {
	testenv.AsOnCitus(t, map[string]func(*testing.T){
		"out of order": TestNothingIsPassedOverWhenIdsCommitOutOfOrder,
		"ids":          TestAnEventIDIsOfItsContent,
		"missing":      TestAMissingEventStopsTheFeed,
		"repaired":     TestWhatIsRepairedIsHandedOutWhileItsWalletWaits,
		"skipped":      TestASkippedEventIsNotHandedOut,
		"redelivered":  TestASkippedEventIsRedelivered,
		"all skipped":  TestRedeliverSkippedCountsWhatIsThere,
	})
}

func TestAGapWaitsForWritersOnTheNodes(t *testing.T) {
	url := testenv.DatabaseURL(t)
	testenv.Exec(t, url, `CREATE SEQUENCE asked`,
		`CREATE OR REPLACE FUNCTION wallet_feed_node_writers() RETURNS SETOF text LANGUAGE sql VOLATILE AS $$ SELECT 'a writer' WHERE nextval('asked') < 3 $$`,
		`INSERT INTO wallet_feed (id, user_id, currency, first_version, last_version) OVERRIDING SYSTEM VALUE VALUES (2, 'u1', 'USD', 1, 1)`)
	db := testenv.Pool(t, url)
	_, at, err := feed.Page(t.Context(), db, feed.Cursor{}, 10, func(wallet.AssetRef) bool { return false })
	require.NoError(t, err)
	require.Equal(t, feed.Cursor{Row: 2, Version: 1}, at)
	var asked int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT last_value FROM asked`).Scan(&asked))
	require.Equal(t, 3, asked, "until the writer is gone")
}
