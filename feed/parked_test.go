package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	testenv.Exec(t, db.Config().ConnString(), `ALTER TABLE wallet_feed DISABLE TRIGGER append_only_rows`, `DELETE FROM wallet_feed WHERE user_id = 'u1' AND first_version = 2`)
	s.bad["USD/u1/4"], s.bad["USD/u1/2"] = errors.New("bad"), errors.New("bad")
	s.start(feed.Options{})
	s.eventually(2+2, sqlDelivered)
	_, err := steps.RepairEvents(t.Context(), wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	s.set(func() { delete(s.bad, "USD/u1/2") })
	s.eventually(3+2, sqlDelivered)
	require.Equal(t, 1, s.count(`SELECT count(*) FROM wallet_feed_parked WHERE from_version = 4`))
	s.set(func() { clear(s.bad) })
	s.eventually(5+2, sqlDelivered)
	s.eventually(0, sqlWaiting)
}
