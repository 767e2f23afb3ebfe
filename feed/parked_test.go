package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// sink is a consumer that writes each event to a table, and fails for some.
type sink struct {
	t    *testing.T
	db   *pgxpool.Pool
	stop func()

	mu       sync.Mutex
	bad      map[string]error // by place
	down     error            // for all
	idle     string           // but for this user
	attempts map[string]int   // calls that the event was in
	errs     []error
}

func newSink(t *testing.T, db *pgxpool.Pool) *sink {
	_, err := db.Exec(t.Context(), `CREATE TABLE sink (id bigint GENERATED ALWAYS AS IDENTITY, user_id text, version bigint, PRIMARY KEY (user_id, version))`)
	require.NoError(t, err)
	return &sink{t: t, db: db, bad: map[string]error{}, attempts: map[string]int{}}
}

// start consumes in the background, until stop.
func (s *sink) start(o feed.Options) {
	o.Name, o.PollInterval = "sink", 20*time.Millisecond
	o.OnError = func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := feed.Consume(ctx, s.db, o, s.handle); err != nil {
			s.t.Error(err)
		}
	})
	s.stop = func() { cancel(); running.Wait() }
	s.t.Cleanup(s.stop)
}

func (s *sink) handle(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
	for _, e := range events {
		if _, err := tx.Exec(ctx, `INSERT INTO sink (user_id, version) VALUES ($1, $2)`, e.UserID, e.Version); err != nil {
			return err
		}
		s.mu.Lock()
		s.attempts[place(e)]++
		err := s.bad[place(e)]
		if e.UserID != s.idle {
			err = errors.Join(err, s.down)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *sink) count(sql string, args ...any) (n int) {
	require.NoError(s.t, s.db.QueryRow(s.t.Context(), sql, args...).Scan(&n))
	return n
}

func (s *sink) eventually(n int, sql string, args ...any) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.count(sql, args...) == n }, time.Minute, 10*time.Millisecond, sql)
}

// requireOrder checks that each wallet's events came once and in order. The primary key of
// the table sees to the first.
func (s *sink) requireOrder() {
	s.t.Helper()
	require.Zero(s.t, s.count(`SELECT count(*) FROM (
		SELECT version, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM sink) AS s WHERE version <> n`))
}

const (
	sqlDelivered = `SELECT count(*) FROM sink`
	sqlWaiting   = `SELECT count(*) FROM wallet_feed_parked`
	sqlParked    = `SELECT count(*) FROM wallet_feed_parked WHERE parked`
)

// TestAPoisonEventStopsItsWalletAndNoOther has it among 1,000 events of 100 wallets.
func TestAPoisonEventStopsItsWalletAndNoOther(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for _, n := range []int{5, 4} { // and the creation
		for w := range 100 {
			deposit(t, steps, fmt.Sprint("u", w), n)
		}
	}
	poison := "USD/u13/5"
	s.bad[poison] = errors.New("no such plan\x00")
	s.start(feed.Options{ParkAfter: 3})
	s.eventually(1000-6, sqlDelivered)
	require.Equal(t, 4, s.count(`SELECT count(*) FROM sink WHERE user_id = 'u13'`), "what comes before it was handed out")
	s.requireOrder()

	deposit(t, steps, "u13", 2) // which wait too
	deposit(t, steps, "u14", 2)
	s.eventually(1000-6+2, sqlDelivered)
	s.eventually(1, sqlParked)
	waiting, err := feed.ListWaiting(t.Context(), db, "sink")
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Equal(t, eventID(t, db, poison), waiting[0].EventID)
	require.GreaterOrEqual(t, waiting[0].Failures, 3)
	require.Contains(t, waiting[0].LastError, "handle event "+eventID(t, db, poison)+": no such plan")
	lags, err := feed.Lags(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, []feed.Lag{{Consumer: "sink", Parked: 1}}, lags)
	s.set(func() {
		require.ErrorContains(t, s.errs[0], "handle events")
		require.ErrorContains(t, s.errs[1], "failure 1; its wallet's later events wait, those of others do not")
		require.ErrorContains(t, s.errs[3], `failure 3; its wallet is parked, see "wallet feed list sink"`)
		require.LessOrEqual(t, s.attempts["USD/u50/3"], 6, "the others were not handed out again and again")
		require.Zero(t, s.attempts["USD/u13/6"]-s.attempts["USD/u13/10"])
		delete(s.bad, poison)
	})

	n, err := feed.Retry(t.Context(), db, "sink", "u13", "USD")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	s.eventually(1004, sqlDelivered)
	s.eventually(0, sqlWaiting)
	s.requireOrder()
	deposit(t, steps, "u13", 2)
	s.eventually(1006, sqlDelivered)
	s.requireOrder()
}

