package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"

	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// link is the way to a server, which can be cut.
type link struct {
	mu   sync.Mutex
	gone bool
	open []net.Conn
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		l.open = append(l.open, c)
	}
	return c, err
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = false
}

// linked is a pool of connections through a link.
func linked(t *testing.T, l *link) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(testenv.AppURL(t, testenv.DatabaseURL(t)))
	require.NoError(t, err)
	config.ConnConfig.DialFunc = l.dial
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

const add1 = `{"id":"order-1","type":"add","amount":"1"}`

// appliedOnce sends add1 until it is answered.
func (w *world) appliedOnce() {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.post(u1+"/commands", add1).StatusCode == http.StatusOK }, time.Minute, 100*time.Millisecond)
	var n int
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), `SELECT count(*) FROM wallet_commands WHERE command_id = 'order-1'`).Scan(&n))
	require.Equal(w.t, 1, n)
}

func TestWithoutAnAnswerInTimeACommandIsPending(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	pending := w.post(u1+"/commands", add1, "Prefer: wait=1")
	require.Equal(t, http.StatusAccepted, pending.StatusCode, pending.body)
	require.Equal(t, u1+"/commands/order-1", pending.Header.Get("Location"))
	require.NotEmpty(t, pending.Header.Get("Retry-After"))
	require.Equal(t, "pending", pending.json(t)["status"])
	transfer := w.post("/v1/transfers", `{"id":"t/1","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"1"}`, "Prefer: wait=1")
	require.Equal(t, http.StatusAccepted, transfer.StatusCode, transfer.body)
	require.Equal(t, "/v1/transactions/t%2F1", transfer.Header.Get("Location"))
	require.Equal(t, http.StatusNotFound, w.get(pending.Header.Get("Location")).StatusCode)
	w.startWorker()
	w.appliedOnce()
	require.Equal(t, http.StatusOK, w.get(pending.Header.Get("Location")).StatusCode)
}

func TestWhilePostgresIsAwayTheAnswerIs503(t *testing.T) {
	var l link
	w := newIdleWorld(t, linked(t, &l), func(o *httpserver.Options) { o.AnswerTimeout = 3 * time.Second })
	w.startWorker()
	l.cut()
	for name, answer := range map[string]reply{"command": w.post(u1+"/commands", add1), "read": w.get(u1 + "/balance")} {
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode, "%s: %s", name, answer.body)
		require.NotEmpty(t, answer.Header.Get("Retry-After"), name)
		require.Equal(t, "unavailable", answer.json(t)["kind"], name)
		require.NotContains(t, answer.body, "127.0.0.1", name)
	}
	l.mend()
	w.appliedOnce()
}

func TestWhileTemporalIsAwayTheAnswerIs503(t *testing.T) {
	var l link
	temporal, err := client.Dial(client.Options{HostPort: testenv.TemporalAddress(t), ConnectionOptions: client.ConnectionOptions{
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return l.dial(ctx, "tcp", address) })},
	}})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	var queue string
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		queue = testenv.Unique(t, "away")
		o.Wallets, err = starter.New(temporal, starter.Options{TaskQueue: queue, Lanes: 1})
		require.NoError(t, err)
		o.Checks, o.AnswerTimeout = checksOf(t, o.Pool, temporal), 3*time.Second
	})
	w.queue = queue
	w.startWorker()
	l.cut()
	answer := w.post(u1+"/commands", add1)
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode, answer.body)
	require.NotEmpty(t, answer.Header.Get("Retry-After"))
	require.NotContains(t, answer.body, "127.0.0.1")
	require.Equal(t, http.StatusNotFound, w.get(u1+"/commands/order-1").StatusCode, "reads need Postgres only")
	l.mend()
	w.appliedOnce()
}

// busy takes all connections of the pool, until release.
func (w *world) busy() (release func()) {
	var taken []*pgxpool.Conn
	for range w.pool.Config().MaxConns {
		c, err := w.pool.Acquire(w.t.Context())
		require.NoError(w.t, err)
		taken = append(taken, c)
	}
	release = sync.OnceFunc(func() {
		for _, c := range taken {
			c.Release()
		}
	})
	w.t.Cleanup(release)
	return release
}

