package examples

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/trail"
)

// sqlOutside is what the test notes itself. The calendar is Postgres's, and whether a period is paid
// follows from the time of the wallets' entry, so no check believes what the program says of a period.
const sqlOutside = `
	CREATE SCHEMA outside;
	CREATE TABLE outside.subscribers (subscriber text PRIMARY KEY, kind text, can_pay boolean, zone text, started timestamptz, cancelled timestamptz);
	CREATE TABLE outside.periods (subscriber text, n int, begins timestamptz, ends timestamptz, PRIMARY KEY (subscriber, n)); -- in real time
	CREATE TABLE outside.charges (id text PRIMARY KEY, subscriber text, plan text, change boolean, applied boolean, reason text, taken numeric, at timestamptz);
	CREATE INDEX ON outside.charges (subscriber, at);
	CREATE VIEW outside.charged AS SELECT * FROM outside.charges JOIN outside.periods USING (subscriber) WHERE begins <= at AND at < ends;
	-- Whoever was given access, at any time.
	CREATE TABLE outside.access (subscriber text, plan text, until timestamptz, at timestamptz DEFAULT clock_timestamp());
	CREATE INDEX ON outside.access (subscriber);
	CREATE FUNCTION outside.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN INSERT INTO outside.access VALUES (NEW.subscriber, NEW.plan, NEW.until); RETURN NULL; END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE ON subscription.access FOR EACH ROW EXECUTE FUNCTION outside.note()`

const (
	sqlCharges = `
		INSERT INTO outside.charges SELECT transaction_id, user_id, metadata->>'plan', transaction_id LIKE '%/change-%', status = 'applied', reason, total_before - total_after, recorded_at
		FROM wallet_commands WHERE transaction_id LIKE 'sub/%' AND leg = 1`
	// What nobody was charged for when it was due, at the latest: after a refusal, at the last time to try
	// it again; and each period, just before its end. Who cannot begin has ended, and so has who cancels
	// until then.
	sqlNotTriedAgain = `
		SELECT r.subscriber, r.id, max(due) FROM outside.charged AS r JOIN outside.subscribers USING (subscriber) JOIN subscription.plans AS p ON p.id = r.plan
		CROSS JOIN LATERAL (SELECT min(at) AS at FROM outside.charged AS o WHERE (o.subscriber, o.n) = (r.subscriber, r.n) AND NOT applied AND NOT change AND reason <> 'too_late') AS first
		CROSS JOIN LATERAL (SELECT first.at + pause / @speed::float8 AS due FROM unnest(retry_after) AS pause UNION ALL SELECT ends - interval '50 ms' WHERE reason = 'too_late') AS dues
		WHERE NOT applied AND NOT change AND NOT coalesce(cancelled < ends, false) AND due > r.at AND due < ends - interval '1 ms'
			AND NOT EXISTS (SELECT FROM outside.charges AS later WHERE later.subscriber = r.subscriber AND NOT later.change AND later.at > r.at)
			AND EXISTS (SELECT FROM outside.charges AS paid WHERE paid.subscriber = r.subscriber AND paid.applied AND paid.at < r.at)
		GROUP BY r.subscriber, r.id`
	sqlNotCharged = `
		SELECT subscriber, subscriber || ', period ' || n, ends - interval '50 ms' FROM outside.periods JOIN outside.subscribers AS s USING (subscriber)
		WHERE ends <= coalesce(cancelled, CASE WHEN can_pay THEN 'infinity' ELSE (SELECT max(at) FROM outside.charges AS c WHERE c.subscriber = s.subscriber) END)
			AND NOT EXISTS (SELECT FROM outside.charged AS c WHERE (c.subscriber, c.n) = (s.subscriber, periods.n) AND reason IS DISTINCT FROM 'too_late')`
)

