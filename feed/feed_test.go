package feed_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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

// deposit applies n adds to a wallet, creating it if necessary, and records the events.
func deposit(t testing.TB, steps *activities.Activities, userID string, n int) {
	ctx := context.Background()
	ref := wallet.AssetRef{UserID: userID, Currency: "USD"}
	_, err := steps.EnsureWalletAsset(ctx, ref)
	require.NoError(t, err)
	commands := make([]wallet.Received, n)
	for i := range commands {
		id := fmt.Sprint(time.Now().UnixNano(), "-", i)
		commands[i].Command = wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	}
	_, err = steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: commands})
	require.NoError(t, err)
	_, err = steps.RecordEvents(ctx, ref)
	require.NoError(t, err)
}

// place is an event's id without its hash, which is another in each run.
func place(e feed.Event) string {
	place, _, _ := strings.Cut(e.ID, "-")
	return place
}

// eventID is the id of the event at a place.
func eventID(t *testing.T, db *pgxpool.Pool, place string) (id string) {
	require.NoError(t, db.QueryRow(t.Context(), `SELECT $1 || '-' || left(encode(hash, 'hex'), 16)
		FROM wallet_asset_events WHERE currency || '/' || user_id || '/' || version = $1`, place).Scan(&id))
	return id
}

// consumeUntil consumes under a name until it gets n events, and returns their places.
func consumeUntil(t *testing.T, db *pgxpool.Pool, o feed.Options, n int) (places []string) {
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, feed.Consume(ctx, db, o, func(_ context.Context, tx pgx.Tx, events []feed.Event) error {
		require.True(t, o.BatchSize == 0 || len(events) <= o.BatchSize)
		for _, e := range events {
			places = append(places, place(e))
		}
		if len(places) >= n {
			// Stop after the commit, so that the position has moved past the last of them.
			time.AfterFunc(100*time.Millisecond, stop)
		}
		return nil
	}))
	stop()
	return places
}

func TestAConsumerGoesOnWhereItWas(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 2)
	deposit(t, steps, "u/2", 1)
	billing := feed.Options{Name: "billing", BatchSize: 2} // smaller than an append
	require.Equal(t, []string{"USD/u1/1", "USD/u1/2", "USD/u1/3", "USD/u/2/1", "USD/u/2/2"}, consumeUntil(t, db, billing, 5))
	deposit(t, steps, "u1", 1)
	require.Equal(t, []string{"USD/u1/4"}, consumeUntil(t, db, billing, 1))
	require.Len(t, consumeUntil(t, db, feed.Options{Name: "another"}, 6), 6, "each name has its own place")

	end, err := feed.End(t.Context(), db)
	require.NoError(t, err)
	late := feed.Options{Name: "late", FromEnd: true}
	time.AfterFunc(200*time.Millisecond, func() { deposit(t, steps, "u3", 1) })
	ids := consumeUntil(t, db, late, 2)
	require.Equal(t, []string{"USD/u3/1", "USD/u3/2"}, ids)
	require.Equal(t, "5-4", end.String())
}

// TestAnEventIDIsOfItsContent has a standby that took over without the last entry, whose version
// was then used for another.
func TestAnEventIDIsOfItsContent(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	read := func() (ids []string) {
		enough := errors.New("enough")
		require.ErrorIs(t, feed.Follow(t.Context(), db, feed.FollowOptions{}, func(e feed.Event) error {
			if ids = append(ids, e.ID); len(ids) == 2 {
				return enough
			}
			return nil
		}), enough)
		return ids
	}
	deposit(t, steps, "u/1", 1)
	before := read()
	for i, id := range before {
		require.Regexp(t, fmt.Sprintf("^USD/u/1/%d-[0-9a-f]{16}$", i+1), id)
	}
	require.Equal(t, before, read(), "it is the same each time")
	testenv.Exec(t, db.Config().ConnString(),
		`ALTER TABLE wallet_commands     DISABLE TRIGGER append_only_rows`,
		`ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows`,
		`ALTER TABLE wallet_feed         DISABLE TRIGGER append_only_rows`,
		`DELETE FROM wallet_commands     WHERE version = 2`,
		`DELETE FROM wallet_asset_events WHERE version = 2`,
		`DELETE FROM wallet_feed         WHERE last_version = 2`,
		`DELETE FROM wallet_assets`)
	deposit(t, steps, "u/1", 1)
	after := read()
	require.Equal(t, before[0], after[0])
	require.Equal(t, before[1][:len("USD/u/1/2")], after[1][:len("USD/u/1/2")])
	require.NotEqual(t, before[1], after[1])
}