// TestAWaitingWalletIsTriedAgainByItself has a batch smaller than what waits, also in the
// query modes for poolers.
func TestAWaitingWalletIsTriedAgainByItself(t *testing.T) {
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			steps := activities.New(db)
			config := db.Config()
			config.ConnConfig.DefaultQueryExecMode = map[string]pgx.QueryExecMode{
				"cache_statement": pgx.QueryExecModeCacheStatement, "exec": pgx.QueryExecModeExec, "simple_protocol": pgx.QueryExecModeSimpleProtocol,
			}[mode]
			consumers, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(consumers.Close)
			s := newSink(t, consumers)
			for range 5 {
				deposit(t, steps, "u1", 3)
				deposit(t, steps, "u2", 1)
			}
			s.bad["USD/u1/4"], s.bad["USD/u1/9"] = errors.New("bad"), errors.New("bad")
			s.start(feed.Options{BatchSize: 2})
			s.eventually(3+6, sqlDelivered)
			s.set(func() { delete(s.bad, "USD/u1/4") })
			s.eventually(8+6, sqlDelivered)
			s.eventually(1, `SELECT count(*) FROM wallet_feed_parked WHERE from_version = 9 AND failures < 10`)
			s.set(func() { delete(s.bad, "USD/u1/9") })
			s.eventually(16+6, sqlDelivered)
			s.eventually(0, sqlWaiting)
			s.requireOrder()
		})
	}
}

// awaitOutages waits for so many attempts that were taken for an outage.
func (s *sink) awaitOutages(n int) {
	require.Eventually(s.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		found := 0
		for _, err := range s.errs {
			if errors.As(err, new(*feed.OutageError)) {
				found++
			}
		}
		return found >= n
	}, time.Minute, 10*time.Millisecond)
}

// TestAnOutageParksNothingWhereAHandlerIsIdleForSome has events that succeed in an outage,
// because nothing is to be done for them.
func TestAnOutageParksNothingWhereAHandlerIsIdleForSome(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for w := range 30 {
		deposit(t, steps, fmt.Sprint("u", w), 1)
	}
	s.down, s.idle = errors.New("connection refused"), "u7"
	s.start(feed.Options{ParkAfter: 1})
	s.awaitOutages(3)
	require.Zero(t, s.count(sqlWaiting))
	s.set(func() { s.down = nil })
	s.eventually(60, sqlDelivered)
	require.Zero(t, s.count(sqlWaiting))
	s.requireOrder()
}

func TestAnOutageParksNothing(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for w := range 20 {
		deposit(t, steps, fmt.Sprint("u", w), 2)
	}
	s.down = errors.New("connection refused")
	s.start(feed.Options{ParkAfter: 1})
	s.awaitOutages(4)
	require.Zero(t, s.count(sqlWaiting))
	require.Zero(t, s.count(sqlDelivered))
	require.Zero(t, s.count(`SELECT after_id FROM wallet_feed_consumers`))
	s.set(func() {
		require.ErrorContains(t, s.errs[1], "connection refused (the handler fails for more wallets, which is taken for an outage, so nothing is parked)")
		s.down = nil
	})
	s.eventually(60, sqlDelivered)
	require.Zero(t, s.count(sqlWaiting))
	s.requireOrder()
}

// TestAWalletAloneInTheFeedWaitsForProof fails for it until another one's event shows that
// the handler works.
func TestAWalletAloneInTheFeedWaitsForProof(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	s.bad["USD/u1/1"] = errors.New("bad")
	deposit(t, steps, "u1", 10)
	s.start(feed.Options{BatchSize: 2})
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.errs) >= 3
	}, time.Minute, 10*time.Millisecond)
	require.Zero(t, s.count(sqlWaiting))
	s.set(func() {
		require.ErrorContains(t, s.errs[2], "no other wallet has events that would tell a bad event from an outage")
	})
	deposit(t, steps, "u2", 1) // far behind the first batch
	s.eventually(2, sqlDelivered)
	require.Equal(t, 1, s.count(sqlWaiting))
	s.set(func() { delete(s.bad, "USD/u1/1") })
	s.eventually(11+2, sqlDelivered)
	s.requireOrder()
}

