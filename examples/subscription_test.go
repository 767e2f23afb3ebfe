package examples

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

var (
	subscribers = flag.Int("subscribers", 50, "of the simulation of examples/go/subscription")
	months      = flag.Int("months", 12, "that it lasts")
	month       = flag.Duration("month", 5*time.Second, "how long one takes")
	faultEvery  = flag.Duration("fault-every", 5*time.Second, "pause between faults; 0 for none")
)

// TestSubscribersPayEachPeriodOnce lives through a year in which workers of both programs are
// killed, and Postgres and Temporal stop. See examples/go/subscription/README.md for a larger one.
func TestSubscribersPayEachPeriodOnce(t *testing.T) {
	if os.Getenv("WALLET_TEST_SUBSCRIBERS") == "" {
		t.Skip(`run by "make test-subscribers"`)
	}
	y := startYear(t)
	faults, stopFaults := context.WithCancel(t.Context())
	var observers sync.WaitGroup
	observers.Go(func() { y.inflict(faults) })
	sampling, stopSampling := context.WithCancel(t.Context())
	observers.Go(func() { y.sample(sampling) })

	var lives sync.WaitGroup
	for i := range *subscribers {
		lives.Go(func() { y.live(newSubscriber(y, i)) })
	}
	lives.Go(func() { // in the middle of everybody's period
		y.until(5.5)
		y.exec(`UPDATE subscription.plans SET price = 12.00 WHERE id = 'basic'`)
	})
	lives.Go(func() { // those who have it wait
		y.until(7)
		y.exec(`CREATE TABLE IF NOT EXISTS gone AS SELECT * FROM subscription.plans WHERE id = 'pro'`)
		y.exec(`DELETE FROM subscription.plans WHERE id = 'pro'`)
		y.until(7.3)
		y.exec(`INSERT INTO subscription.plans SELECT * FROM gone ON CONFLICT DO NOTHING`)
	})
	y.until(float64(*months) - 0.5)
	stopFaults()
	lives.Wait()
	y.stopWallets() // so that nothing changes while it is checked
	y.awaitFeed()
	stopSampling()
	observers.Wait()
	y.check()
}

// year is everything that runs, and what was seen of it.
type year struct {
	t       *testing.T
	stack   *devstack.Stack
	owner   *pgxpool.Pool
	direct  client.Client
	wallets *starter.Client
	began   time.Time // real
	epoch   time.Time // what the subscriptions' clocks show then
	speed   int64

	mu       sync.Mutex
	programs []*program
	seen     map[string]map[time.Time]*[2]time.Time // access of a subscriber until a time: first and last
	all      []*subscriber
	kills    map[string]int
	faults   [][2]time.Time // from the kill until it was back
	samples  int
	topUps   atomic.Int64
}

// program is a process that is started again whenever it ends, as by a service manager.
type program struct {
	name, path, log string
	args, env       []string
	process         *devstack.Process
	stopped         bool
}

func (p *program) start() (err error) {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	p.process, err = devstack.StartProcess(p.name, cmd, p.log)
	return err
}

