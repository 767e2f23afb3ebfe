package activities_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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
	db, plans := explained(t, url)
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
	if analyzed { // Postgres takes the tables for small from now on
		_, err := db.Exec(t.Context(), `ANALYZE`)
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
		s.apply(batch(fmt.Sprint("large-", i), 480)...)
		var reversals []wallet.Received
		for n := range 20 { // of one command, and of many
			reversals = append(reversals, reverse(fmt.Sprint("r-", i, "-", n), []string{"small-0-0", fmt.Sprint("large-", i, "-", n)}[n%2], "0.01"))
		}
		s.apply(reversals...)
		s.record()
	}
	*plans = nil
	s.ensure()
	s.apply(append(batch("last", 3), add("small-3-0", "1"), reverse("last", "small-0-0", "0.01"))...) // one is a retry
	s.record()
	require.Greater(t, requireFewRows(t, *plans, 10), 20, *plans)
	require.Equal(t, 3, requireBounds(t, *plans), "of entries, of reversals, and of expiries by ensure")
}

// TestALoneStepIsPlannedOnce asks the session for the statements that it plans each time anew.
func TestALoneStepIsPlannedOnce(t *testing.T) {
	db, _ := explained(t, testenv.DatabaseURL(t))
	s := steps{activities.New(db), t, db, wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	for i := range 10 {
		s.apply(add(fmt.Sprint("c-", i), "1"))
		s.record()
	}
	found, err := db.Query(t.Context(), `SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans >= 10`)
	require.NoError(t, err)
	var statement string
	var once, anew, statements int64
	_, err = pgx.ForEachRow(found, []any{&statement, &once, &anew}, func() error {
		statements++
		require.LessOrEqual(t, anew, int64(5), statement) // after which Postgres may keep a plan
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, statements, int64(6), "the settings, lock, look-up, time, journal, balance, events")
}

// explained is a pool of one connection that notes the plan of each statement.
func explained(t *testing.T, url string) (*pgxpool.Pool, *[]string) {
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	plans := &[]string{}
	config.MaxConns = 1
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { *plans = append(*plans, n.Message) }
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, explain, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db, plans
}

// requireBounds wants each look-up of an id to have two bounds. With one, Postgres compares the rest of
// the index page with it, which no number of rows shows. It returns how many look-ups there are.
func requireBounds(t *testing.T, plans []string) (lookUps int) {
	for _, plan := range plans {
		for line := range strings.Lines(plan) {
			if !strings.Contains(line, "Index Cond: ") || !onIDs.MatchString(line) {
				continue
			}
			require.Contains(t, line, ">=", plan)
			require.Contains(t, line, "<=", plan)
			lookUps++
		}
	}
	return lookUps
}

var onIDs = regexp.MustCompile(`\b(command_id|original_id)\)?(::text)? [<>]=`)

// requireFewRows wants each part of each plan to have read no more than so many rows. It
// returns how many all have read.
func requireFewRows(t *testing.T, plans []string, most int) (read int) {
	for _, plan := range plans {
		for _, match := range rowsOfNode.FindAllStringSubmatch(plan, -1) {
			n, err := strconv.Atoi(match[1] + match[2])
			require.NoError(t, err)
			require.LessOrEqual(t, n, most, plan)
			read += n
		}
	}
	return read
}

// manyHolds inserts holds of 1 in a state, of which those that are open are not due.
func manyHolds(userID, state string, n int) string {
	return fmt.Sprintf(`INSERT INTO wallet_holds (user_id, currency, hold_id, state, amount, captured, released, expires_at, placed_at, updated_at, position)
		SELECT '%[1]s', 'USD', '%[2]s-' || n, '%[2]s', 1, 0, CASE '%[2]s' WHEN 'open' THEN 0 ELSE 1 END,
			CASE '%[2]s' WHEN 'open' THEN clock_timestamp() + n * interval '1 hour' ELSE timestamptz '2026-01-01T00:00:00Z' END,
			timestamptz '2026-01-01T00:00:00Z', timestamptz '2026-01-01T00:00:00Z', n + 1
		FROM generate_series(1, %[3]d) AS n`, userID, state, n)
}

// TestNoStepReadsAllHolds has a wallet with many holds, most of them closed, and plans made
// while there was none.
func TestNoStepReadsAllHolds(t *testing.T) {
	for _, analyzed := range []bool{false, true} {
		t.Run(fmt.Sprint(analyzed), func(t *testing.T) {
			db, plans := explained(t, testenv.DatabaseURL(t))
			s := steps{activities.New(db), t, db, wallet.AssetRef{UserID: "u1", Currency: "USD"}}
			s.apply(add("funds", "10000"))
			few := func(name string) {
				s.apply(hold(name, "1", "1h"), hold(name+"-other", "1", ""))
				s.apply(capture(name+"-c", name, "", false))
				s.apply(release(name+"-r", name+"-other"))
				s.record()
			}
			for i := range 6 { // Postgres keeps a plan from the sixth time on
				few(fmt.Sprint("before-", i))
			}
			s.exec(manyHolds("u1", "captured", 5000))
			s.exec(manyHolds("u1", "open", 500))
			s.exec(`UPDATE wallet_assets SET hold_amount = 500, open_holds = 500, next_expiry = (SELECT min(expires_at) FROM wallet_holds WHERE state = 'open')`)
			if analyzed {
				_, err := db.Exec(t.Context(), `ANALYZE`, pgx.QueryExecModeSimpleProtocol)
				require.NoError(t, err)
			}
			*plans = nil
			few("after")
			require.Greater(t, requireFewRows(t, *plans, 10), 20, *plans)
			s.exec(`UPDATE wallet_holds SET expires_at = clock_timestamp() WHERE hold_id = 'open-7'`)
			s.exec(`UPDATE wallet_assets SET next_expiry = clock_timestamp()`)
			*plans = nil
			s.apply() // it expires
			requireFewRows(t, *plans, 10)
			require.Equal(t, 1, requireBounds(t, *plans), *plans)
			require.Equal(t, 499, s.openHolds())
		})
	}
}

// TestNoLaneReadsAllWallets has plans that were made while there were few wallets, and keeps them.
func TestNoLaneReadsAllWallets(t *testing.T) {
	for _, size := range []int{1, 10, 100} {
		for _, analyzed := range []bool{false, true} {
			t.Run(fmt.Sprint(size, analyzed), func(t *testing.T) {
				url := testenv.DatabaseURL(t)
				for _, table := range []string{"wallet_commands", "wallet_asset_events", "wallet_assets", "wallets"} {
					_, err := testenv.Pool(t, url).Exec(t.Context(), `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
					require.NoError(t, err)
				}
				db, plans := explained(t, url)
				s := steps{activities.New(db), t, db, usd("u1")}
				lane := func(name string, wallets, from int) {
					var items []laneItem
					for i := range wallets {
						items = append(items, inUSD(fmt.Sprint("w", from+i), add(name, "1")), inUSD(fmt.Sprint("w", from+i), hold(name+"-h", "0.5", "1h")))
					}
					for _, r := range s.lane(items...) {
						require.NotNil(t, r)
					}
					var transfers []wallet.Transaction
					for i := range wallets {
						transfers = append(transfers, transfer(fmt.Sprint(name, from+i), fmt.Sprint("w", from+i), fmt.Sprint("w", from+i, "-other"), "0.1"))
					}
					for _, all := range [][]wallet.Transaction{transfers, transfers} { // the second are retries
						for _, r := range s.laneTransactions(all...) {
							require.NotNil(t, r)
						}
					}
				}
				for i := range 8 {
					lane(fmt.Sprint("before-", i), size, 0)
					lane(fmt.Sprint("new-", i), 1, 1000+i)
				}
				if analyzed {
					_, err := db.Exec(t.Context(), `ANALYZE`, pgx.QueryExecModeSimpleProtocol)
					require.NoError(t, err)
				}
				for i := range 6 {
					lane("many", 500, 2000+500*i)
				}
				*plans = nil
				lane("after", 3, 2000)
				lane("after", 1, 10_000)
				require.Greater(t, requireFewRows(t, *plans, 10), 20, *plans)
			})
		}
	}
}

// TestNoStepOfARunReadsAllLines has plans that were made while there were few runs, and keeps them.
func TestNoStepOfARunReadsAllLines(t *testing.T) {
	for _, analyzed := range []bool{false, true} {
		t.Run(fmt.Sprint(analyzed), func(t *testing.T) {
			url := testenv.DatabaseURL(t)
			db, plans := explained(t, url)
			s := steps{activities.New(db), t, testenv.Pool(t, url), usd("u1")}
			s.of("broken").apply(create("open"))
			s.exec(`UPDATE wallet_assets SET format = 99 WHERE user_id = 'broken'`)
			few := func(id string) {
				s.stage(id, inRun("u1", addOne), inRun("u1", `{"type":"subtract","amount":"1000"}`), inRun("broken", addOne))
				require.EqualValues(t, 1, s.run(id).Waiting)
			}
			for i := range 8 {
				few(fmt.Sprint("before-", i))
			}
			if analyzed {
				_, err := db.Exec(t.Context(), `ANALYZE`, pgx.QueryExecModeSimpleProtocol)
				require.NoError(t, err)
			}
			s.exec(`INSERT INTO wallet_runs (run_id) VALUES ('large')`)
			s.exec(`INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) SELECT 'large', n, 'u' || n % 7, 'USD', '{}' FROM generate_series(1, 50000) AS n`)
			s.exec(`INSERT INTO wallet_run_waiting (run_id, part, line, user_id, currency) SELECT run_id, part, line, user_id, currency FROM wallet_run_lines WHERE run_id = 'large'`)
			*plans = nil
			few("after")
			const currencies = 200
			require.Greater(t, requireFewRows(t, *plans, currencies), 20, *plans)
		})
	}
}

// TestTryingAgainReadsFewOfTheWaitingLines has so many lines of one wallet that a step which read
// them all for each batch would not get through them. Postgres has no statistics of them.
func TestTryingAgainReadsFewOfTheWaitingLines(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db, plans := explained(t, url)
	s := steps{activities.New(db), t, testenv.Pool(t, url), usd("u1")}
	for _, table := range []string{"wallet_run_lines", "wallet_run_waiting"} {
		s.exec(`ALTER TABLE ` + table + ` SET (autovacuum_enabled = false)`)
	}
	s.exec(`INSERT INTO wallet_runs (run_id) VALUES ('r')`)
	s.exec(`INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command)
		SELECT 'r', n, 'u1', 'USD', json_build_object('type', 'add', 'amount', '1', 'id', 'c-' || n) FROM generate_series(1, 100000) AS n`)
	part := s.begin("r").Parts[0]
	s.putAside("r")
	s.exec(`CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE wallet_runs SET state = 'paused'; RETURN NULL; END $$`)
	s.exec(`CREATE TRIGGER pause AFTER UPDATE ON wallet_run_parts FOR EACH ROW WHEN (NEW.saves = 3) EXECUTE FUNCTION pause()`)
	*plans = nil
	out := s.part("r", part)
	require.Equal(t, []int64{1500, 98_500}, []int64{out.Status.Applied, out.Status.Waiting})
	var ofBatches []string
	for _, plan := range *plans {
		if !strings.Contains(plan, "Query Text: SELECT r.run_id, r.state") { // once in a step, it counts those that wait
			ofBatches = append(ofBatches, plan)
		}
	}
	require.Greater(t, requireFewRows(t, ofBatches, wallet.MaxBatch+1), 1500, ofBatches)
	for i, entry := range s.of("u1").journal()[1:] {
		require.Equal(t, fmt.Sprint("c-", i+1), entry.CommandID, "in the order of the lines")
	}
	s.verified()
}

// TestAWalletWithoutGrantsReadsNone beside another one that has some.
func TestAWalletWithoutGrantsReadsNone(t *testing.T) {
	db, plans := explained(t, testenv.DatabaseURL(t))
	s := steps{activities.New(db), t, db, usd("u1")}
	s.of("other").do(grant("g", "5", "1d"))
	for i := range 8 {
		*plans = nil
		id := func(name string) string { return fmt.Sprint(name, "-", i) }
		s.do(wallet.Command{ID: id("a"), Type: wallet.TypeAdd, Amount: wallet.MustAmount("5")}, take(id("s"), "1"), wallet.Command{ID: id("h"), Type: wallet.TypeHold, Amount: wallet.MustAmount("1")})
		s.do(wallet.Command{ID: id("c"), Type: wallet.TypeCapture, HoldID: id("h")}, wallet.Command{ID: id("r"), Type: wallet.TypeReverse, OriginalID: id("s")})
		s.ensure()
		s.record()
		for _, plan := range *plans {
			for line := range strings.Lines(plan) {
				if strings.Contains(line, " on wallet_grants") {
					require.Contains(t, line, "never executed", plan)
				}
			}
		}
	}
}

// manyGrants inserts grants of 1 in a state, which expire after those of commands do.
func manyGrants(userID, state string, from, n int) string {
	return fmt.Sprintf(`INSERT INTO wallet_grants (user_id, currency, grant_number, command_id, state, priority, amount, unused, held, used, expired, expires_at, added_at, updated_at, position)
		SELECT '%[1]s', 'USD', n, '%[2]s-' || n, '%[2]s', 50, 1, CASE '%[2]s' WHEN 'open' THEN 1 ELSE 0 END, 0, CASE '%[2]s' WHEN 'open' THEN 0 ELSE 1 END, 0,
			clock_timestamp() + (100 + n) * interval '1 hour', timestamptz '2026-01-01T00:00:00Z', timestamptz '2026-01-01T00:00:00Z', n
		FROM generate_series(%[3]d, %[3]d + %[4]d - 1) AS n`, userID, state, from, n)
}

// TestAThousandGrantsCostAsMuchAsTwenty: a command reads those that it uses. Plans are made while there
// are few.
func TestAThousandGrantsCostAsMuchAsTwenty(t *testing.T) {
	for _, analyzed := range []bool{false, true} {
		t.Run(fmt.Sprint(analyzed), func(t *testing.T) {
			db, plans := explained(t, testenv.DatabaseURL(t))
			s := steps{activities.New(db), t, db, usd("u1")}
			s.apply(add("funds", "10000"))
			s.exec(`UPDATE wallet_assets SET position = 1000000`) // the grants have positions before
			cost := func(name string) int {
				*plans = nil
				s.do(grant(name, "2", "1h"), take(name+"-s", "1.50"), wallet.Command{ID: name + "-h", Type: wallet.TypeHold, Amount: wallet.MustAmount("1")})
				s.do(wallet.Command{ID: name + "-c", Type: wallet.TypeCapture, HoldID: name + "-h"}, wallet.Command{ID: name + "-r", Type: wallet.TypeReverse, OriginalID: name + "-s", Amount: wallet.MustAmount("0.50")})
				s.do(take(name+"-rest", "0.50"))
				s.record()
				return requireFewRows(t, *plans, 20)
			}
			have := func(open int) {
				s.exec(manyGrants("u1", "open", 100_000+open, open))
				s.exec(`UPDATE wallet_assets SET (open_grants, granted_amount, next_grant_expiry) =
					(SELECT count(*), sum(unused), min(expires_at) FROM wallet_grants WHERE user_id = 'u1' AND currency = 'USD' AND state = 'open') WHERE user_id = 'u1'`)
			}
			have(20)
			for i := range 8 { // Postgres keeps a plan from the sixth time on
				cost(fmt.Sprint("before-", i))
			}
			s.exec(manyGrants("u1", "used", 200_000, 5000))
			if analyzed {
				_, err := db.Exec(t.Context(), `ANALYZE`, pgx.QueryExecModeSimpleProtocol)
				require.NoError(t, err)
			}
			twenty := cost("twenty")
			have(970)
			require.InDelta(t, twenty, cost("thousand"), 10) // of about 350: one more of them is used up
		})
	}
}
