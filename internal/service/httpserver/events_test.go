package httpserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// sent is a server-sent event.
type sent struct {
	id, command string
}

// open opens a stream. got has its events, and is closed when it ends.
func (w *world) open(token, path string, headers ...string) (got <-chan sent, comments <-chan struct{}, leave func()) {
	ctx, leave := context.WithCancel(w.t.Context())
	w.t.Cleanup(leave)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	require.Equal(w.t, 200, answer.StatusCode)
	require.Equal(w.t, "text/event-stream", answer.Header.Get("Content-Type"))
	events, beats := make(chan sent, 10_000), make(chan struct{}, 10_000)
	go func() {
		defer answer.Body.Close()
		defer close(events)
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		var e sent
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case ":":
				beats <- struct{}{}
			case "id":
				e.id = value
			case "data":
				var event struct {
					Command string `json:"command_id"`
				}
				if err := json.Unmarshal([]byte(value), &event); err != nil {
					w.t.Error(err)
				}
				e.command = event.Command
				events <- e
			}
		}
	}()
	return events, beats, leave
}

// next is the next event of a stream; the zero one if it has ended.
func next(t *testing.T, got <-chan sent) sent {
	t.Helper()
	select {
	case e := <-got:
		return e
	case <-time.After(30 * time.Second):
		require.Fail(t, "no event came")
		return sent{}
	}
}

func (w *world) add(user, id string) {
	answer := w.post("/v1/wallets/"+user+"/USD/commands", `{"id":"`+id+`","type":"add","amount":"1"}`)
	require.Equal(w.t, 200, answer.StatusCode, answer.body)
}

func TestTheFeedIsReadInPages(t *testing.T) {
	w := newWorld(t)
	a, b := testenv.Unique(t, "feed"), testenv.Unique(t, "feed")
	w.deposits(a, 3, "")
	w.deposits(b, 2, "")
	bound := w.as("b", b, access.Read)
	var all, own []string
	for token, list := range map[string]*[]string{w.all(): &all, bound: &own} {
		for after := "0"; ; {
			page := w.doAs(token, http.MethodGet, "/v1/events?limit=2&after="+after, "").json(t)
			for _, item := range page["items"].([]any) {
				*list = append(*list, item.(map[string]any)["event_id"].(string))
			}
			if page["next"] == after {
				break
			}
			after = page["next"].(string)
		}
	}
	require.Len(t, all, 4+3)
	require.Len(t, own, 3)
	for _, id := range own {
		require.True(t, strings.HasPrefix(id, "USD/"+b+"/"), id)
	}
	for _, after := range []string{"x", "-1", "1-", "99999999999999999999-1"} {
		require.Equal(t, 400, w.get("/v1/events?after="+after).StatusCode, after)
	}
}

func TestAStreamGoesOnAfterTheLastEvent(t *testing.T) {
	w := newWorld(t)
	a, b := testenv.Unique(t, "stream"), testenv.Unique(t, "stream")
	w.add(a, "a1")
	all, _, leave := w.open(w.all(), "/v1/events/stream?after=0")
	bound, _, _ := w.open(w.as("b", b, access.Read), "/v1/events/stream?after=0")
	wallet, _, _ := w.open(w.all(), "/v1/wallets/"+a+"/USD/events/stream?after=1")
	fromNow, _, _ := w.open(w.all(), "/v1/wallets/"+a+"/USD/events/stream")
	require.Equal(t, "_auto-create", next(t, all).command)
	last := next(t, all)
	require.Equal(t, "a1", last.command)
	require.Equal(t, sent{"2", "a1"}, next(t, wallet))
	w.add(b, "b1")
	w.add(a, "a2")
	require.Equal(t, "_auto-create", next(t, bound).command)
	require.Equal(t, "b1", next(t, bound).command)
	require.Equal(t, sent{"3", "a2"}, next(t, wallet))
	require.Equal(t, sent{"3", "a2"}, next(t, fromNow))
	leave()
	again, _, _ := w.open(w.all(), "/v1/events/stream?after=0", "Last-Event-ID: "+last.id)
	var seen []string
	for range 3 {
		seen = append(seen, next(t, again).command)
	}
	require.ElementsMatch(t, []string{"_auto-create", "b1", "a2"}, seen)
	walletAgain, _, _ := w.open(w.all(), "/v1/wallets/"+a+"/USD/events/stream", "Last-Event-ID: 2")
	require.Equal(t, sent{"3", "a2"}, next(t, walletAgain))
	require.Equal(t, 400, w.do(http.MethodGet, "/v1/events/stream", "", "Last-Event-ID: x").StatusCode)
	require.Equal(t, 400, w.get("/v1/wallets/"+a+"/USD/events/stream?after=x").StatusCode)
	require.Equal(t, 403, w.doAs(w.as("c", b, access.Read), http.MethodGet, "/v1/wallets/"+a+"/USD/events/stream", "").StatusCode)
}