// promises are what must hold; each statement returns who breaks it. Microseconds are rounded.
var promises = []struct{ name, sql string }{
	{"nobody pays a period twice", `
		SELECT subscriber || ', period ' || n FROM outside.charged WHERE applied GROUP BY subscriber, n
		HAVING count(*) FILTER (WHERE NOT change) > 1 OR sum(taken) > (SELECT max(price) FROM subscription.plans)
		UNION ALL SELECT id || ' is in no period' FROM outside.charges WHERE applied AND NOT EXISTS (SELECT FROM outside.charged WHERE charged.id = charges.id)`},
	{"nobody has access unpaid for longer than the plan's grace", `
		SELECT a.subscriber || ' until ' || a.until FROM outside.access AS a WHERE NOT EXISTS (
			SELECT FROM outside.charged AS c JOIN subscription.plans AS p ON p.id = c.plan
			WHERE (c.subscriber, c.plan, c.applied) = (a.subscriber, a.plan, true) AND c.at <= a.at AND a.until <= ends + grace / @speed::float8 + interval '10 us')`},
	{"who has paid has access", `
		SELECT c.id FROM outside.charged AS c JOIN subscription.plans AS p ON p.id = c.plan WHERE applied AND NOT EXISTS (
			SELECT FROM outside.access AS a WHERE (a.subscriber, a.plan) = (c.subscriber, c.plan) AND a.at >= c.at AND a.until >= ends + grace / @speed::float8 - interval '10 us')
		UNION ALL SELECT c.subscriber FROM (SELECT DISTINCT ON (subscriber) * FROM outside.charged WHERE applied ORDER BY subscriber, at DESC) AS c
		LEFT JOIN subscription.access AS a USING (subscriber) WHERE a.plan IS DISTINCT FROM c.plan`},
}

// missing is a charge that was never made.
type missing struct {
	Subscriber, What string
	Due              time.Time
}

// collect returns the rows of a statement.
func collect[T any](t *testing.T, db interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, row pgx.RowToFunc[T], sql string, speed int64) []T {
	rows, _ := db.Query(t.Context(), sql, pgx.NamedArgs{"speed": speed}) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, row)
	require.NoError(t, err, sql)
	return all
}

// notePeriods has Postgres make the calendar.
func (y *year) notePeriods(months int) {
	real := func(n string) string {
		return `@began::timestamptz + (extract(epoch FROM (started AT TIME ZONE zone + ` + n + ` * interval '1 month') AT TIME ZONE zone - @epoch::timestamptz) / @speed::numeric)::float8 * interval '1 second'`
	}
	_, err := y.owner.Exec(y.t.Context(), `INSERT INTO outside.periods SELECT subscriber, n, `+real("n")+`, `+real("(n + 1)")+` FROM outside.subscribers, generate_series(0, @months::int) AS n`,
		pgx.NamedArgs{"months": months, "began": y.began, "epoch": y.epoch, "speed": y.speed})
	require.NoError(y.t, err)
}