func startYear(t *testing.T) *year {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // initdb's user must be able to enter it
		require.NoError(t, os.Chmod(d, 0o755))
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), ".")
	build.Dir = "go/subscription"
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	stack, err := devstack.Start(t.Context(), devstack.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = stack.Stop() })
	require.NoError(t, stack.Postgres.CreateDatabase(t.Context(), "wallet"))
	url := stack.Postgres.URL("wallet")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, migrations.AllowLogin(t.Context(), url, migrations.RoleApp, "app"))
	owner, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(owner.Close)
	direct, err := client.Dial(client.Options{HostPort: stack.Temporal.Address(), Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(direct.Close)
	wallets, err := starter.New(direct, starter.Options{Lanes: 1})
	require.NoError(t, err)

	y := &year{t: t, stack: stack, owner: owner, direct: direct, wallets: wallets, seen: map[string]map[time.Time]*[2]time.Time{}, kills: map[string]int{}}
	service, err := filepath.Abs("../bin/wallet")
	require.NoError(t, err)
	temporalEnv := []string{"TEMPORAL_ADDRESS=" + stack.Temporal.Address(), "TEMPORAL_NAMESPACE=" + client.DefaultNamespace}
	// The program has the rights of its README's section on deployments.
	schema, err := os.ReadFile("go/subscription/schema.sql")
	require.NoError(t, err)
	page, err := os.ReadFile("go/subscription/README.md")
	require.NoError(t, err)
	_, role, found := strings.Cut(string(page), "```sql\nCREATE ROLE")
	require.True(t, found)
	role, _, _ = strings.Cut(role, "```")
	for _, statements := range []string{string(schema), "CREATE ROLE" + role} {
		_, err = owner.Exec(t.Context(), statements)
		require.NoError(t, err)
	}
	for i := range 2 {
		y.programs = append(y.programs,
			&program{name: "wallet", path: service, args: []string{"worker", "--log-level", "warn", "--http-address", "off"}, log: filepath.Join(dir, fmt.Sprint("wallet-", i, ".log")),
				env: append([]string{"WALLET_DATABASE_URL=" + stack.Postgres.URLOf(migrations.RoleApp, "app", "wallet")}, temporalEnv...)},
			&program{name: "subscription", path: filepath.Join(dir, "program"), log: filepath.Join(dir, fmt.Sprint("subscription-", i, ".log")),
				env: append([]string{"SUBSCRIPTION_DATABASE_URL=" + stack.Postgres.URLOf("subscriptions", "secret", "wallet")}, temporalEnv...)})
	}
	for _, p := range y.programs {
		require.NoError(t, p.start())
		t.Cleanup(func() {
			p.process.Kill()
			if log, err := os.ReadFile(p.log); err == nil && t.Failed() {
				t.Logf("%s:\n%s", p.log, log[:min(len(log), 3000)])
			}
		})
	}
	supervising, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for supervising.Err() == nil {
			y.mu.Lock()
			for _, p := range y.programs {
				if !p.stopped && !p.process.Running() {
					_ = p.start()
				}
			}
			y.mu.Unlock()
			time.Sleep(200 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	y.began, y.epoch = time.Now(), time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	y.speed = int64(365*24*time.Hour) / 12 / int64(*month)
	return y
}

// until waits for a moment, in months from the beginning.
func (y *year) until(n float64) {
	time.Sleep(time.Until(y.began.Add(time.Duration(n * float64(*month)))))
}

// now is what the subscriptions' clocks show.
func (y *year) show(real time.Time) time.Time {
	return y.epoch.Add(real.Sub(y.began) * time.Duration(y.speed))
}

// try repeats what fails while something is down.
func (y *year) try(what string, do func(context.Context) error) {
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			y.t.Errorf("%s: %v", what, err)
			return
		}
	}
}

func (y *year) exec(statement string) {
	y.try(statement, func(ctx context.Context) error { _, err := y.owner.Exec(ctx, statement); return err })
}

func (y *year) stopWallets() {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, p := range y.programs {
		if p.name == "wallet" {
			p.stopped = true
			p.process.Kill()
		}
	}
}

// inflict kills one process after the other, or stops a server for a second.
func (y *year) inflict(ctx context.Context) {
	if *faultEvery == 0 {
		return
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(*faultEvery/2 + time.Duration(random.Int64N(int64(*faultEvery)))):
		}
		from := time.Now()
		switch n % 6 {
		case 2:
			y.kills["postgres"]++
			_ = y.stack.Postgres.StopImmediately()
			time.Sleep(time.Second)
			y.try("postgres", func(context.Context) error { return y.stack.Postgres.Launch() })
			y.try("postgres", y.stack.Postgres.Ready)
		case 5:
			y.kills["temporal"]++
			y.stack.Temporal.Process().Kill()
			time.Sleep(time.Second)
			y.try("temporal", y.stack.Temporal.Launch)
			y.try("temporal", y.stack.Temporal.Ready)
		default:
			y.mu.Lock()
			p := y.programs[2*random.IntN(2)+n%6%3] // a worker of the wallets, then one of the subscriptions
			y.kills[p.name]++
			p.process.Kill()
			y.mu.Unlock()
		}
		y.faults = append(y.faults, [2]time.Time{from, time.Now()})
	}
}

