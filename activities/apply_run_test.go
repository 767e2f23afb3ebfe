package activities_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// stagedLine is a line of a run as another module stages it.
type stagedLine struct{ user, currency, command string }

func inRun(user, command string) stagedLine { return stagedLine{user, "USD", command} }

const addOne = `{"type":"add","amount":"1"}`

// stage stages a run, its lines numbered from 1.
func (s steps) stage(id string, lines ...stagedLine) {
	tx, err := s.db.Begin(s.t.Context())
	require.NoError(s.t, err)
	_, err = tx.Exec(s.t.Context(), `INSERT INTO wallet_runs (run_id) VALUES ($1)`, id)
	require.NoError(s.t, err)
	_, err = tx.CopyFrom(s.t.Context(), pgx.Identifier{"wallet_run_lines"}, []string{"run_id", "line", "user_id", "currency", "command"},
		pgx.CopyFromSlice(len(lines), func(i int) ([]any, error) {
			return []any{id, i + 1, lines[i].user, lines[i].currency, lines[i].command}, nil
		}))
	require.NoError(s.t, err)
	require.NoError(s.t, tx.Commit(s.t.Context()))
}

func (s steps) begin(id string) wallet.BeginRunOutput {
	out, err := s.BeginRun(s.t.Context(), wallet.RunInput{RunID: id})
	require.NoError(s.t, err)
	return out
}

// putAside has all lines of a run that has begun wait, as if their wallets were locked when it came
// to them.
func (s steps) putAside(id string) {
	s.exec(`INSERT INTO wallet_run_waiting (run_id, part, line, user_id, currency) SELECT run_id, part, line, user_id, currency FROM wallet_run_lines WHERE run_id = '` + id + `'`)
	s.exec(`UPDATE wallet_run_parts SET done_line = (SELECT max(line) FROM wallet_run_lines WHERE run_id = '` + id + `') WHERE run_id = '` + id + `'`)
}

// part runs the step for a part until it is done, or all that is left of it waits.
func (s steps) part(id string, part int) wallet.ApplyRunLinesOutput {
	for {
		out, err := s.tryPart(id, part)
		require.NoError(s.t, err)
		if out.Done || out.Blocked || out.Status.State != wallet.RunRunning {
			return out
		}
	}
}

func (s steps) tryPart(id string, part int) (wallet.ApplyRunLinesOutput, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.ApplyRunLines(ctx, wallet.ApplyRunLinesInput{RunID: id, Part: part})
}

// run begins a run, or goes on with it, and works at each part.
func (s steps) run(id string) (status wallet.RunStatus) {
	for _, part := range s.begin(id).Parts {
		status = s.part(id, part).Status
	}
	return status
}

// failures lists "line status user command_id reason".
func (s steps) failures(id string) []string {
	found, err := s.db.Query(s.t.Context(), `SELECT format('%s %s %s %s %s', line, status, user_id, command_id, reason) FROM wallet_run_failures WHERE run_id = $1 ORDER BY line`, id)
	require.NoError(s.t, err)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(s.t, err)
	return list
}

func counted(s wallet.RunStatus) [6]int64 {
	return [6]int64{s.Lines, s.Applied, s.Refused, s.Invalid, s.Replayed, s.Waiting}
}

