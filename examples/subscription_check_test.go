package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/trail"
)

// payment is the first leg of one, from the journal.
type payment struct {
	user, id, status, reason, amount string
	metadata                         map[string]string
	at                               time.Time
	order                            string
	period, attempt                  int
}

func (y *year) check() {
	t := y.t
	bySubscription := map[string][]payment{}
	rows, err := y.owner.Query(t.Context(), `SELECT user_id, transaction_id, status, coalesce(reason, ''), amount::text, coalesce(metadata, '{}'), recorded_at
		FROM wallet_commands WHERE transaction_id LIKE 'sub/%' AND leg = 1 ORDER BY recorded_at, transaction_id`)
	require.NoError(t, err)
	var p payment
	var metadata []byte
	applied, changes, refused := 0, 0, map[string]int{}
	_, err = pgx.ForEachRow(rows, []any{&p.user, &p.id, &p.status, &p.reason, &p.amount, &metadata, &p.at}, func() error {
		p.metadata, p.period, p.attempt = nil, -1, 0
		if err := json.Unmarshal(metadata, &p.metadata); err != nil {
			return err
		}
		parts := strings.Split(p.id, "/")
		p.order = parts[1]
		if !strings.HasPrefix(parts[3], "change-") {
			_, err := fmt.Sscan(parts[2]+" "+parts[3], &p.period, &p.attempt)
			if err != nil {
				return err
			}
		}
		if p.status == "applied" {
			applied++
			if p.period < 0 {
				changes++
			}
		} else {
			refused[p.reason]++
		}
		bySubscription[p.order] = append(bySubscription[p.order], p)
		return nil
	})
	require.NoError(t, err)

	access, err := y.owner.Query(t.Context(), `SELECT subscriber, plan, until FROM subscription.access`)
	require.NoError(t, err)
	rowOf := map[string]accessRow{}
	var subscriber string
	var row accessRow
	_, err = pgx.ForEachRow(access, []any{&subscriber, &row.plan, &row.until}, func() error { rowOf[subscriber] = row; return nil })
	require.NoError(t, err)

	paid, skipped, ended := 0, 0, map[string]int{}
	for _, s := range y.all {
		n, gaps := y.checkSubscriber(s, bySubscription[s.start.ID], rowOf[s.start.Subscriber])
		paid, skipped = paid+n, skipped+gaps
		ended[s.kind+": "+s.final.Status+" "+s.final.Ended]++
	}
	y.checkTables(applied)
	t.Logf("%d subscribers over %d months: %d periods paid, %d over before the servers were back, %d payments applied, refused %v, kills %v, %d samples of access\n%v",
		len(y.all), *months, paid, skipped, applied, refused, y.kills, y.samples, ended)
	require.Positive(t, refused["transaction_refused"]+refused["insufficient_funds"])
	require.Greater(t, paid, len(y.all))
	require.Positive(t, changes)
	require.Positive(t, y.samples)
	if *faultEvery > 0 {
		require.NotEmpty(t, y.kills)
	}
}

// isSettled reports whether it is known what happens next: nothing, or a charge at a time to come. Who
// can always pay has paid.
func (s *subscriber) isSettled() bool {
	now := s.y.show(s.finalAt)
	switch canPay := slices.Contains([]string{"rich", "upgrades", "downgrades", "restarted"}, s.kind); s.final.Status {
	case "active":
		return s.final.Period.Until.After(now)
	case "past_due":
		return !canPay && s.final.NextCharge.After(now)
	default:
		return !canPay && s.final.Status == "ended"
	}
}

// accessRow is what the program grants a subscriber.
type accessRow struct {
	plan  string
	until time.Time
}

var grace = map[string]time.Duration{"basic": 3 * 24 * time.Hour, "pro": 5 * 24 * time.Hour}

// down is whether faults can have kept a period from being paid, all of the time: by what they stopped,
// an attempt that is given up after 15 s, and the pause before the next one.
func (y *year) down(from, until time.Time) bool {
	for _, f := range y.faults {
		if end := f[1].Add(20*time.Second + 2*f[1].Sub(f[0])); !f[0].After(from.Add(5*time.Second)) && end.After(from) { // an attempt takes a while on a busy machine
			from = end
		}
	}
	return !from.Before(until)
}

// real is when the subscriptions' clocks show a time.
func (y *year) real(shown time.Time) time.Time {
	return y.began.Add(shown.Sub(y.epoch) / time.Duration(y.speed))
}

