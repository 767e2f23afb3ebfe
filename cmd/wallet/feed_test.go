package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/doctest"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestTheFeedPageIsTrue runs the commands of docs/feed.md. "go test ./cmd/wallet -run
// FeedPage -update" writes the outputs anew.
func TestTheFeedPageIsTrue(t *testing.T) {
	c := newBadConsumer(t)
	doctest.Check(t, doctest.Page{
		Path: docsPath("feed.md"), Dir: t.TempDir(), Env: withPrograms(c.env), Volatile: true,
		Names: [][2]string{{"USD/u2/2-9f86d081884c7d65", c.eventID("u2", 2)}, {"USD/u3/2-3fc4ccfe745870e2", c.eventID("u3", 2)}},
		SQL:   func(statements string) { testenv.Exec(t, c.url, statements) },
		Steps: map[string]func(){
			"u2 and u3 are parked": func() {
				c.start()
				c.eventually(2, `SELECT count(*) FROM wallet_feed_parked`)
				c.eventually(2, `WITH now AS (UPDATE wallet_feed_parked SET retry_at = clock_timestamp()) SELECT count(*) FROM wallet_feed_parked WHERE parked`)
				c.stop()
				testenv.Exec(t, c.url, `UPDATE wallet_feed_parked SET failures = 10`) // one may have been tried once more
			},
			"the handler is mended for u2": func() {
				delete(c.bad, "USD/u2/2")
				c.start()
				c.eventually(1, `SELECT count(*) FROM wallet_feed_parked`)
				c.stop()
			},
			"the consumer has caught up": func() {
				c.start()
				c.eventually(0, `SELECT count(*) FROM wallet_feed_parked`)
				c.stop()
			},
		},
	})
	require.Equal(t, []string{"USD/u2/2", "USD/u2/3", "USD/u3/3"}, c.handled[len(c.handled)-3:])
}

// TestFeedMendsNothingWithoutTheRight has the service's role, an unknown consumer and
// commands that lack something.
func TestFeedMendsNothingWithoutTheRight(t *testing.T) {
	c := newBadConsumer(t)
	c.start()
	c.eventually(2, `SELECT count(*) FROM wallet_feed_parked`)
	c.stop()
	reader := c.with("WALLET_OWNER_DATABASE_URL=")
	for _, row := range []struct {
		shell shell
		args  []string
		named string
	}{
		{reader, []string{"feed", "retry", "subscriptions"}, "it belongs to the role"},
		{reader, []string{"feed", "skip", "subscriptions", c.eventID("u2", 2), "--actor", "ann", "--reason", "x"}, "it belongs to the role"},
		{c.shell, []string{"feed", "retry", "nobody"}, `there is no consumer "nobody"`},
		{c.shell, []string{"feed", "list", "nobody"}, `there is no consumer "nobody"`},
		{c.shell, []string{"feed", "skip", "subscriptions", "USD/u2/2"}, `required flag(s) "actor", "reason" not set`},
		{c.shell, []string{"feed", "skip", "subscriptions", "u2", "--actor", "ann", "--reason", "x"}, `"u2" is no event: use its id`},
		{c.shell, []string{"feed", "skpi"}, `unknown command "skpi" for "wallet feed"`},
	} {
		_, errs, code := row.shell.run(row.args...)
		require.NotZero(t, code, row.args)
		require.Contains(t, errs, row.named, row.args)
	}
	out, errs, code := c.run("feed", "list", "subscriptions", "-o", "json")
	require.Zero(t, code, errs)
	require.Contains(t, out, `"event_id":"`+c.eventID("u2", 2)+`"`)
}

// badConsumer fails for the second events of u2 and u3, and not for those of u1.
type badConsumer struct {
	shell
	url     string
	bad     map[string]bool // by place
	handled []string
	stop    func()
}

func newBadConsumer(t *testing.T) *badConsumer {
	c := &badConsumer{url: testenv.DatabaseURL(t), bad: map[string]bool{"USD/u2/2": true, "USD/u3/2": true}}
	c.shell = newShell(t, c.url)
	steps := activities.New(testenv.Pool(t, c.url))
	for _, user := range []string{"u1", "u2", "u3"} {
		ref := wallet.AssetRef{UserID: user, Currency: "USD"}
		input := wallet.ApplyCommandsInput{AssetRef: ref}
		for i := range 2 {
			input.Commands = append(input.Commands, wallet.Received{Command: wallet.Command{ID: fmt.Sprint("order-", i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}})
		}
		_, err := steps.ApplyCommands(t.Context(), input)
		require.NoError(t, err)
		_, err = steps.RecordEvents(t.Context(), ref)
		require.NoError(t, err)
	}
	return c
}

// eventPlace is an event's id without its hash.
func eventPlace(e feed.Event) string {
	place, _, _ := strings.Cut(e.ID, "-")
	return place
}

func (c *badConsumer) eventID(userID string, version int64) string {
	var hash string
	require.NoError(c.t, testenv.Pool(c.t, c.url).QueryRow(c.t.Context(),
		`SELECT left(encode(hash, 'hex'), 16) FROM wallet_commands WHERE user_id = $1 AND currency = 'USD' AND version = $2`, userID, version).Scan(&hash))
	return fmt.Sprintf("USD/%s/%d-%s", userID, version, hash)
}

func (c *badConsumer) start() {
	ctx, cancel := context.WithCancel(c.t.Context())
	o := feed.Options{Name: "subscriptions", PollInterval: 20 * time.Millisecond, OnError: func(error) {}}
	var running sync.WaitGroup
	running.Go(func() {
		err := feed.Consume(ctx, testenv.Pool(c.t, c.url), o, func(_ context.Context, _ pgx.Tx, events []feed.Event) error {
			for _, e := range events {
				if c.bad[eventPlace(e)] {
					return errors.New("no such plan")
				}
			}
			for _, e := range events {
				c.handled = append(c.handled, eventPlace(e))
			}
			return nil
		})
		if err != nil {
			c.t.Error(err)
		}
	})
	c.stop = func() { cancel(); running.Wait() }
}

func (c *badConsumer) eventually(n int, sql string) {
	db := testenv.Pool(c.t, c.url)
	require.Eventually(c.t, func() bool {
		var got int
		require.NoError(c.t, db.QueryRow(c.t.Context(), sql).Scan(&got))
		return got == n
	}, time.Minute, 10*time.Millisecond)
}