func TestARunAppliesEachLineByItself(t *testing.T) {
	s := newSteps(t)
	s.of("u1").apply(add("earlier", "2"))
	s.stage("march",
		inRun("u1", `{"type":"add","amount":"10"}`),
		inRun("u1", `{"type":"subtract","amount":"11.5","id":"own"}`),
		inRun("u2", `{"type":"subtract","amount":"1"}`),               // refused: it has nothing
		inRun("u1", `{"type":"subtract","amount":"11.5","id":"own"}`), // the same again
		inRun("u1", `{"type":"subtract","amount":"0.1","id":"own"}`),  // another under its id
		inRun("u1", `{"type":"add","amount":"2","id":"earlier"}`),     // sent before the run
		inRun("u1", `{"type":"hold","amount":"0.5","expires_in":"1h"}`),
		inRun("u1", `{"type":"capture","hold_id":"_run/march/7"}`),
		inRun("u1", `{"type":"add","amount":5}`),
		inRun("u1", `{"type":"add\u0000","amount":"1","id":"\u0000"}`),
		stagedLine{"u1", "NOPE", addOne},
		stagedLine{"", "USD", addOne},
		inRun("u2", `{"type":"add","amount":"0.001"}`),
		inRun("u2", addOne),
	)
	require.Equal(t, [6]int64{14, 7, 3, 4, 2, 0}, counted(s.run("march")))
	want := []string{"3 refused u2 _run/march/3 insufficient_funds", "5 refused u1 own id_conflict", "9 invalid u1  malformed",
		"10 invalid u1 \ufffd malformed", "11 invalid u1 _run/march/11 unknown_currency", "12 invalid   malformed", "13 refused u2 _run/march/13 scale_exceeded"}
	require.Equal(t, want, s.failures("march"))
	require.Zero(t, s.of("u1").unrecorded()+s.of("u2").unrecorded())
	require.Equal(t, "0.00", s.balance("u1").Total.String())
	done, err := s.SetRunState(t.Context(), wallet.SetRunStateInput{RunID: "march", State: wallet.RunDone})
	require.NoError(t, err)
	require.Equal(t, wallet.RunDone, done.State)
	still, err := s.SetRunState(t.Context(), wallet.SetRunStateInput{RunID: "march", State: wallet.RunCancelled})
	require.NoError(t, err)
	require.Equal(t, done, still)
	require.Equal(t, [6]int64{14, 7, 3, 4, 2, 0}, counted(s.run("march")), "once more changes nothing")
	require.Equal(t, want, s.failures("march"))
	s.verified()
}

// TestARunGoesOnAfterACrash fails each statement that saves how far a run has come, after its lines
// were applied, and lets the run go on.
func TestARunGoesOnAfterACrash(t *testing.T) {
	s := newSteps(t)
	var lines []stagedLine
	for i := range 1200 {
		lines = append(lines, inRun(fmt.Sprint("u", i%7), addOne), inRun(fmt.Sprint("u", i%7), `{"type":"subtract","amount":"100000"}`))
	}
	s.stage("crashes", lines...)
	s.begin("crashes")
	for _, table := range []string{"wallet_asset_events", "wallet_run_parts", "wallet_run_failures"} {
		s.exec(`CREATE FUNCTION refuse_` + table + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'crashed' USING ERRCODE = '57P01'; END $$`)
		s.exec(`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION refuse_` + table + `()`)
		for part := range wallet.RunParts {
			if s.count(fmt.Sprintf(`SELECT count(*) FROM wallet_run_parts WHERE part = %d`, part)) == 1 {
				_, err := s.tryPart("crashes", part)
				require.ErrorContains(t, err, "crashed")
			}
		}
		s.exec(`DROP TRIGGER refuse ON ` + table)
	}
	status := s.run("crashes")
	require.Equal(t, []int64{2400, 1200, 1200, 0}, []int64{status.Lines, status.Applied, status.Refused, status.Invalid})
	require.Positive(t, status.Replayed)
	require.Len(t, s.failures("crashes"), 1200)
	total := wallet.Amount{}
	for i := range 7 {
		user := fmt.Sprint("u", i)
		total = total.Add(s.balance(user).Total)
		require.Zero(t, s.of(user).unrecorded())
	}
	require.Equal(t, "1200.00", total.String())
	s.verified()
}

// TestARunWaitsForNoWallet locks one wallet and breaks another. Their lines come last, in order.
func TestARunWaitsForNoWallet(t *testing.T) {
	s := newSteps(t)
	for _, user := range []string{"locked", "broken"} {
		s.of(user).apply(create("open"))
		s.of(user).record()
	}
	var lines []stagedLine
	for i := range 700 {
		lines = append(lines, inRun("locked", fmt.Sprintf(`{"type":"add","amount":"1","id":"l-%d"}`, i)), inRun("broken", fmt.Sprintf(`{"type":"add","amount":"1","id":"b-%d"}`, i)),
			inRun(fmt.Sprint("other-", i%50), addOne))
	}
	s.stage("waits", lines...)
	s.exec(`UPDATE wallet_assets SET format = 99 WHERE user_id = 'broken'`)
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM wallet_assets WHERE user_id = 'locked' FOR UPDATE`)
	require.NoError(t, err)
	status := s.run("waits")
	require.Equal(t, [6]int64{2100, 700, 0, 0, 0, 1400}, counted(status))
	for _, user := range []string{"locked", "broken"} {
		require.Len(t, s.of(user).journal(), 1)
	}
	_, err = s.SetRunState(t.Context(), wallet.SetRunStateInput{RunID: "waits", State: wallet.RunDone})
	require.ErrorContains(t, err, "1400 of its 2100 lines are not done")
	var causes string
	for range 2 {
		for _, part := range s.begin("waits").Parts {
			causes += s.part("waits", part).Cause
		}
	}
	require.Contains(t, causes, "format 99")
	require.Contains(t, causes, "another Postgres session holds a lock that this step needs")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, [6]int64{2100, 1400, 0, 0, 0, 700}, counted(s.run("waits")))
	s.exec(`UPDATE wallet_assets SET format = (SELECT max(format) FROM wallet_commands) WHERE user_id = 'broken'`)
	require.Equal(t, [6]int64{2100, 2100, 0, 0, 0, 0}, counted(s.run("waits")))
	for user, prefix := range map[string]string{"locked": "l-", "broken": "b-"} {
		for i, entry := range s.of(user).journal()[1:] {
			require.Equal(t, fmt.Sprint(prefix, i), entry.CommandID, "in the order of the lines")
		}
	}
	s.verified()
}

