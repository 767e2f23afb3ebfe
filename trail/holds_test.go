package trail_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestVerifyTellsALostHoldFromAChangedOne changes rows of holds, one at a time.
func TestVerifyTellsALostHoldFromAChangedOne(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	fillHolds(t, db, victim)
	openToTampering(t, db)
	for change, want := range map[string]struct {
		problem string
		missing bool
	}{
		`DELETE FROM wallet_holds WHERE hold_id = 'hold-1'`:                                            {`hold "hold-1" has no row: run "wallet repair"`, true},
		`DELETE FROM wallet_holds WHERE hold_id = 'hold-3'`:                                            {`hold "hold-3" has no row: run "wallet repair"`, true},
		`DELETE FROM wallet_holds`:                                                                     {`has no row: run "wallet repair"`, true},
		`UPDATE wallet_holds SET position = position - 1 WHERE hold_id = 'hold-3'`:                     {`hold "hold-3" is not what the journal makes of it`, false},
		`UPDATE wallet_holds SET position = position + 1 WHERE hold_id = 'hold-3'`:                     {`hold "hold-3" is not what the journal makes of it`, false},
		`UPDATE wallet_holds SET position = 1 WHERE hold_id = 'hold-2'`:                                {`hold "hold-2" is not what the journal makes of it`, false},
		`UPDATE wallet_holds SET position = 99 WHERE hold_id = 'hold-1'`:                               {`hold "hold-1" is not what the journal makes of it`, false},
		`UPDATE wallet_holds SET state = 'captured', captured = 3 WHERE hold_id = 'hold-2'`:            {`hold "hold-2" is not what the journal makes of it`, false},
		`INSERT INTO wallet_holds SELECT * FROM wallet_holds WHERE hold_id = 'hold-1'`:                 {`hold "hold-1": it has two rows`, false},
		`INSERT INTO wallet_holds SELECT * FROM wallet_holds WHERE hold_id = 'hold-3'`:                 {`hold "hold-3": it has two rows`, false},
		`UPDATE wallet_holds SET hold_id = 'hold-9' WHERE hold_id = 'hold-3'`:                          {`hold "hold-9" is not`, false},
		`UPDATE wallet_holds SET position = NULL WHERE hold_id = 'hold-3'`:                             {`hold "hold-3": position is NULL`, false},
		`UPDATE wallet_holds SET captured = 1, position = position - 1 WHERE hold_id = 'hold-2'`:       {`hold "hold-2" is not what the journal makes of it`, false},
		`INSERT INTO wallet_holds SELECT * FROM kept_holds; UPDATE wallet_holds SET user_id = 'u0001'`: {`it has two rows`, false},
		`UPDATE wallet_holds SET captured = 0, released = 0, position = 10 WHERE hold_id = 'hold-2'`:   {`hold "hold-2" is not what the journal makes of it`, false},
		`INSERT INTO wallet_holds SELECT user_id, currency, 'more', state, amount, captured, released, expires_at, placed_at, updated_at, 99 FROM wallet_holds WHERE hold_id = 'hold-1'`: {`hold "more" is not`, false},
	} {
		_, err := db.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS kept_holds AS TABLE wallet_holds`)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), change, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, change)
		findings := verify(t, db, trail.VerifyOptions{}).Findings
		require.Len(t, findings, 1, change)
		require.Contains(t, findings[0].Problem, want.problem, change)
		require.Equal(t, want.missing, findings[0].MissingHold, change)
		if want.missing {
			require.Empty(t, verify(t, db, trail.VerifyOptions{WithoutMissing: true}).Findings, change)
		}
		_, err = db.Exec(t.Context(), `TRUNCATE wallet_holds; INSERT INTO wallet_holds TABLE kept_holds`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings)
	}
}

// TestVerifyKeepsNoHoldsThatItHasRead looks at the heap while it reads many. A look that comes
// too late to see them sees too little, never too much.
func TestVerifyKeepsNoHoldsThatItHasRead(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 100)
	_, err := db.Exec(t.Context(), `INSERT INTO wallet_holds (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position)
		SELECT 'u' || lpad((n % 100)::text, 4, '0'), 'USD', 'hold-' || n, 'captured', 1, 1, 0, NULL, now(), now(), n
		FROM generate_series(100, 300000) AS n`)
	require.NoError(t, err)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most := heap(), int64(0)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				most = max(most, heap()-before)
			}
		}
	})
	report := verify(t, db, trail.VerifyOptions{Parallel: 1})
	close(done)
	group.Wait()
	require.Len(t, report.Findings, 100)
	require.Less(t, most, int64(20<<20))
}
