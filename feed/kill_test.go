package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// The test binary acts as the consumer if these are set.
const (
	envConsumer = "FEED_TEST_CONSUMER" // database URL
	envLog      = "FEED_TEST_LOG"      // file to which it appends what it gets
)

func TestMain(m *testing.M) {
	if url := os.Getenv(envConsumer); url != "" {
		consumeForever(url, os.Getenv(envLog))
	}
	testenv.Main(m)
}

// consumeForever writes each event to a file, which may see it again, and to a table
// through the transaction, which may not. It fails for those in the table poison.
func consumeForever(url, path string) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	db, err := pgxpool.New(context.Background(), url)
	check(err)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(err)
	check(feed.Consume(context.Background(), db, feed.Options{Name: "killed", BatchSize: 100}, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
		var lines bytes.Buffer
		for _, e := range events {
			var bad bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM poison WHERE user_id = $1 AND version = $2)`, e.UserID, e.Version).Scan(&bad); err != nil || bad {
				return errors.Join(err, errors.New("bad"))
			}
			fmt.Fprintf(&lines, "%s %d\n", e.UserID, e.Version)
			if _, err := tx.Exec(ctx, `INSERT INTO sink (user_id, version) VALUES ($1, $2)`, e.UserID, e.Version); err != nil {
				return err
			}
		}
		_, err := log.Write(lines.Bytes())
		if rand.IntN(8) == 0 { // time for a kill before the commit; seldom, because a consumer that lags behind sees no gaps
			time.Sleep(50 * time.Millisecond)
		}
		return err
	}))
}

const createSink = `
	CREATE TABLE sink (id bigint GENERATED ALWAYS AS IDENTITY, user_id text, version bigint, PRIMARY KEY (user_id, version));
	CREATE TABLE poison (user_id text, version bigint, PRIMARY KEY (user_id, version));`

// victims are two processes that consume under one name, to be killed again and again.
type victims struct {
	t         *testing.T
	url, path string
	consumers [2]*exec.Cmd
}

func startVictims(t *testing.T, url string) *victims {
	v := &victims{t: t, url: url, path: filepath.Join(t.TempDir(), "log")}
	v.start(0)
	v.start(1)
	return v
}

func (v *victims) start(i int) {
	v.consumers[i] = exec.Command(os.Args[0])
	v.consumers[i].Env = append(os.Environ(), envConsumer+"="+v.url, envLog+"="+v.path)
	v.consumers[i].Stderr = os.Stderr
	require.NoError(v.t, v.consumers[i].Start())
}

func (v *victims) kill(i int) {
	require.NoError(v.t, v.consumers[i].Process.Kill())
	_ = v.consumers[i].Wait() // "signal: killed"
}

// killUntil kills one or the other, and starts it again, with pauses of at most so long.
func (v *victims) killUntil(done <-chan struct{}, most time.Duration) (kills int) {
	for ; ; kills++ {
		select {
		case <-done:
			return kills
		case <-time.After(most/4 + rand.N(most*3/4)):
		}
		i := rand.IntN(2)
		v.kill(i)
		v.start(i)
	}
}

// end kills both, and checks that each of total events came: at least once, never ahead of
// one that had not been seen, and exactly once and in order through the transaction.
func (v *victims) end(db *pgxpool.Pool, total int) (handedOut int) {
	v.kill(0)
	v.kill(1)
	t := v.t
	text, err := os.ReadFile(v.path)
	require.NoError(t, err)
	newest, lines := map[string]int{}, strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		var user string
		var version int
		_, err := fmt.Sscanf(line, "%s %d", &user, &version)
		require.NoError(t, err)
		require.LessOrEqual(t, version, newest[user]+1, "an event of %s was passed over", user)
		newest[user] = max(newest[user], version)
	}
	sum := 0
	for _, n := range newest {
		sum += n
	}
	require.Equal(t, total, sum)
	var disorder int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM (
		SELECT version, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM sink) AS s WHERE version <> n`).Scan(&disorder))
	require.Zero(t, disorder)
	return len(lines)
}