// TestTwoTriesOfAPartAtOnce is what happens after a worker froze and came back.
func TestTwoTriesOfAPartAtOnce(t *testing.T) {
	s := newSteps(t)
	var lines []stagedLine
	for i := range 5000 {
		lines = append(lines, inRun(fmt.Sprint("u", i%40), addOne), inRun(fmt.Sprint("u", i%40), `{"type":"subtract","amount":"3"}`))
	}
	s.stage("twice", lines...)
	var tries errgroup.Group
	for _, part := range s.begin("twice").Parts {
		for range 3 {
			tries.Go(func() error {
				for {
					out, err := s.tryPart("twice", part)
					if err == nil && out.Done {
						return nil
					}
					if err != nil {
						require.ErrorContains(t, err, "another attempt of this step has saved progress meanwhile")
					}
				}
			})
		}
	}
	require.NoError(t, tries.Wait())
	status := s.run("twice")
	require.Equal(t, []int64{10000, 10000, 0}, []int64{status.Lines, status.Done(), status.Waiting})
	var applied, refused int64
	for i := range 40 {
		for _, entry := range s.of(fmt.Sprint("u", i)).journal()[1:] {
			if entry.Status == wallet.StatusApplied {
				applied++
			} else {
				refused++
			}
		}
	}
	require.Equal(t, []int64{applied, refused}, []int64{status.Applied, status.Refused})
	require.Len(t, s.failures("twice"), int(refused))
	s.verified()
}