// sample notes who has access when.
func (y *year) sample(ctx context.Context) {
	for ctx.Err() == nil {
		rows, err := y.owner.Query(ctx, `SELECT subscriber, until, clock_timestamp() FROM subscription.access WHERE until > clock_timestamp()`)
		if err == nil {
			var subscriber string
			var until, at time.Time
			_, err = pgx.ForEachRow(rows, []any{&subscriber, &until, &at}, func() error {
				if y.seen[subscriber] == nil {
					y.seen[subscriber] = map[time.Time]*[2]time.Time{}
				}
				if y.seen[subscriber][until] == nil {
					y.seen[subscriber][until] = &[2]time.Time{at, at}
				}
				y.seen[subscriber][until][1] = at
				return nil
			})
		}
		if err == nil {
			y.samples++
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(100*time.Millisecond, *month/100)):
		}
	}
}

// awaitFeed waits until the consumer has seen everything.
func (y *year) awaitFeed() {
	y.try("the feed", func(ctx context.Context) error {
		var behind int64
		err := y.owner.QueryRow(ctx, `SELECT (SELECT coalesce(max(id), 0) FROM wallet_feed) - after_id FROM wallet_feed_consumers WHERE name = 'subscriptions'`).Scan(&behind)
		if err == nil && behind > 0 {
			err = fmt.Errorf("%d behind", behind)
		}
		return err
	})
}

// clock, period and state are what the program's workflow has of them.
type clock struct {
	Real  time.Time `json:"real"`
	Shown time.Time `json:"shown"`
	Speed int64     `json:"speed"`
}

type state struct {
	ID         string    `json:"id"`
	Subscriber string    `json:"subscriber"`
	Plan       string    `json:"plan"`
	TimeZone   string    `json:"time_zone"`
	Clock      clock     `json:"clock"`
	Started    time.Time `json:"started"`
	Status     string    `json:"status,omitempty"`
	Ended      string    `json:"ended,omitempty"`
	Paid       int       `json:"paid,omitempty"`
	NextCharge time.Time `json:"next_charge"`
	Period     struct {
		Number int       `json:"number"`
		From   time.Time `json:"from"`
		Until  time.Time `json:"until"`
	} `json:"period"`
}

// subscriber is one of some kind: what happens to it follows from that.
type subscriber struct {
	y       *year
	kind    string
	start   state
	begin   float64 // months from the beginning of the year
	ups     int
	updates int
	final   state
	finalAt time.Time
}

var (
	kinds = []string{"rich", "rich", "late", "poor", "cancels", "upgrades", "downgrades", "cheaper", "gives up", "frozen", "restarted"}
	zones = []string{"", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata"}
)

func newSubscriber(y *year, i int) *subscriber {
	s := &subscriber{y: y, kind: kinds[i%len(kinds)], begin: float64(i) / float64(*subscribers)}
	plan := "basic"
	if s.kind == "downgrades" || s.kind == "cheaper" {
		plan = "pro"
	}
	s.start = state{
		ID: fmt.Sprint("order-", i), Subscriber: fmt.Sprint("subscriber-", i), Plan: plan, TimeZone: zones[i%len(zones)],
		Clock: clock{Real: y.began, Shown: y.epoch, Speed: y.speed},
	}
	y.mu.Lock()
	y.all = append(y.all, s)
	y.mu.Unlock()
	return s
}

func (s *subscriber) topUp(amount int) {
	s.ups++
	change := starter.Change{UserID: s.start.Subscriber, Currency: "USD", CommandID: fmt.Sprint("top-up-", s.ups), Amount: wallet.MustAmount(fmt.Sprint(amount))}
	s.y.try("a top-up", func(ctx context.Context) error { _, err := s.y.wallets.Add(ctx, change); return err })
	s.y.topUps.Add(int64(amount))
}

// command sends one to the wallet.
func (s *subscriber) command(c wallet.Command) {
	s.y.try(c.ID, func(ctx context.Context) error {
		_, err := s.y.wallets.Apply(ctx, s.start.Subscriber, "USD", c)
		return err
	})
}

func (s *subscriber) workflowID() string { return "subscription/" + s.start.Subscriber }

func (s *subscriber) subscribe(as any) {
	s.y.try("a subscription", func(ctx context.Context) error {
		_, err := s.y.direct.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: s.workflowID(), TaskQueue: "subscriptions"}, "Subscription", as)
		return err
	})
}