func TestWhatAHandlerRefusesComesAgain(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), `CREATE TABLE sink (event_id text PRIMARY KEY)`)
	require.NoError(t, err)
	deposit(t, activities.New(db), "u1", 3)
	ctx, stop := context.WithCancel(t.Context())
	var failures []error
	attempts := 0
	o := feed.Options{Name: "billing", OnError: func(err error) { failures = append(failures, err) }}
	require.NoError(t, feed.Consume(ctx, db, o, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
		require.Equal(t, "USD/u1/1", place(events[0]))
		for _, e := range events {
			_, err := tx.Exec(ctx, `INSERT INTO sink VALUES ($1)`, e.ID)
			require.NoError(t, err, "the failed attempt left nothing")
		}
		if attempts++; attempts < 2 {
			return errors.New("not yet")
		}
		time.AfterFunc(100*time.Millisecond, stop)
		return nil
	}))
	stop()
	require.Len(t, failures, 1)
	require.ErrorContains(t, failures[0], "handle events 1-1 to 2-4: not yet")
	var n int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM sink`).Scan(&n))
	require.Equal(t, 4, n)
}

// TestNothingIsPassedOverWhenIdsCommitOutOfOrder keeps a transaction open that has taken an id
// while later ids are committed.
func TestNothingIsPassedOverWhenIdsCommitOutOfOrder(t *testing.T) {
	for end, want := range map[string][]string{
		"COMMIT":   {"USD/u1/1", "USD/slow/1", "USD/u2/1", "USD/u2/2"},
		"ROLLBACK": {"USD/u1/1", "USD/u2/1", "USD/u2/2"},
	} {
		t.Run(end, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			steps := activities.New(db)
			_, err := steps.EnsureWalletAsset(t.Context(), wallet.AssetRef{UserID: "u1", Currency: "USD"})
			require.NoError(t, err)
			slow, err := db.Begin(t.Context())
			require.NoError(t, err)
			defer slow.Rollback(context.Background())
			_, err = slow.Exec(t.Context(), `
				CREATE TEMP TABLE e ON COMMIT DROP AS TABLE wallet_asset_events;
				UPDATE e SET user_id = 'slow';
				INSERT INTO wallet_asset_events TABLE e;
				INSERT INTO wallet_feed (user_id, currency, first_version, last_version) SELECT user_id, currency, min(version), max(version) FROM e GROUP BY 1, 2`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			deposit(t, steps, "u2", 1)

			// Events before the gap are delivered at once, events after it are not.
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			got := make(chan feed.Event, 10)
			go feed.Follow(ctx, db, feed.FollowOptions{}, func(e feed.Event) error { got <- e; return nil })
			ids := []string{place(<-got)}
			select {
			case e := <-got:
				require.Fail(t, "passed over a gap", e.ID)
			case <-time.After(300 * time.Millisecond):
			}
			_, err = slow.Exec(t.Context(), end)
			require.NoError(t, err)
			for range len(want) - 1 {
				ids = append(ids, place(<-got))
			}
			require.Equal(t, want, ids)
		})
	}
}

func TestAMissingEventStopsTheFeed(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 5)
	testenv.Exec(t, db.Config().ConnString(), `ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows`, `DELETE FROM wallet_asset_events WHERE version = 4`)
	var seen []string
	err := feed.Follow(t.Context(), db, feed.FollowOptions{}, func(e feed.Event) error { seen = append(seen, place(e)); return nil })
	require.Equal(t, []string{"USD/u1/1", "USD/u1/2", "USD/u1/3"}, seen, "what is before it comes")
	require.ErrorIs(t, err, feed.ErrEventMissing)
	require.ErrorContains(t, err, `version 4 of the USD wallet of "u1"`)

	_, err = steps.RepairEvents(t.Context(), wallet.AssetRef{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	ids := consumeUntil(t, db, feed.Options{Name: "billing"}, 6)
	require.Equal(t, []string{"USD/u1/1", "USD/u1/2", "USD/u1/3", "USD/u1/4", "USD/u1/5", "USD/u1/6"}, ids, "what was repaired is in its place, once")
}

// TestFollowMissesAndDoublesNothingAcrossLostConnections terminates its connections over and
// over.
func TestFollowMissesAndDoublesNothingAcrossLostConnections(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	steps := activities.New(db)
	config, err := pgxpool.ParseConfig(testenv.AppURL(t, url))
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["application_name"] = "follower"
	follower, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer follower.Close()

	const rounds = 60
	go func() {
		for range rounds {
			deposit(t, steps, "u1", 3)
			deposit(t, steps, "u2", 1)
			_, _ = db.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'follower' AND datname = current_database()`)
		}
	}()
	next := map[string]int64{}
	enough := errors.New("enough")
	require.ErrorIs(t, feed.Follow(t.Context(), follower, feed.FollowOptions{UserID: "u1"}, func(e feed.Event) error {
		require.Equal(t, "u1", e.UserID)
		next[e.UserID]++
		require.Equal(t, next[e.UserID], e.Version)
		if e.Version == 1+3*rounds {
			return enough
		}
		return nil
	}), enough)
}