// TestPartsOfARunMakeWalletsSideBySide has users with several currencies, whose wallets are in several
// parts.
func TestPartsOfARunMakeWalletsSideBySide(t *testing.T) {
	s := newSteps(t)
	var lines []stagedLine
	for i := range 4000 {
		lines = append(lines, stagedLine{fmt.Sprint("u", i*7919%1000), []string{"USD", "EUR", "JPY", "CHF"}[i/1000], addOne})
	}
	s.stage("new", lines...)
	var parts errgroup.Group
	for _, part := range s.begin("new").Parts {
		parts.Go(func() error {
			for {
				out, err := s.tryPart("new", part)
				if err != nil || out.Done {
					return err
				}
			}
		})
	}
	require.NoError(t, parts.Wait())
	require.Equal(t, [6]int64{4000, 4000, 0, 0, 0, 0}, counted(s.run("new")))
	require.Equal(t, 4000, s.count(`SELECT count(*) FROM wallet_assets WHERE total_amount = 1`))
	require.Zero(t, s.count(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`))
	s.verified()
}

// TestAStoppingWorkerDoesNotTryAllWalletsAgain stops the worker while a step deletes the first lines
// that it has applied of those that waited.
func TestAStoppingWorkerDoesNotTryAllWalletsAgain(t *testing.T) {
	url := testenv.DatabaseURL(t)
	stop := make(chan struct{})
	closeOnce := sync.OnceFunc(func() { close(stop) })
	config := testenv.Pool(t, url).Config()
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Message == "deleted" {
			closeOnce()
		}
	}
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	s := steps{activities.New(db), t, testenv.Pool(t, url), usd("u1")}
	s.exec(`INSERT INTO wallet_runs (run_id) VALUES ('r')`)
	s.exec(`INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command)
		SELECT 'r', row_number() OVER (), 'u' || n, 'USD', '` + addOne + `'
		FROM generate_series(1, 10000) AS n WHERE hashtextextended('u' || n || '/USD', 0) & 15 = 3 LIMIT 200`)
	require.Equal(t, []int{3}, s.begin("r").Parts)
	s.putAside("r")
	s.exec(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'deleted'; RETURN NULL; END $$`)
	s.exec(`CREATE TRIGGER note AFTER DELETE ON wallet_run_waiting FOR EACH STATEMENT EXECUTE FUNCTION note()`)
	suite := testsuite.WorkflowTestSuite{}
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerStopChannel(stop)
	env.RegisterActivity(s.ApplyRunLines)
	try := func() (out wallet.ApplyRunLinesOutput) {
		value, err := env.ExecuteActivity(s.ApplyRunLines, wallet.ApplyRunLinesInput{RunID: "r", Part: 3})
		require.NoError(t, err)
		require.NoError(t, value.Get(&out))
		return out
	}
	out := try()
	require.Equal(t, [6]int64{200, 50, 0, 0, 0, 150}, counted(out.Status))
	require.False(t, out.Blocked)
	require.Equal(t, [6]int64{200, 200, 0, 0, 0, 0}, counted(s.run("r")))
	s.verified()
}

// TestFailuresOfARunAreSafeToPrint has a line of which every field would write to a terminal.
func TestFailuresOfARunAreSafeToPrint(t *testing.T) {
	s := newSteps(t)
	const clear = "\x1b[2J\u009b2J"
	long := strings.Repeat("\x01", 4*wallet.MaxIDCharacters)
	s.stage("r", stagedLine{"u" + clear, "U" + clear, `{"type":"x\u001b[2J","amount":"1","id":"i\u001b[2J"}`}, stagedLine{long, long[:64], addOne})
	require.Equal(t, [6]int64{2, 0, 0, 2, 0, 0}, counted(s.run("r")))
	require.Equal(t, 2, s.count(`SELECT count(*) FROM wallet_run_failures WHERE octet_length(user_id) > 1 AND octet_length(currency) > 1`))
	require.Zero(t, s.count(`SELECT count(*) FROM wallet_run_failures AS f WHERE f::text ~ '[\x01-\x1f\x7f-\x9f]'`))
	for _, tooLong := range []stagedLine{{long + "x", "USD", addOne}, {"u1", long[:65], addOne}} {
		_, err := s.db.Exec(t.Context(), `WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ('long'))
			INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ('long', 1, $1, $2, $3)`, tooLong.user, tooLong.currency, tooLong.command)
		require.ErrorContains(t, err, "23514") // check_violation
	}
}