func countOf(t *testing.T, db *pgxpool.Pool, from string) (n int) {
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM `+from).Scan(&n))
	return n
}

// TestAKilledConsumerSeesEachEventInOrder runs 8 writers on 4 wallets, with commits
// that are delayed at random and ids that are rolled back, and two consumers of one
// name that are killed again and again.
func TestAKilledConsumerSeesEachEventInOrder(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	_, err := db.Exec(t.Context(), createSink+`
		CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END';
		CREATE TRIGGER linger AFTER INSERT ON wallet_feed FOR EACH ROW EXECUTE FUNCTION linger()`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)

	steps := activities.New(db)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for range 40 {
				deposit(t, steps, fmt.Sprint("u", w%4), 1+rand.IntN(5))
				if rand.IntN(5) == 0 { // an id that never comes
					tx, err := db.Begin(context.Background())
					require.NoError(t, err)
					_, err = tx.Exec(context.Background(), `INSERT INTO wallet_feed (user_id, currency, first_version, last_version) VALUES ('none', 'USD', 1, 1)`)
					require.NoError(t, err)
					require.NoError(t, tx.Rollback(context.Background()))
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()

	v := startVictims(t, url)
	kills := v.killUntil(written, 200*time.Millisecond)
	total := countOf(t, db, "wallet_asset_events")
	require.Eventually(t, func() bool { return countOf(t, db, "sink") == total }, 4*time.Minute, 20*time.Millisecond, "events were passed over")
	again := v.end(db, total) - total
	t.Logf("%d events, %d kills, %d handed out again", total, kills, again)
}

// TestAKilledConsumerLosesNothingThatWaits has poison events come and go, while wallets are
// written to and two consumers of one name are killed again and again.
func TestAKilledConsumerLosesNothingThatWaits(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	_, err := db.Exec(t.Context(), createSink, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	steps := activities.New(db)
	for w := range 8 {
		deposit(t, steps, fmt.Sprint("u", w), 1)
	}
	v := startVictims(t, url)
	require.Eventually(t, func() bool { return countOf(t, db, "wallet_feed_consumers") == 1 }, time.Minute, time.Millisecond)
	written := make(chan struct{})
	setAside := map[string]bool{}
	go func() {
		defer close(written)
		for round := range 120 {
			_, err := db.Exec(context.Background(), `INSERT INTO poison SELECT user_id, version + $1 FROM wallet_assets WHERE user_id IN ('u1', 'u2') ON CONFLICT DO NOTHING`, 1+rand.IntN(3))
			require.NoError(t, err)
			for w := range 8 {
				deposit(t, steps, fmt.Sprint("u", w), 1+rand.IntN(3))
			}
			time.Sleep(100 * time.Millisecond)
			for user, every := range map[string]int{"u1": 3, "u2": 10} { // mended now and then
				if round%every == 0 {
					_, err = db.Exec(context.Background(), `DELETE FROM poison WHERE user_id = $1`, user)
					require.NoError(t, err)
				}
			}
			_, err = feed.Retry(context.Background(), db, "killed", "", "")
			require.NoError(t, err)
			for _, w := range waitingFor(t, db, "killed") {
				setAside[w.EventID] = true
			}
		}
	}()
	kills := v.killUntil(written, time.Second) // long enough to fail twice
	require.Greater(t, len(setAside), 3, "poison stopped wallets")
	_, err = db.Exec(t.Context(), `DELETE FROM poison`)
	require.NoError(t, err)
	_, err = feed.Retry(t.Context(), db, "killed", "", "")
	require.NoError(t, err)
	total := countOf(t, db, "wallet_asset_events")
	require.Eventually(t, func() bool { return countOf(t, db, "sink") == total && countOf(t, db, "wallet_feed_parked") == 0 }, 4*time.Minute, 20*time.Millisecond, "events were lost")
	again := v.end(db, total) - total
	t.Logf("%d events, %d kills, %d events set aside, %d handed out again", total, kills, len(setAside), again)
}

func waitingFor(t *testing.T, db *pgxpool.Pool, consumer string) []feed.Waiting {
	list, err := feed.ListWaiting(context.Background(), db, consumer)
	require.NoError(t, err)
	return list
}