// TestBadWalletsThatStandTogetherArePassed are more than are taken for an outage at first.
func TestBadWalletsThatStandTogetherArePassed(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for w := range 8 {
		deposit(t, steps, fmt.Sprint("bad", w), 1)
		s.bad[fmt.Sprintf("USD/bad%d/1", w)] = errors.New("bad")
	}
	deposit(t, steps, "good", 1)
	s.start(feed.Options{BatchSize: 3})
	s.eventually(2, sqlDelivered)
	require.Equal(t, 8, s.count(sqlWaiting))
	s.set(func() { clear(s.bad) })
	s.eventually(18, sqlDelivered)
	s.eventually(0, sqlWaiting)
	s.requireOrder()
}

func TestASkippedEventIsNotHandedOut(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for range 2 {
		deposit(t, steps, "a/b", 3)
		deposit(t, steps, "u2", 1)
	}
	s.bad["USD/a/b/3"] = errors.New("bad")
	s.start(feed.Options{})
	s.eventually(2+3, sqlDelivered)
	skipID := func(id string) error { return feed.Skip(t.Context(), db, "sink", id, "ann", "no such plan") }
	skip := func(place string) error { return skipID(eventID(t, db, place)) }
	third := eventID(t, db, "USD/a/b/3")
	require.ErrorContains(t, skip("USD/a/b/2"), `was handled by the consumer "sink"`)
	require.ErrorContains(t, skip("USD/u2/3"), "was handled")
	require.ErrorContains(t, skipID("USD/a/b/99-0123456789abcdef"), `there is no event "USD/a/b/99-0123456789abcdef" in the feed`)
	require.ErrorContains(t, skipID("USD/a/b/3-0123456789abcdef"), `there is no event "USD/a/b/3-0123456789abcdef" in the feed: that of version 3 has the hash `+third[len("USD/a/b/3-"):])
	for _, bad := range []string{"a/b/3", "USD/a/b/3", "USD/a/b/3-", "USD//3-0123456789abcdef", "USD/a/9999999999999999999-0123456789abcdef", "usd/a/3-0123456789abcdef"} {
		require.ErrorContains(t, skipID(bad), "is no event: use its id", bad)
	}
	require.ErrorContains(t, feed.Skip(t.Context(), db, "sink", third, "ann", ""), "say who decides that, and why")
	require.ErrorContains(t, feed.Skip(t.Context(), db, "sunk", third, "ann", "x"), `there is no consumer "sunk"`)
	require.NoError(t, skip("USD/a/b/3"))
	require.ErrorContains(t, skip("USD/a/b/3"), "is skipped for the consumer \"sink\" already")
	s.eventually(6+3, sqlDelivered)
	s.eventually(0, sqlWaiting)
	require.ErrorContains(t, skip("USD/a/b/3"), "is skipped for the consumer \"sink\" already", "whether the consumer has gone on or not")
	require.ErrorContains(t, skip("USD/a/b/4"), "was handled")
	require.Zero(t, s.count(`SELECT count(*) FROM sink WHERE user_id = 'a/b' AND version = 3`))

	skipped, err := feed.ListSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.Len(t, skipped, 1)
	require.WithinDuration(t, time.Now(), skipped[0].SkippedAt, time.Minute)
	require.Equal(t, feed.Skipped{Consumer: "sink", EventID: third, Actor: "ann", Reason: "no such plan",
		LastError: "handle event " + third + ": bad", Role: skipped[0].Role, SkippedAt: skipped[0].SkippedAt}, skipped[0])

	deposit(t, steps, "u2", 1)
	s.eventually(6+4, sqlDelivered)
	s.stop()
	require.Equal(t, []string{"USD/a/b/1", "USD/a/b/2", "USD/a/b/3", "USD/a/b/4"}, consumeUntil(t, db, feed.Options{Name: "other"}, 11)[:4], "others are handed it")
	deposit(t, steps, "u3", 2)
	require.NoError(t, skip("USD/u3/2"), "before it was handed out")
	s.start(feed.Options{})
	s.eventually(6+4+2, sqlDelivered)
	require.Zero(t, s.count(`SELECT count(*) FROM sink WHERE user_id = 'u3' AND version = 2`))
}

