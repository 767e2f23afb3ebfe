package telemetry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestARunWithoutProgressIsTold has a run of which one part has gone on later than the others, and
// some that are not running.
func TestARunWithoutProgressIsTold(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, testenv.AppURL(t, url))
	none, err := telemetry.CountRuns(t.Context(), db)
	require.NoError(t, err)
	require.Zero(t, none)
	testenv.Exec(t, url,
		`INSERT INTO wallet_runs (run_id, lines, state, updated_at)
			SELECT state, 5, state, now() - interval '2 hours' FROM unnest(ARRAY['staged', 'running', 'paused', 'cancelled', 'done']) AS state`,
		`INSERT INTO wallet_run_parts (run_id, part, lines, updated_at)
			SELECT run_id, part, 5, now() - CASE part WHEN 3 THEN interval '10 minutes' ELSE interval '1 hour' END FROM wallet_runs, unnest(ARRAY[1, 3, 7]) AS part`,
		`INSERT INTO wallet_run_waiting (run_id, part, line, user_id, currency) SELECT run_id, 1, line, 'u', 'USD' FROM wallet_runs, generate_series(1, 4) AS line`)
	counted, err := telemetry.CountRuns(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, int64(1), counted.Runs)
	require.Equal(t, int64(4), counted.Waiting)
	require.GreaterOrEqual(t, counted.IdleFor, 600.0)
	require.Less(t, counted.IdleFor, 3000.0)
}
