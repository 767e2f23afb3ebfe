package runs_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/runs"
)

// TestFailuresComeInTheOrderOfTheFile has parts fail one after the other. SQL can give two lines one
// number.
func TestFailuresComeInTheOrderOfTheFile(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), `INSERT INTO wallet_run_failures (run_id, part, line, status, user_id, currency, type, amount, command_id, reason, message)
		SELECT run, part, line, 'refused', 'u' || part, 'USD', 'add', '1', 'c', 'frozen', ''
		FROM (VALUES ('other'), ('r')) AS runs (run) CROSS JOIN generate_series(0, 15) AS part CROSS JOIN generate_series(1, 16000) AS line
		WHERE line % 16 = part OR line = 16000 AND part < 3`)
	require.NoError(t, err)
	var all []int64
	for f, err := range runs.Failures(t.Context(), db, "r") {
		require.NoError(t, err)
		all = append(all, f.Line)
	}
	require.Len(t, all, 16002)
	require.IsNonDecreasing(t, all)
	var paged []int64
	for after, more := int64(0), true; more; after = paged[len(paged)-1] {
		page, err := runs.FailuresAfter(t.Context(), db, "r", after, 1000)
		require.NoError(t, err)
		for _, f := range page {
			paged = append(paged, f.Line)
		}
		more = len(page) >= 1000 && len(paged) < len(all)
	}
	require.Equal(t, all, paged, "all lines 16000 are on the last page")

	_, err = db.Exec(t.Context(), `ANALYZE wallet_run_failures`)
	require.NoError(t, err)
	found, err := db.Query(t.Context(), `EXPLAIN `+runs.SQLFailures, pgx.QueryExecModeExec, "r", 8000, 1000)
	require.NoError(t, err)
	plan, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotContains(t, strings.Join(plan, "\n"), "Sort", "a page reads its own lines")
}
