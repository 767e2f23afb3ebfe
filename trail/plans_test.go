package trail_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// manyRows inserts one wallet with 120,000 entries, the last 20,000 of them refusals, among
// 5,000 small wallets. A third of the entries reverse c2, a third one command each.
const manyRows = `
	INSERT INTO wallet_commands (user_id, currency, position, command_id, type, amount, request_hash, status, reason,
		total_before, total_after, hold_before, hold_after, version, recorded_at, prev_hash, hash, format, original_id)
	SELECT user_id, 'USD', n, 'c' || n, CASE n WHEN 1 THEN 'create' ELSE 'add' END, 1, zero,
		CASE WHEN n <= applied THEN 'applied' ELSE 'unapplied' END, CASE WHEN n > applied THEN 'scale_exceeded' END,
		0, 0, 0, 0, CASE WHEN n <= applied THEN n END, timestamptz '2026-01-01T00:00:00Z' + n * interval '1 second', zero, zero, 1, CASE WHEN n % 3 = 0 THEN 'c2' WHEN n % 3 = 1 AND n > 4 THEN 'c' || (n - 2) END
	FROM (SELECT 'big' AS user_id, 120000 AS entries, 100000 AS applied
		UNION ALL SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'u' END || lpad(i::text, 6, '0'), 8, 6 FROM generate_series(1, 5000) AS i) AS w
	CROSS JOIN LATERAL generate_series(1, entries) AS n
	CROSS JOIN (SELECT decode(repeat('00', 32), 'hex') AS zero) AS z;
	INSERT INTO wallets (user_id, created_at) SELECT user_id, min(recorded_at) FROM wallet_commands GROUP BY user_id;
	INSERT INTO wallet_assets (user_id, currency, created_at, updated_at) SELECT user_id, currency, min(recorded_at), max(recorded_at) FROM wallet_commands GROUP BY user_id, currency;
	INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, amount,
		total_before, total_after, hold_before, hold_after, description, actor, metadata, occurred_at, position, hash)
	SELECT user_id, currency, version, 'wallet_asset.added', command_id, amount,
		total_before, total_after, hold_before, hold_after, description, actor, metadata, recorded_at, position, hash
	FROM wallet_commands WHERE version IS NOT NULL;
	ANALYZE`

var rowsOfNode = regexp.MustCompile(`rows=(\d+) loops=|Rows Removed by Filter: (\d+)`)

// TestNoLookUpReadsMoreThanAPage asks Postgres how many rows each part of each statement reads,
// with a custom and a generic plan.
func TestNoLookUpReadsMoreThanAPage(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), manyRows, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		for sql, parameters := range trail.Lookups {
			_, err := conn.Exec(t.Context(), `SET plan_cache_mode = `+mode+`; PREPARE look_up AS `+sql, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE look_up (`+parameters+`)`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			requireFewRows(t, mode+": "+sql, plan, trail.MaxPage)
			_, err = conn.Exec(t.Context(), `DEALLOCATE look_up`)
			require.NoError(t, err)
		}
	}
}

// requireFewRows requires that each part of a plan has read or found at most so many rows, and the
// whole some.
func requireFewRows(t *testing.T, what string, plan []string, most int) {
	read := 0
	for _, line := range plan {
		for _, match := range rowsOfNode.FindAllStringSubmatch(line, -1) {
			n, _ := strconv.Atoi(match[1] + match[2])
			require.LessOrEqual(t, n, most, "%s: %s\n%v", what, line, plan)
			read += n
		}
	}
	require.Positive(t, read, "%s found nothing", what)
}

// scattered inserts 2,000 wallets with 40 entries each, of which none is next to another.
const scattered = `
	INSERT INTO wallets (user_id, created_at) SELECT 'u' || lpad(i::text, 6, '0'), '2026-01-01' FROM generate_series(1, 2000) AS i;
	INSERT INTO wallet_assets (user_id, currency, created_at, updated_at) SELECT user_id, 'USD', created_at, created_at FROM wallets;
	INSERT INTO wallet_commands (user_id, currency, position, command_id, type, amount, request_hash, status,
		total_before, total_after, hold_before, hold_after, version, recorded_at, prev_hash, hash, format)
	SELECT user_id, 'USD', n, 'c' || n, 'add', 1, zero, 'applied', 0, 0, 0, 0, n, '2026-01-01', zero, zero, 1
	FROM wallets CROSS JOIN generate_series(1, 40) AS n CROSS JOIN (SELECT decode(repeat('00', 32), 'hex') AS zero) AS z
	ORDER BY n, user_id;
	INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, amount,
		total_before, total_after, hold_before, hold_after, description, actor, metadata, occurred_at, position, hash)
	SELECT user_id, currency, version, 'wallet_asset.added', command_id, amount,
		total_before, total_after, hold_before, hold_after, description, actor, metadata, recorded_at, position, hash
	FROM wallet_commands ORDER BY version, user_id;
	INSERT INTO wallet_feed (user_id, currency, first_version, last_version) SELECT user_id, currency, version, version
	FROM wallet_commands ORDER BY version, user_id;
	ANALYZE`

var expectedRows = regexp.MustCompile(`\(cost=\S+ rows=(\d+)`)

// TestARangeOfWalletsReadsOnlyItsRows asks Postgres how many rows a verification reads of each
// table for a range of wallets in the middle, and how many it expected: with more wallets it would
// rather read the whole table than as many rows as it expects.
func TestARangeOfWalletsReadsOnlyItsRows(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), scattered, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	for table, sql := range trail.RangeQueries {
		rows, err := db.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+sql,
			pgx.QueryExecModeExec, "u001000", "USD", "u001100", "USD", "", "")
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		requireFewRows(t, table, plan, 100*40)
		for _, line := range plan {
			for _, match := range expectedRows.FindAllStringSubmatch(line, -1) {
				n, _ := strconv.Atoi(match[1])
				require.LessOrEqual(t, n, 2*100*40, "%s: %s\n%v", table, line, plan)
			}
		}
	}
}
