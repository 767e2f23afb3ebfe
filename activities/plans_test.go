package activities_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// explain makes Postgres log how many rows each part of each statement reads.
const explain = `LOAD 'auto_explain';
	SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off;
	SET auto_explain.log_nested_statements = on; SET auto_explain.log_level = notice`

var rowsOfNode = regexp.MustCompile(`actual rows=(\d+) loops=|Rows Removed by Filter: (\d+)`)

// TestNoStepReadsAWholeJournal keeps the plans that were made while the tables were nearly
// empty, as in a worker just started on a new database, and checks their cost once the wallet
// has become large.
func TestNoStepReadsAWholeJournal(t *testing.T) {
	// Which index looks cheaper depends on the sizes of the tables when a plan is made.
	for _, size := range []int{1, 10, 30, 60, 100, 200, 500} {
		for _, analyzed := range []bool{false, true} {
			t.Run(fmt.Sprint(size, analyzed), func(t *testing.T) { noStepReadsAWholeJournal(t, size, analyzed) })
		}
	}
}

func noStepReadsAWholeJournal(t *testing.T, size int, analyzed bool) {
	url := testenv.DatabaseURL(t)
	for _, table := range []string{"wallet_commands", "wallet_asset_events", "wallet_assets"} {
		_, err := testenv.Pool(t, url).Exec(t.Context(), `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
		require.NoError(t, err)
	}
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	var plans []string
	config.MaxConns = 1
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans = append(plans, n.Message) }
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, explain, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	s := steps{activities.New(db), t, db, wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	s.ensure()
	batch := func(name string, n int) []wallet.Received {
		commands := make([]wallet.Received, n)
		for i := range commands {
			commands[i] = add(fmt.Sprint(name, "-", i), "1")
		}
		return commands
	}
	for i := range 8 {
		s.apply(batch(fmt.Sprint("small-", i), size)...)
		s.record()
	}
	if analyzed { // from now on Postgres considers the tables small
		_, err = db.Exec(t.Context(), `ANALYZE`)
		require.NoError(t, err)
		for i := range 5 {
			s.apply(batch(fmt.Sprint("analyzed-", i), 10)...)
			s.record()
		}
	}
	for i := range 30 {
		_, err := s.EnsureWalletAsset(t.Context(), wallet.AssetRef{UserID: fmt.Sprint("a", i), Currency: "USD"})
		require.NoError(t, err)
	}
	for i := range 10 {
		s.apply(batch(fmt.Sprint("large-", i), 500)...)
		s.record()
	}
	plans = nil
	s.ensure()
	s.apply(append(batch("last", 3), add("small-3-0", "1"))...) // the last command is a retry
	s.record()
	read := 0
	for _, plan := range plans {
		for _, match := range rowsOfNode.FindAllStringSubmatch(plan, -1) {
			n, err := strconv.Atoi(match[1] + match[2])
			require.NoError(t, err)
			require.LessOrEqual(t, n, 10, plan)
			read += n
		}
	}
	require.Greater(t, read, 20, plans)
}
