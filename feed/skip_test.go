package feed_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
)

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

// TestASkippedEventIsRedelivered parks one event by its name and takes it up again.
func TestASkippedEventIsRedelivered(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 3)
	deposit(t, steps, "u2", 2)
	s := newSink(t, db)
	s.bad["USD/u1/2"] = errors.New("bad")
	s.start(feed.Options{})
	s.eventually(4, `SELECT count(*) FROM sink`)
	second := eventID(t, db, "USD/u1/2")
	require.NoError(t, feed.Skip(t.Context(), db, "sink", second, "ann", "later"))
	s.eventually(6, `SELECT count(*) FROM sink`)

	require.NoError(t, feed.Redeliver(t.Context(), db, "sink", second))
	s.eventually(0, `SELECT count(*) FROM wallet_feed_skipped WHERE redeliver_at IS NOT NULL`)
	skipped, err := feed.ListSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.Nil(t, skipped[0].EndedAt, "it failed once more: it stays skipped")
	require.Equal(t, 6, s.count(`SELECT count(*) FROM sink`))

	s.mu.Lock()
	delete(s.bad, "USD/u1/2")
	s.mu.Unlock()
	n, err := feed.RedeliverSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	s.eventually(7, `SELECT count(*) FROM sink`)
	require.Equal(t, 2, s.count(`SELECT version FROM sink ORDER BY id DESC LIMIT 1`), "last, once")
	skipped, err = feed.ListSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.NotNil(t, skipped[0].EndedAt)
	require.Equal(t, "ann", skipped[0].Actor)
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sink", second), "is not skipped")
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sink", "u1"), "is no event")
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sink", "USD/u1/2-0123456789abcdef"), "that of version 2 has the hash")
	require.ErrorContains(t, feed.Redeliver(t.Context(), db, "sunk", second), `there is no consumer "sunk"`)
	s.stop()

	// One that is taken back before its turn comes in its turn.
	deposit(t, steps, "u1", 2)
	fifth := eventID(t, db, "USD/u1/5")
	require.NoError(t, feed.Skip(t.Context(), db, "sink", fifth, "ann", "later"))
	require.NoError(t, feed.Redeliver(t.Context(), db, "sink", fifth))
	s.start(feed.Options{})
	s.eventually(9, `SELECT count(*) FROM sink`)
	require.Equal(t, 6, s.count(`SELECT version FROM sink ORDER BY id DESC LIMIT 1`))
}

// TestARedeliveryIsNotUsedUpByTheDatabase has the connection lost while the handler is called.
func TestARedeliveryIsNotUsedUpByTheDatabase(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 2)
	_, err := db.Exec(t.Context(), `INSERT INTO wallet_feed_consumers (name, after_id, after_version) VALUES ('sink', 0, 0)`)
	require.NoError(t, err)
	second := eventID(t, db, "USD/u1/2")
	require.NoError(t, feed.Skip(t.Context(), db, "sink", second, "ann", "later"))
	var lost atomic.Bool
	var got atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go feed.Consume(ctx, db, feed.Options{Name: "sink", PollInterval: 20 * time.Millisecond, OnError: func(error) {}}, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
		for _, e := range events {
			if e.Redelivered && !lost.Swap(true) {
				_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
				return err
			}
			got.Add(1)
		}
		return nil
	})
	require.Eventually(t, func() bool { return got.Load() == 2 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, feed.Redeliver(t.Context(), db, "sink", second))
	require.Eventually(t, func() bool {
		var over bool // without this it would be after a minute
		require.NoError(t, db.QueryRow(t.Context(), `WITH sooner AS (UPDATE wallet_feed_skipped SET redeliver_at = now() WHERE redeliver_at IS NOT NULL AND last_error <> '')
			SELECT redeliver_at IS NULL FROM wallet_feed_skipped`).Scan(&over))
		return over
	}, time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 3, got.Load())
}

// TestRedeliverSkippedCountsWhatIsThere has an event deleted from the trail.
func TestRedeliverSkippedCountsWhatIsThere(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	deposit(t, activities.New(db), "u1", 2)
	_, err := db.Exec(t.Context(), `INSERT INTO wallet_feed_consumers (name, after_id, after_version) VALUES ('sink', 0, 0)`)
	require.NoError(t, err)
	for _, place := range []string{"USD/u1/2", "USD/u1/3"} {
		require.NoError(t, feed.Skip(t.Context(), db, "sink", eventID(t, db, place), "ann", "later"))
	}
	testenv.Exec(t, db.Config().ConnString(), `ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows`, `DELETE FROM wallet_asset_events WHERE version = 3`)
	n, err := feed.RedeliverSkipped(t.Context(), db, "sink")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}