// TestAStreamThatFallsBehindMissesNothing has more events than are kept in memory, in several batches.
func TestAStreamThatFallsBehindMissesNothing(t *testing.T) {
	w := newWorld(t)
	user := testenv.Unique(t, "stream")
	first, _, _ := w.open(w.all(), "/v1/events/stream")
	wallet, _, _ := w.open(w.all(), "/v1/wallets/"+user+"/USD/events/stream?after=0")
	const n = 4500
	w.deposits(user, n, "")
	late, _, _ := w.open(w.all(), "/v1/events/stream?after=0")
	for name, got := range map[string]<-chan sent{"from now on": first, "wallet": wallet, "late": late} {
		require.Equal(t, "_auto-create", next(t, got).command, name)
		for i := range n {
			require.Equal(t, fmt.Sprint("d-", i), next(t, got).command, name)
		}
	}
}

// TestSlowReadersHoldNoConnections has more streams that nobody reads than connections to Postgres.
func TestSlowReadersHoldNoConnections(t *testing.T) {
	w := newWorld(t)
	user := testenv.Unique(t, "stream")
	w.deposits(user, 2000, strings.Repeat("x", 250))
	address, _, _ := w.listen()
	for range 3 * w.pool.Config().MaxConns {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
		_, err = fmt.Fprintf(c, "GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", w.all())
		require.NoError(t, err)
		status, err := bufio.NewReaderSize(c, 16).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, status, "200 OK")
	}
	require.Equal(t, 200, w.get("/v1/wallets/"+user).StatusCode)
	require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, 30*time.Second, 10*time.Millisecond)
}

// TestStreamsThatCatchUpLeaveConnectionsToRequests has their reads last as long as it wants.
func TestStreamsThatCatchUpLeaveConnectionsToRequests(t *testing.T) {
	database := testenv.DatabaseURL(t)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, database)))
	address, _, _ := w.listen()
	_, _, leave := w.open(w.all(), "/v1/events/stream")
	defer leave()
	locked, err := testenv.Pool(t, database).Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, locked.Rollback(context.Background())) }()
	_, err = locked.Exec(t.Context(), `LOCK TABLE wallet_feed, wallet_asset_events IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	for range 2 * w.pool.Config().MaxConns {
		for _, path := range []string{"/v1/events/stream?after=0", u1 + "/events/stream?after=0"} {
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer c.Close()
			_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, w.all())
			require.NoError(t, err)
		}
	}
	require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() >= 3 }, 30*time.Second, 10*time.Millisecond, "the tail and two streams")
	for range 20 {
		require.Equal(t, 200, w.get("/v1/runs").StatusCode)
	}
}

func TestATokenHasFewStreams(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	var leave func()
	for range httpserver.MaxStreamsOfToken {
		_, _, leave = w.open(w.all(), "/v1/events/stream")
	}
	one := func() int { // without reading it to its end
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/events/stream", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+w.all())
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		answer.Body.Close()
		return answer.StatusCode
	}
	require.Equal(t, 429, one())
	require.NotEqual(t, 429, w.doAs(w.as("other", "*", access.Read), http.MethodGet, "/v1/events/stream?after=x", "").StatusCode)
	leave()
	require.Eventually(t, func() bool { return one() == 200 }, 30*time.Second, 10*time.Millisecond)
}

func TestAStreamEndsWithItsTokenAndAtAStop(t *testing.T) {
	httpserver.SetHeartbeat(t, 100*time.Millisecond)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	_, stop, ended := w.listen()
	reader := w.as("reader", "*", access.Read)
	revoked, comments, _ := w.open(reader, "/v1/events/stream")
	kept, _, _ := w.open(w.all(), "/v1/wallets/u1/USD/events/stream")
	select {
	case <-comments:
	case <-time.After(30 * time.Second):
		require.Fail(t, "no heartbeat")
	}
	w.revoke("reader")
	require.Zero(t, next(t, revoked), "the token was revoked")
	stop()
	require.Zero(t, next(t, kept), "the server stops")
	require.NoError(t, <-ended)
}

// TestAnotherSiteSendsNothing covers a page in the browser of somebody who uses the API without tokens.
func TestAnotherSiteSendsNothing(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		var err error
		o.Auth, err = access.New(t.Context(), access.Options{})
		require.NoError(t, err)
	})
	for _, header := range []string{"Origin: https://evil.example.com", "Sec-Fetch-Site: cross-site"} {
		require.Equal(t, 403, w.post("/v1/runs/r/cancel", "", header).StatusCode, header)
	}
	require.Equal(t, 404, w.post("/v1/runs/r/cancel", "", "Origin: "+w.url).StatusCode)
}