func (y *year) check() {
	t := y.t
	ended := map[string]int{}
	_, err := y.owner.CopyFrom(t.Context(), pgx.Identifier{"outside", "subscribers"}, []string{"subscriber", "kind", "can_pay", "zone", "started", "cancelled"},
		pgx.CopyFromSlice(len(y.all), func(i int) ([]any, error) {
			s := y.all[i]
			ended[s.kind+": "+s.ended]++
			var cancelled *time.Time
			if s.cancelled.Before(s.closed) {
				cancelled = &s.cancelled
			}
			return []any{s.start.Subscriber, s.kind, s.ended != endedWithoutPlan && strings.Contains("rich cancels upgrades downgrades restarted", s.kind), s.start.TimeZone, s.start.Started, cancelled}, nil
		}))
	require.NoError(t, err)
	y.exec(sqlCharges)
	y.notePeriods(max(*months, int(time.Since(y.began) / *month))) // on a slow machine, who cancels pays longer
	y.exec(`ANALYZE`)

	for _, promise := range promises {
		require.Empty(t, collect(t, y.owner, pgx.RowTo[string], promise.sql, y.speed), promise.name)
	}
	late := y.checkDue("every refusal has its retry or its end", sqlNotTriedAgain) + y.checkDue("who can pay is charged for each period", sqlNotCharged)
	y.checkTables()
	var paid, changes, refused, tooLate, grants int
	require.NoError(t, y.owner.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE applied AND NOT change), count(*) FILTER (WHERE applied AND change), count(*) FILTER (WHERE NOT applied AND reason <> 'too_late'),
		count(*) FILTER (WHERE reason = 'too_late'), (SELECT count(*) FROM outside.access) FROM outside.charges`).Scan(&paid, &changes, &refused, &tooLate, &grants))
	t.Logf("%d subscribers over %d months of %s: %d periods paid, %d changes of plan, %d refusals, %d too late, %d periods or retries over before anybody could charge, %d grants of access, kills %v, ends %v",
		len(y.all), *months, *month, paid, changes, refused, tooLate, late, grants, y.kills, ended)
	require.Greater(t, paid, len(y.all), "a run that pays less than that shows little: make the months longer")
	require.Positive(t, changes)
	require.Positive(t, refused)
	if *faultEvery > 0 {
		require.NotEmpty(t, y.kills)
	}
}

// checkDue returns how many charges were never made. Each must have been kept from being made: when it was
// due, the workflow waited for an answer, or for a worker, and not for the time.
func (y *year) checkDue(promise, sql string) int {
	all := collect(y.t, y.owner, pgx.RowToStructByPos[missing], sql, y.speed)
	for _, m := range all {
		require.True(y.t, y.wasBusy("subscription/"+m.Subscriber, m.Due), "%s: not %s, due at %s", promise, m.What, m.Due)
	}
	return len(all)
}

// wasBusy reports whether a workflow, at some time, was running and waited for no later time, or was to
// be started.
func (y *year) wasBusy(workflowID string, then time.Time) (toStart bool) {
	runs, err := y.direct.ListWorkflow(y.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = %q", workflowID)})
	require.NoError(y.t, err)
	for _, run := range runs.Executions {
		toStart = toStart || run.StartTime.AsTime().After(then)
		if then.Before(run.StartTime.AsTime()) || then.After(run.CloseTime.AsTime()) {
			continue
		}
		var events []*history.HistoryEvent
		for iter := y.direct.GetWorkflowHistory(y.t.Context(), workflowID, run.Execution.RunId, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); iter.HasNext(); {
			e, err := iter.Next()
			require.NoError(y.t, err)
			events = append(events, e)
		}
		return !waits(events, then)
	}
	return toStart
}

// waits reports whether a workflow, at some time, waited for a later one.
func waits(events []*history.HistoryEvent, then time.Time) bool {
	var now time.Time               // the workflow's
	timers := map[int64]time.Time{} // what they are for
	for _, e := range events {
		if e.EventTime.AsTime().After(then) {
			break
		}
		if e.GetWorkflowTaskStartedEventAttributes() != nil {
			now = e.EventTime.AsTime()
		} else if started := e.GetTimerStartedEventAttributes(); started != nil {
			timers[e.EventId] = now.Add(started.StartToFireTimeout.AsDuration() - 10*time.Millisecond) // rounded
		}
		delete(timers, e.GetTimerFiredEventAttributes().GetStartedEventId())
		delete(timers, e.GetTimerCanceledEventAttributes().GetStartedEventId())
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(timers)), then.Before)
}

func (y *year) checkTables() {
	t := y.t
	count := func(sql string, arguments ...any) (n string) {
		require.NoError(t, y.owner.QueryRow(t.Context(), sql, arguments...).Scan(&n), sql)
		return n
	}
	require.Equal(t, "0", count(`SELECT count(*)::text FROM subscription.payments AS p FULL JOIN (SELECT * FROM outside.charges WHERE applied) AS c ON command_id = '_transaction/' || id || '/1'
		WHERE (amount, p.plan) IS DISTINCT FROM (taken, c.plan)`))
	require.Equal(t, "0", count(`SELECT count(*)::text FROM wallet_feed_parked`))
	require.Equal(t, "true", count(`SELECT (sum(total_amount) = $1)::text FROM wallet_assets WHERE currency = 'USD'`, y.topUps.Load()))
	require.Equal(t, count(`SELECT sum(taken)::text FROM outside.charges WHERE applied`), count(`SELECT total_amount::text FROM wallet_assets WHERE user_id = 'subscriptions' AND currency = 'USD'`))
	require.Equal(t, "0", count(`SELECT count(*)::text FROM wallet_commands WHERE currency = 'CREDIT' AND type = 'add' AND status = 'applied' AND expires_at IS DISTINCT FROM (metadata->>'paid_until')::timestamptz`))
	report, err := trail.New(y.owner).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

// TestTheChecksOfTheYearFindWhatIsWrong has one subscriber, and does something wrong at a time.
func TestTheChecksOfTheYearFindWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // initdb's user must be able to enter it
		require.NoError(t, os.Chmod(d, 0o755))
	}
	postgres, err := devstack.StartPostgres(context.Background(), dir, "fsync=off")
	require.NoError(t, err)
	t.Cleanup(func() { _ = postgres.Stop() })
	url := postgres.URL("postgres")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)
	schema, err := os.ReadFile("go/subscription/schema.sql")
	require.NoError(t, err)
	y := &year{t: t, speed: 1, began: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), epoch: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	y.owner, err = pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(y.owner.Close)
	for _, statements := range []string{string(schema), sqlOutside, `
		INSERT INTO outside.subscribers VALUES ('ann', 'late', true, 'UTC', '2027-01-31Z', '2027-04-10Z'); -- the second month is paid a day late
		INSERT INTO outside.charges SELECT id, 'ann', 'basic', false, reason = '', reason, CASE reason WHEN '' THEN 10 ELSE 0 END, at::timestamptz
		FROM (VALUES ('0/1', '', '2027-01-31Z'), ('1/1', 'insufficient_funds', '2027-02-28Z'), ('1/2', '', '2027-03-01Z'), ('2/1', '', '2027-03-31Z')) AS charge (id, reason, at);
		INSERT INTO subscription.access VALUES ('ann', 'basic', '2027-05-03Z');
		DELETE FROM outside.access; -- noted now
		INSERT INTO outside.access SELECT 'ann', 'basic', until::timestamptz, at::timestamptz
		FROM (VALUES ('2027-03-03Z', '2027-01-31Z'), ('2027-04-03Z', '2027-03-01Z'), ('2027-05-03Z', '2027-03-31Z')) AS access (until, at)`} {
		_, err = y.owner.Exec(t.Context(), statements)
		require.NoError(t, err)
	}
	y.notePeriods(4)
	found := func(tx pgx.Tx) (found []string) {
		for _, promise := range promises {
			if len(collect(t, tx, pgx.RowTo[string], promise.sql, y.speed)) > 0 {
				found = append(found, promise.name)
			}
		}
		for _, sql := range []string{sqlNotTriedAgain, sqlNotCharged} {
			for _, m := range collect(t, tx, pgx.RowToStructByPos[missing], sql, y.speed) {
				found = append(found, m.What+" "+m.Due.UTC().Format(time.DateOnly))
			}
		}
		return found
	}
	twice, unpaid, without := promises[0].name, promises[1].name, promises[2].name
	for wrong, want := range map[string][]string{
		`SELECT`: nil,
		`INSERT INTO outside.charges VALUES ('1/3', 'ann', 'basic', false, true, NULL, 10, '2027-03-02Z')`:       {twice},
		`INSERT INTO outside.charges VALUES ('1/change-1', 'ann', 'basic', true, true, NULL, 21, '2027-03-02Z')`: {twice},
		`INSERT INTO outside.charges VALUES ('x', 'ann', 'basic', false, true, NULL, 10, '2027-01-01Z')`:         {twice},
		`UPDATE outside.access SET until = until + interval '1 s' WHERE at = '2027-03-31Z'`:                      {unpaid},
		`UPDATE outside.access SET at = at - interval '1 s' WHERE at = '2027-03-31Z'`:                            {unpaid, without},
		`INSERT INTO outside.access VALUES ('ann', 'pro', '2027-03-03Z', '2027-02-01Z')`:                         {unpaid},
		`INSERT INTO outside.access VALUES ('bob', 'basic', '2027-03-03Z', '2027-02-01Z')`:                       {unpaid},
		`DELETE FROM outside.access WHERE at = '2027-03-31Z'`:                                                    {without},
		`DELETE FROM subscription.access`: {without},
		`DELETE FROM outside.charges WHERE id >= '1/2'; DELETE FROM outside.access WHERE at >= '2027-03-01Z'`:                                                                                                      {"1/1 2027-03-07"},
		`UPDATE outside.charges SET applied = false, reason = 'too_late' WHERE id = '2/1'; DELETE FROM outside.access WHERE at >= '2027-03-31Z'; UPDATE outside.subscribers SET cancelled = NULL, can_pay = false`: {"2/1 2027-04-29"},
		`DELETE FROM outside.charges WHERE id = '2/1'; DELETE FROM outside.access WHERE at = '2027-03-31Z'; UPDATE outside.subscribers SET cancelled = '2027-05-01Z'`:                                              {"ann, period 2 2027-04-29"},
	} {
		tx, err := y.owner.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), wrong)
		got := found(tx)
		require.NoError(t, errors.Join(err, tx.Rollback(t.Context())), wrong)
		require.Equal(t, want, got, wrong)
	}
}

func TestAWorkflowThatWaitsForALaterTimeIsNotBusy(t *testing.T) {
	began := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) *timestamppb.Timestamp {
		return timestamppb.New(began.Add(time.Duration(seconds) * time.Second))
	}
	events := []*history.HistoryEvent{
		{EventId: 1, EventTime: at(0), Attributes: &history.HistoryEvent_WorkflowTaskStartedEventAttributes{WorkflowTaskStartedEventAttributes: &history.WorkflowTaskStartedEventAttributes{}}},
		{EventId: 2, EventTime: at(2), Attributes: &history.HistoryEvent_TimerStartedEventAttributes{TimerStartedEventAttributes: &history.TimerStartedEventAttributes{StartToFireTimeout: durationpb.New(10 * time.Second)}}},
		{EventId: 3, EventTime: at(15), Attributes: &history.HistoryEvent_TimerFiredEventAttributes{TimerFiredEventAttributes: &history.TimerFiredEventAttributes{StartedEventId: 2}}},
	}
	for second, want := range map[int]bool{1: false, 3: true, 9: true, 10: false, 11: false, 14: false, 20: false} {
		require.Equal(t, want, waits(events, at(second).AsTime()), second)
	}
}

// checkSubscriptionREADME has the program run as its README says, and runs what the README shows.
func checkSubscriptionREADME(t *testing.T, env string) {
	page, err := os.ReadFile("go/subscription/README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```(sh|sql)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	command := func(block []string) *exec.Cmd {
		cmd := exec.Command("sh", "-e", "-c", strings.ReplaceAll(block[2], ". .wallet/env", `. "$0"`), env)
		cmd.Dir = ".."
		return cmd
	}
	program := command(blocks[0])
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // "go run" has a child
	out, err := program.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, program.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-program.Process.Pid, syscall.SIGINT)
		_ = program.Wait()
	})
	_, err = out.Read(make([]byte, 1)) // it works now
	require.NoError(t, err)

	printed, err := command(blocks[1]).CombinedOutput()
	require.NoError(t, err, string(printed))
	require.Contains(t, string(printed), `"status":"active"`)
	require.Contains(t, string(printed), `"cancel_at_period_end":true`)
	url, err := exec.Command("sh", "-c", `. "$0" && printf %s "$WALLET_OWNER_DATABASE_URL"`, env).Output()
	require.NoError(t, err)
	db, err := pgxpool.New(t.Context(), string(url))
	require.NoError(t, err)
	defer db.Close()
	require.Eventually(t, func() bool {
		var plan string
		var until time.Time
		return db.QueryRow(t.Context(), strings.TrimSuffix(strings.TrimSpace(blocks[2][2]), ";")).Scan(&plan, &until) == nil && plan == "pro"
	}, time.Minute, 100*time.Millisecond)

	printed, err = command(blocks[3]).CombinedOutput() // a test clock
	require.NoError(t, err, string(printed))
	require.Eventually(t, func() bool {
		var paid int
		return db.QueryRow(t.Context(), `SELECT count(*) FROM subscription.payments WHERE subscriber = 'kim'`).Scan(&paid) == nil && paid > 1
	}, 2*time.Minute, 100*time.Millisecond)
}