// TestWhateverAHandlerDoesStopsOneWallet has it panic, break a constraint that is checked at
// the end of the transaction, and swallow an error that ends the transaction.
func TestWhateverAHandlerDoesStopsOneWallet(t *testing.T) {
	for name, break_ := range map[string]func(context.Context, pgx.Tx) error{
		"panic": func(context.Context, pgx.Tx) error { panic("bad") },
		"deferred constraint": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO paid (plan) VALUES (7)`)
			return err
		},
		"swallowed error": func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, `SELECT 1 / 0`)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			steps, s := activities.New(db), newSink(t, db)
			_, err := db.Exec(t.Context(), `CREATE TABLE plan (id int PRIMARY KEY); CREATE TABLE paid (plan int REFERENCES plan DEFERRABLE INITIALLY DEFERRED)`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			deposit(t, steps, "u1", 2)
			deposit(t, steps, "u2", 2)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var broken atomic.Bool
			broken.Store(true)
			go feed.Consume(ctx, db, feed.Options{Name: "sink", OnError: func(error) {}}, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
				if err := s.handle(ctx, tx, events); err != nil {
					return err
				}
				if broken.Load() && slices.ContainsFunc(events, func(e feed.Event) bool { return place(e) == "USD/u1/2" }) {
					return break_(ctx, tx)
				}
				return nil
			})
			s.eventually(1+3, sqlDelivered)
			require.Equal(t, 1, s.count(sqlWaiting))
			broken.Store(false)
			s.eventually(6, sqlDelivered)
			s.requireOrder()
		})
	}
}

// TestWhatIsRepairedIsHandedOutWhileItsWalletWaits has a range of the feed come late, with
// versions that are lower than those that wait.
func TestWhatIsRepairedIsHandedOutWhileItsWalletWaits(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, s := activities.New(db), newSink(t, db)
	for range 4 {
		deposit(t, steps, "u1", 1)
	}
	deposit(t, steps, "u2", 1)
	_, err := db.Exec(t.Context(), `ALTER TABLE wallet_feed DISABLE TRIGGER append_only_rows; DELETE FROM wallet_feed WHERE user_id = 'u1' AND first_version = 2`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	s.bad["USD/u1/4"], s.bad["USD/u1/2"] = errors.New("bad"), errors.New("bad")
	s.start(feed.Options{})
	s.eventually(2+2, sqlDelivered)
	_, err = steps.RepairEvents(t.Context(), wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	s.set(func() { delete(s.bad, "USD/u1/2") })
	s.eventually(3+2, sqlDelivered)
	require.Equal(t, 1, s.count(`SELECT count(*) FROM wallet_feed_parked WHERE from_version = 4`))
	s.set(func() { clear(s.bad) })
	s.eventually(5+2, sqlDelivered)
	s.eventually(0, sqlWaiting)
}

// TestASkippedEventIsRedelivered parks one event by its name and takes it up again.
func TestASkippedEventIsRedelivered(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 3)
	deposit(t, steps, "u2", 2)
	s := newSink(t, db)
	s.bad["USD/u1/2"] = errors.New("bad")
	s.start(feed.Options{})
	count := func(sql string) (n int) {
		require.NoError(t, db.QueryRow(context.Background(), sql).Scan(&n))
		return n
	}
	eventually := func(n int, sql string) {
		require.Eventually(t, func() bool { return count(sql) == n }, time.Minute, 10*time.Millisecond, sql)
	}
	eventually(4, `SELECT count(*) FROM sink`)
	second := eventID(t, db, "USD/u1/2")
	require.NoError(t, feed.Skip(t.Context(), db, "sink", second, "ann", "later"))
	eventually(6, `SELECT count(*) FROM sink`)

	require.NoError(t, feed.Redeliver(t.Context(), db, "sink", second))
	eventually(0, `SELECT count(*) FROM wallet_feed_skipped WHERE again_at IS NOT NULL`)
	skipped, err := feed.ListSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.Nil(t, skipped[0].EndedAt, "it failed once more: it stays skipped")
	require.Equal(t, 6, count(`SELECT count(*) FROM sink`))

	s.mu.Lock()
	delete(s.bad, "USD/u1/2")
	s.mu.Unlock()
	n, err := feed.RedeliverSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	eventually(7, `SELECT count(*) FROM sink`)
	require.Equal(t, 2, count(`SELECT version FROM sink ORDER BY id DESC LIMIT 1`), "last, once")
	skipped, err = feed.ListSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.NotNil(t, skipped[0].EndedAt)
	require.Equal(t, "ann", skipped[0].Actor)
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sink", second), "is not skipped")
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sink", "u1"), "is no event")
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sunk", second), `there is no consumer "sunk"`)
	s.stop()

	// One that is taken back before its turn comes in its turn.
	deposit(t, steps, "u1", 2)
	fifth := eventID(t, db, "USD/u1/5")
	require.NoError(t, feed.Skip(t.Context(), db, "sink", fifth, "ann", "later"))
	require.NoError(t, feed.Redeliver(t.Context(), db, "sink", fifth))
	s.start(feed.Options{})
	eventually(9, `SELECT count(*) FROM sink`)
	require.Equal(t, 6, count(`SELECT version FROM sink ORDER BY id DESC LIMIT 1`))
}