// checkSubscriber returns how many periods were paid, and how many before the last one were not.
func (y *year) checkSubscriber(s *subscriber, payments []payment, access accessRow) (paid, gaps int) {
	t, last := y.t, -1
	name := fmt.Sprintf("%s, %s", s.start.ID, s.kind)
	seen := map[int]bool{}
	end := func(period int) time.Time { return periodEnd(s.final.Started, s.start.TimeZone, period) }
	for i, p := range payments {
		require.Equal(t, s.start.Subscriber, p.user, name)
		if p.period < 0 {
			continue
		}
		if p.status == "applied" {
			require.False(t, seen[p.period], "%s: period %d is paid twice", name, p.period)
			seen[p.period], paid = true, paid+1
			ends := end(p.period)
			got, err := time.Parse(time.RFC3339Nano, p.metadata["paid_until"])
			require.NoError(t, err)
			require.WithinDuration(t, ends, y.show(got), time.Duration(y.speed)*2*time.Microsecond, "%s: period %d", name, p.period)
			require.False(t, y.show(p.at).After(ends.Add(time.Minute)), "%s: paid after its end", name)
			for skipped := last + 1; skipped < p.period; skipped++ {
				gaps++
				from := s.final.Started
				if skipped > 0 {
					from = end(skipped - 1)
				}
				// With short months, a busy machine is a reason too.
				require.True(t, *month < time.Minute || y.down(y.real(from), y.real(end(skipped))), "%s: period %d is not paid, without a reason", name, skipped)
			}
			last = p.period
			continue
		}
		retried, newest := false, true
		for _, later := range payments[i+1:] {
			newest = newest && later.period < 0
			retried = retried || later.period == p.period && later.attempt == p.attempt+1 ||
				later.period > p.period && (p.reason == "too_late" || *month < time.Minute) // the period was over before its retry
		}
		waits := s.final.Status == "past_due" && !s.final.NextCharge.After(s.final.Period.Until) // see isSettled
		require.True(t, retried || newest && (s.final.Status == "ended" || waits) || p.at.After(s.finalAt), "%s: the refusal of %s has neither retry nor end", name, p.id)
	}
	switch {
	case s.final.Status == "active":
		require.True(t, seen[s.final.Period.Number], "%s: active without having paid period %d", name, s.final.Period.Number)
	case s.final.Status == "ended":
		require.NotEmpty(t, s.final.Ended, name)
	default:
		require.Equal(t, "past_due", s.final.Status, name)
	}
	// granted is whether a payment, or a change of plan, until some time granted access until another.
	granted := func(p payment, by, until time.Time) bool {
		if p.status != "applied" || p.at.After(by) {
			return false
		}
		period, err := strconv.Atoi(p.metadata["period"])
		require.NoError(t, err)
		return y.show(until).Sub(end(period).Add(grace[p.metadata["plan"]])).Abs() <= time.Duration(y.speed)*2*time.Microsecond
	}
	for until, times := range y.seen[s.start.Subscriber] {
		require.True(t, slices.ContainsFunc(payments, func(p payment) bool { return granted(p, times[0], until) }), "%s has access until %s, unpaid", name, y.show(until))
	}
	var newest payment
	for _, p := range payments {
		if p.status == "applied" {
			newest = p
		}
	}
	require.Equal(t, newest.metadata["plan"], access.plan, "%s: access", name)
	require.True(t, paid == 0 || granted(newest, time.Now(), access.until), "%s has access until %s, after %s", name, y.show(access.until), newest.id)
	return paid, gaps
}

// periodEnd counts days instead of using the program's calendar.
func periodEnd(started time.Time, zone string, number int) time.Time {
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	local := started.In(location)
	first := time.Date(local.Year(), local.Month(), 1, local.Hour(), local.Minute(), local.Second(), 0, location)
	end := first.AddDate(0, number+1, 0)
	for end.Day() < local.Day() {
		if next := end.AddDate(0, 0, 1); next.Month() == end.Month() {
			end = next
		} else {
			break
		}
	}
	return end
}

func (y *year) checkTables(applied int) {
	t := y.t
	count := func(sql string, arguments ...any) (n string) {
		require.NoError(t, y.owner.QueryRow(t.Context(), sql, arguments...).Scan(&n), sql)
		return n
	}
	require.Equal(t, fmt.Sprint(applied), count(`SELECT count(*)::text FROM subscription.payments`))
	require.Equal(t, "0", count(`SELECT count(*)::text FROM wallet_feed_parked`))
	require.Equal(t, "0", count(`SELECT (count(*) FILTER (WHERE p.amount IS DISTINCT FROM e.total_before - e.total_after))::text
		FROM wallet_asset_events AS e LEFT JOIN subscription.payments AS p USING (command_id) WHERE e.transaction_id LIKE 'sub/%' AND e.leg = 1`))
	require.Equal(t, "true", count(`SELECT (sum(total_amount) = $1)::text FROM wallet_assets WHERE currency = 'USD'`, y.topUps.Load()))
	require.Equal(t, count(`SELECT sum(amount)::text FROM subscription.payments`), count(`SELECT total_amount::text FROM wallet_assets WHERE user_id = 'subscriptions' AND currency = 'USD'`))
	require.Equal(t, "0", count(`SELECT count(*)::text FROM wallet_commands WHERE currency = 'CREDIT' AND type = 'add' AND status = 'applied' AND expires_at IS DISTINCT FROM (metadata->>'paid_until')::timestamptz`))
	report, err := trail.New(y.owner).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
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
