package activities_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/testenv"
)

// bigWallet has 20,000 entries, of which the last 5 have no event yet.
const bigWallet = `
	INSERT INTO wallets VALUES ('big');
	INSERT INTO wallet_assets (user_id, currency, version, position, created_at, updated_at) VALUES ('big', 'USD', 20000, 20000, now(), now());
	INSERT INTO wallet_commands (user_id, currency, position, command_id, type, amount, request_hash, status,
		total_before, total_after, hold_before, hold_after, version, recorded_at, prev_hash, hash)
	SELECT 'big', 'USD', n, 'c' || n, 'add', 1, zero, 'applied', 0, 0, 0, 0, n, now(), zero, zero
	FROM generate_series(1, 20000) AS n, (SELECT decode(repeat('00', 32), 'hex') AS zero) AS z;
	INSERT INTO wallet_asset_events SELECT user_id, currency, version, 'wallet_asset.added', command_id, amount,
		total_before, total_after, hold_before, hold_after, description, actor, metadata, recorded_at, position, hash
	FROM wallet_commands WHERE version <= 19995`

var rowsOfNode = regexp.MustCompile(`actual rows=(\d+) loops=|Rows Removed by Filter: (\d+)`)

// TestNoStepReadsAWholeJournal asks Postgres how many rows each part of each statement
// reads. The plans are made while the tables are empty and kept, as in a worker that
// has just been started on a new database.
func TestNoStepReadsAWholeJournal(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	exec := func(sql string) (lines []string) {
		results, err := conn.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
		require.NoError(t, err)
		for _, row := range results[len(results)-1].Rows {
			lines = append(lines, string(row[0]))
		}
		return lines
	}
	exec(`SET plan_cache_mode = force_generic_plan`)
	for _, table := range []string{"wallet_commands", "wallet_asset_events", "wallet_assets"} {
		exec(`ALTER TABLE ` + table + ` SET (autovacuum_enabled = false)`)
	}
	statements := map[string]string{}
	for sql, parameters := range activities.Statements {
		name := fmt.Sprint("s", len(statements))
		exec(`PREPARE ` + name + ` AS ` + sql)
		exec(`EXPLAIN EXECUTE ` + name + `(` + parameters + `)`)
		statements[name] = parameters
	}
	exec(bigWallet)
	for name, parameters := range statements {
		plan := exec(`EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE ` + name + `(` + parameters + `)`)
		read := 0
		for _, line := range plan {
			for _, match := range rowsOfNode.FindAllStringSubmatch(line, -1) {
				n, err := strconv.Atoi(match[1] + match[2])
				require.NoError(t, err)
				require.LessOrEqual(t, n, 10, "%v", plan)
				read += n
			}
		}
		require.Positive(t, read, "%v", plan)
	}
}
