package feed_test

import (
	"bytes"
	"context"
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

// consumeForever writes each event to a file, which may get it again, and to a table in the
// transaction, which must not.
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

// TestAKilledConsumerSeesEachEventInOrder runs 8 writers on 4 wallets, with random delays
// before commits and some ids rolled back, and two consumers with the same name that are killed
// over and over.
func TestAKilledConsumerSeesEachEventInOrder(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	_, err := db.Exec(t.Context(), `
		CREATE TABLE sink (id bigint GENERATED ALWAYS AS IDENTITY, user_id text, version bigint, PRIMARY KEY (user_id, version));
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

	path := filepath.Join(t.TempDir(), "log")
	var consumers [2]*exec.Cmd
	start := func(i int) {
		consumers[i] = exec.Command(os.Args[0])
		consumers[i].Env = append(os.Environ(), envConsumer+"="+url, envLog+"="+path)
		consumers[i].Stderr = os.Stderr
		require.NoError(t, consumers[i].Start())
	}
	kill := func(i int) {
		require.NoError(t, consumers[i].Process.Kill())
		_ = consumers[i].Wait() // "signal: killed"
	}
	start(0)
	start(1)
	kills := 0
	for writing := true; writing; kills++ {
		select {
		case <-written:
			writing = false
		case <-time.After(time.Duration(50+rand.IntN(150)) * time.Millisecond):
		}
		i := rand.IntN(2)
		kill(i)
		start(i)
	}
	total := 0
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM wallet_asset_events`).Scan(&total))
	require.Eventually(t, func() bool {
		seen := 0
		require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM sink`).Scan(&seen))
		return seen == total
	}, 4*time.Minute, 20*time.Millisecond, "events were passed over")
	kill(0)
	kill(1)

	// In the file: at least once, and never ahead of an event that was not delivered yet.
	text, err := os.ReadFile(path)
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
	// In the table: exactly once, in order.
	var disorder int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM (
		SELECT version, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM sink) AS s WHERE version <> n`).Scan(&disorder))
	require.Zero(t, disorder)
	t.Logf("%d events, %d kills, %d handed out again", total, kills, len(lines)-total)
}