func TestCursorIsReadAsItIsWritten(t *testing.T) {
	c, err := feed.ParseCursor("4711-17")
	require.NoError(t, err)
	require.Equal(t, feed.Cursor{Row: 4711, Version: 17}, c)
	require.Equal(t, "4711-17", c.String())
	c, err = feed.ParseCursor("0")
	require.NoError(t, err)
	require.Zero(t, c)
	for _, bad := range []string{"", "x", "1", "1-", "-1", "1--1", "9999999999999999999-1"} {
		_, err = feed.ParseCursor(bad)
		require.ErrorContains(t, err, "is no place in the feed", bad)
	}
}

// TestNoPageReadsAWholeTrail asks Postgres how many rows it reads for a page of a few events of
// one large wallet, the only one its statistics know.
func TestNoPageReadsAWholeTrail(t *testing.T) {
	testenv.SkipOnCitus(t, "it reads the plan of a statement that is divided there")
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	_, err := db.Exec(t.Context(), `
		INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, total_before, total_after, hold_before, hold_after, occurred_at, position, hash)
		SELECT 'big', 'USD', n, 'wallet_asset.added', 'c' || n, 0, 0, 0, 0, now(), n, '' FROM generate_series(1, 20000) AS n;
		ANALYZE`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		conn, err := db.Acquire(t.Context())
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `SET plan_cache_mode = `+mode+`; PREPARE page AS `+feed.SQLEvents, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF)
			EXECUTE page ('{1, 2}', '{big, big}', '{USD, USD}', '{100, 15000}', '{103, 15000}')`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		conn.Release()
		for _, match := range regexp.MustCompile(`rows=(\d+) loops=|Rows Removed by [A-Za-z ]+: (\d+)`).FindAllStringSubmatch(strings.Join(plan, "\n"), -1) {
			n, err := strconv.Atoi(match[1] + match[2])
			require.NoError(t, err)
			require.LessOrEqual(t, n, 10, plan)
		}
		_, err = db.Exec(t.Context(), `DEALLOCATE ALL`)
		require.NoError(t, err)
	}
}

// TestFollowLeavesNoConnection ends many followers with an error.
func TestFollowLeavesNoConnection(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	deposit(t, activities.New(db), "u1", 1)
	refused := errors.New("refused")
	for range 5 {
		require.ErrorIs(t, feed.Follow(t.Context(), db, feed.FollowOptions{}, func(feed.Event) error { return refused }), refused)
	}
	require.Eventually(t, func() bool {
		var listening int
		require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`).Scan(&listening))
		return listening == 0
	}, time.Minute, 20*time.Millisecond)
}

// TestAnIdleConsumerWritesNothing checks which transaction last locked its row.
func TestAnIdleConsumerWritesNothing(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	deposit(t, activities.New(db), "u1", 1)
	o := feed.Options{Name: "idle", PollInterval: 5 * time.Millisecond}
	require.Len(t, consumeUntil(t, db, o, 2), 2)
	var before, after int64
	locked := `SELECT coalesce(max(xmax::text::bigint), 0) FROM wallet_feed_consumers`
	require.NoError(t, db.QueryRow(t.Context(), locked).Scan(&before))
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	require.NoError(t, feed.Consume(ctx, db, o, func(context.Context, pgx.Tx, []feed.Event) error { return errors.New("there are none") }))
	require.NoError(t, db.QueryRow(t.Context(), locked).Scan(&after))
	require.Equal(t, before, after, "its row was not locked")
}

// TestASequenceThatFellBehindIsNoticed sets up the state after a switch to a logical replica.
func TestASequenceThatFellBehindIsNoticed(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps := activities.New(db)
	deposit(t, steps, "u1", 1)
	_, err := db.Exec(t.Context(), `ALTER TABLE wallet_feed ALTER id RESTART`)
	require.NoError(t, err)
	_, err = steps.EnsureWalletAsset(t.Context(), wallet.AssetRef{UserID: "u2", Currency: "USD"})
	require.ErrorContains(t, err, "wallet_feed_order", "rather than an event that no consumer ever sees")
}
