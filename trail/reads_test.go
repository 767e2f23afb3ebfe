package trail_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestReadsCountWhatTheFoldCounts has a wallet whose last entry is ahead of Postgres's clock,
// which was put back: the fold goes by the later of the two.
func TestReadsCountWhatTheFoldCounts(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 2)
	fillHolds(t, db, victim) // hold-1 of 2 expires in 2 hours
	_, err := db.Exec(t.Context(), `UPDATE wallet_assets SET updated_at = updated_at + interval '3 hours' WHERE user_id = 'u0001'`)
	require.NoError(t, err)
	read := trail.New(db)
	asset, err := read.Asset(t.Context(), "u0001", "USD")
	require.NoError(t, err)
	require.Equal(t, "2.00", asset.Due.String())
	assets, err := read.Assets(t.Context(), "u0001")
	require.NoError(t, err)
	require.Equal(t, []wallet.Asset{asset}, assets)
	statement, err := read.Statement(t.Context(), "u0001", "USD", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, "2.00", statement.Closing.Due.String())
	holds, err := read.Holds(t.Context(), trail.HoldFilter{UserID: "u0001", State: wallet.HoldExpired})
	require.NoError(t, err)
	require.Len(t, holds, 1)
	require.Equal(t, "hold-1", holds[0].ID)
	holds, err = read.Holds(t.Context(), trail.HoldFilter{UserID: "u0001", State: wallet.HoldOpen})
	require.NoError(t, err)
	require.Len(t, holds, 1)
	require.Equal(t, "hold-2", holds[0].ID)
}

// counted counts the queries of a pool.
type counted struct{ queries []string }

func (c *counted) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	c.queries = append(c.queries, q.SQL)
	return ctx
}

func (*counted) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestABalanceAndWhatIsDueAreOfOneSnapshot: between two, a hold's expiry would be counted
// twice, or not at all.
func TestABalanceAndWhatIsDueAreOfOneSnapshot(t *testing.T) {
	url := testenv.DatabaseURL(t)
	fill(t, testenv.Pool(t, url), 2)
	fillHolds(t, testenv.Pool(t, url), victim)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	queries := &counted{}
	config.ConnConfig.Tracer = queries
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(t.Context(), `UPDATE wallet_holds SET expires_at = now() WHERE hold_id = 'hold-1'`)
	require.NoError(t, err)
	queries.queries = nil
	asset, err := trail.New(db).Asset(t.Context(), "u0001", "USD")
	require.NoError(t, err)
	require.Equal(t, "2.00", asset.Due.String())
	require.Len(t, queries.queries, 1)
	assets, err := trail.New(db).Assets(t.Context(), "u0001")
	require.NoError(t, err)
	require.Equal(t, []wallet.Asset{asset}, assets)
	require.Len(t, queries.queries, 2)
}

var rowsInLog = regexp.MustCompile(`actual rows=(\d+) loops=|Rows Removed by Filter: (\d+)`)

// TestReadsOfOpenHoldsReadNoOthers has a wallet with many closed holds, and one with many
// open ones that are not due.
func TestReadsOfOpenHoldsReadNoOthers(t *testing.T) {
	config, err := pgxpool.ParseConfig(testenv.DatabaseURL(t))
	require.NoError(t, err)
	var plans []string
	config.MaxConns = 1
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans = append(plans, n.Message) }
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	fill(t, db, 3)
	for user, states := range map[string]map[string]int{"u0001": {"captured": 5000, "open": 20}, "u0002": {"open": 1000}} {
		for state, n := range states {
			_, err = db.Exec(t.Context(), `INSERT INTO wallet_holds (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position)
				SELECT $1, 'USD', $2 || '-' || n, $2, 1, CASE $2 WHEN 'open' THEN 0 ELSE 1 END, 0, now() + n * interval '1 hour', now(), now(), n
				FROM generate_series(1, $3) AS n`, user, state, n)
			require.NoError(t, err)
		}
	}
	_, err = db.Exec(t.Context(), `UPDATE wallet_assets SET next_expiry = now() + interval '1 hour'`)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
		SET auto_explain.log_timing = off; SET auto_explain.log_level = notice`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	read := trail.New(db)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			_, err = db.Exec(t.Context(), `ANALYZE`)
			require.NoError(t, err)
		}
		for range 7 { // from the sixth time on with a plan for any parameters
			plans = nil
			holds, err := read.Holds(t.Context(), trail.HoldFilter{UserID: "u0001", State: wallet.HoldOpen})
			require.NoError(t, err)
			require.Len(t, holds, 20)
			holds, err = read.Holds(t.Context(), trail.HoldFilter{UserID: "u0001", Currency: "USD", State: wallet.HoldOpen, AfterCurrency: "USD", AfterID: "open-3"})
			require.NoError(t, err)
			require.NotEmpty(t, holds)
			asset, err := read.Asset(t.Context(), "u0002", "USD")
			require.NoError(t, err)
			require.Zero(t, asset.Due)
			for _, plan := range plans {
				for _, match := range rowsInLog.FindAllStringSubmatch(plan, -1) {
					n, err := strconv.Atoi(match[1] + match[2])
					require.NoError(t, err)
					require.LessOrEqual(t, n, 200, plan) // all currencies, at most
				}
			}
			require.NotEmpty(t, plans)
		}
	}
}

func TestAnEventHasAllThatItsRowHas(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 2)
	fillHolds(t, db, victim)
	events, err := trail.New(db).Events(t.Context(), trail.EventFilter{UserID: "u0001", Currency: "USD"})
	require.NoError(t, err)
	encoded, err := json.Marshal(events)
	require.NoError(t, err)
	for _, want := range []string{`"expires_in":"2h"`, `"expires_at":"2999-01-02T03:04:05.000006Z"`, `"partial":true`} {
		require.Contains(t, string(encoded), want)
	}
	entries, err := trail.New(db).Commands(t.Context(), trail.CommandFilter{UserID: "u0001", Currency: "USD", Status: wallet.StatusApplied})
	require.NoError(t, err)
	for i, e := range entries {
		require.Equal(t, trail.EventOf(e), events[i])
	}
}