func TestABusyPoolDoesNotMeanThatPostgresIsAway(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	w.busy()
	answer := w.post(u1+"/commands", add1, "Prefer: wait=1")
	require.Equal(t, http.StatusAccepted, answer.StatusCode, answer.body)
}

// TestTheTimeForABodyDoesNotEndTheAnswer has that time end while a read waits for a connection.
func TestTheTimeForABodyDoesNotEndTheAnswer(t *testing.T) {
	const forBody = 2 * time.Second
	requests := make(chan context.Context, 1)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		o.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(forBody))
				requests <- r.Context()
				h.ServeHTTP(w, r)
			})
		}
	})
	release := w.busy()
	answered := make(chan reply, 1)
	go func() { answered <- w.get("/v1/wallets/u1") }()
	request := <-requests
	time.Sleep(forBody + time.Second)
	require.NoError(t, request.Err())
	release()
	answer := <-answered
	require.Equal(t, http.StatusOK, answer.StatusCode, answer.body)
}

func TestACallerWhoLeavesIsNoFailure(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	arrived, done := make(chan struct{}), make(chan struct{})
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		o.Logger = zap.New(core)
		o.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				close(arrived)
				h.ServeHTTP(w, r)
			})
		}
	})
	w.busy()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/wallets/u1", nil)
	require.NoError(t, err)
	token, _ := allTokens.Load(w)
	r.Header.Set("Authorization", "Bearer "+token.(string))
	go func() { <-arrived; leave() }()
	_, err = http.DefaultClient.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	<-done
	require.Empty(t, logs.All())
}

// listen serves as "wallet serve" does. stop asks it to end, ended says that it has.
func (w *world) listen() (address string, stop func(), ended chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := w.server.Listen("127.0.0.1:0")
	require.NoError(w.t, err)
	ended = make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx, listener, nil); close(ended) }()
	w.t.Cleanup(func() { cancel(); <-ended })
	w.url = "http://" + listener.Addr().String()
	return listener.Addr().String(), cancel, ended
}

func TestAStopLetsRequestsFinish(t *testing.T) {
	arrived := make(chan struct{}, 1)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		o.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; h.ServeHTTP(w, r) })
		}
	})
	address, stop, ended := w.listen()
	go func() { <-arrived; stop() }()
	answer := w.post(u1+"/commands", add1, "Prefer: wait=2")
	require.Equal(t, http.StatusAccepted, answer.StatusCode, "it was not cut off: %s", answer.body)
	require.NoError(t, <-ended)
	_, err := net.Dial("tcp", address)
	require.Error(t, err)
}

func TestSlowAndLargeRequestsAreCutOff(t *testing.T) {
	httpserver.SetBodyTimeout(t, time.Second)
	metrics, err := telemetry.NewMetrics()
	require.NoError(t, err)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		o.Wrap = func(h http.Handler) http.Handler { return metrics.HTTP(h) }
	})
	address, _, _ := w.listen()
	token, _ := allTokens.Load(w)
	start := fmt.Sprintf("POST %s/commands HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n", u1, token)
	status := func(sent string) (int, error) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			return 0, err
		}
		if _, err := io.WriteString(c, sent); err != nil {
			return 0, err
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	var group sync.WaitGroup
	check := func(name, sent string, want int, end error) {
		group.Go(func() {
			got, err := status(sent)
			if got != want || !errors.Is(err, end) {
				t.Errorf("%s: %d, %v", name, got, err)
			}
		})
	}
	check("headers that do not end", start, 0, io.ErrUnexpectedEOF)
	check("a body that does not end", start+"Content-Length: 100\r\n\r\n{", http.StatusRequestTimeout, nil)
	check("64 KB of headers", start+"X-Large: "+strings.Repeat("a", 64<<10)+"\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge, nil)
	group.Wait()
}