// update has no failure but a refusal, or that the subscription has ended.
func (s *subscriber) update(name string, argument any) (refused bool) {
	s.updates++
	id := fmt.Sprint(s.start.ID, "-", s.updates) // one, however often it is sent
	s.y.try(name, func(ctx context.Context) error {
		handle, err := s.y.direct.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: s.workflowID(), UpdateID: id, UpdateName: name, Args: []any{argument}, WaitForStage: client.WorkflowUpdateStageCompleted})
		if err == nil {
			err = handle.Get(ctx, nil)
		}
		var failure *temporal.ApplicationError
		var gone *serviceerror.NotFound
		refused = errors.As(err, &gone) || errors.As(err, &failure) && failure.Type() == "Refused"
		if refused {
			return nil
		}
		return err
	})
	return refused
}

func (s *subscriber) state() (now state) {
	s.y.try("a state", func(ctx context.Context) error {
		value, err := s.y.direct.QueryWorkflow(ctx, s.workflowID(), "", "state")
		if err != nil {
			return err
		}
		return value.Get(&now)
	})
	return now
}

// at waits for a moment, in months from the subscription's beginning.
func (s *subscriber) at(months float64) { s.y.until(s.begin + months) }

// live is what a subscriber does in the year.
func (y *year) live(s *subscriber) {
	const day = 12.0 / 365
	y.until(s.begin)
	funds := 1000
	switch s.kind {
	case "late", "poor", "gives up":
		funds = 35 // for three months
	case "cheaper":
		funds = 95
	}
	s.topUp(funds)
	s.subscribe(s.start)
	switch s.kind {
	case "late":
		s.at(3 + 2*day)
		s.topUp(1000)
	case "cancels":
		s.at(4.5)
		s.update("cancel_at_period_end", true)
	case "upgrades":
		s.at(2.3)
		s.update("change_plan", map[string]any{"plan": "pro"})
	case "downgrades":
		s.at(2.6)
		s.update("change_plan", map[string]any{"plan": "basic"})
		s.at(4.2)
		s.update("change_plan", map[string]any{"plan": "pro"})
		s.at(6.2)
		s.update("change_plan", map[string]any{"plan": "basic", "at_period_end": true})
	case "cheaper": // has 5.00 left when the fourth month begins
		s.at(3 + day)
		s.topUp(10)
		s.update("change_plan", map[string]any{"plan": "basic"})
	case "gives up":
		s.at(3 + 2*day)
		s.update("cancel_at_period_end", true)
	case "frozen":
		s.at(1.5)
		s.command(wallet.Command{ID: "freeze", Type: wallet.TypeFreeze, What: "debits"})
		s.at(2 + 4*day)
		s.command(wallet.Command{ID: "unfreeze", Type: wallet.TypeUnfreeze})
	case "restarted":
		s.at(2.5)
		var last map[string]any // all of it
		y.try("the last state", func(ctx context.Context) error {
			value, err := y.direct.QueryWorkflow(ctx, s.workflowID(), "", "state")
			if err == nil {
				err = value.Get(&last)
			}
			return err
		})
		y.try("a termination", func(ctx context.Context) error {
			err := y.direct.TerminateWorkflow(ctx, s.workflowID(), "", "test")
			var gone *serviceerror.NotFound
			if errors.As(err, &gone) {
				return nil
			}
			return err
		})
		s.subscribe(last)
	}
	y.until(float64(*months) + 0.5)
	// A charge may be due, or under way.
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s.finalAt = time.Now() // what is recorded later is not in the state
		if s.final = s.state(); s.isSettled() {
			break
		}
		require.True(s.y.t, time.Now().Before(deadline), "%s, %s: %+v has neither a charge to come nor an end", s.start.ID, s.kind, s.final)
	}
}

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
