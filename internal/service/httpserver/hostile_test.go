package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// raw sends bytes on a connection of its own, and returns the answer to them.
func raw(address, sent string) (*http.Response, string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(conn, sent); err != nil {
		return nil, "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

// connections is how many are open at once beside a good client.
const connections = 5000

// TestAGoodClientIsAnsweredBesideThousandsOfConnections opens those that say nothing, that do not
// end their headers or their body, and that stay after an answer.
func TestAGoodClientIsAnsweredBesideThousandsOfConnections(t *testing.T) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)) // Go has raised it to the most that is allowed
	if limit.Cur < 2*connections+1000 {
		t.Skipf("only %d files may be open: both ends of %d connections need more (ulimit -n)", limit.Cur, connections)
	}
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	address, _, _ := w.listen()
	token, _ := allTokens.Load(w)
	head := "POST " + u1 + "/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
	kinds := []struct{ sent, status string }{
		{"", ""},
		{head, ""},
		{head + token.(string) + "\r\nContent-Length: 1000000\r\n\r\n{", ""},
		{"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	}
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		for _, conn := range open {
			conn.Close()
		}
	})
	var group errgroup.Group
	group.SetLimit(100)
	for n := range connections {
		group.Go(func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			kind := kinds[n%len(kinds)]
			if _, err := io.WriteString(conn, kind.sent); err != nil {
				return err
			}
			if kind.status == "" {
				return nil
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil && !strings.Contains(line, kind.status) {
				err = errors.New(line)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, open, connections)
	for range 20 {
		answer := w.get("/v1/totals")
		require.Equal(t, http.StatusOK, answer.StatusCode, answer.body)
	}
	pending := w.post(u1+"/commands", add1, "Prefer: wait=1")
	require.Equal(t, http.StatusAccepted, pending.StatusCode, "there is no worker: %s", pending.body)
}

func TestRequestsThatTwoServersCouldReadDifferentlyAreRefused(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	address, _, _ := w.listen()
	token, _ := allTokens.Load(w)
	const body = `{"type":"create"}`
	headers := "Authorization: Bearer " + token.(string) + "\r\nContent-Type: application/json\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	post := func(more string) string {
		return "POST " + u1 + "/commands HTTP/1.1\r\nHost: x\r\n" + headers + more + "\r\n" + body
	}
	for name, sent := range map[string]string{
		"a line break in the key":     post(length + "Idempotency-Key: a\rX-Injected: 1\r\n"),
		"a NUL in the key":            post(length + "Idempotency-Key: a\x00b\r\n"),
		"a key on two lines":          post(length + "Idempotency-Key: a\r\n\tb\r\nIdempotency-Key: c\r\n"),
		"two keys":                    post(length + "Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
		"an escape that breaks lines": post(length + "Idempotency-Key: a\x1b[2K\r\n"),
		"a key of bytes":              post(length + "Idempotency-Key: \xff\xfe\r\n"),
		"129 characters":              post(length + "Idempotency-Key: " + strings.Repeat("ü", 129) + "\r\n"),
		"two lengths":                 post(length + "Content-Length: 1\r\nIdempotency-Key: a\r\n"),
		"a negative length":           post("Content-Length: -1\r\nIdempotency-Key: a\r\n"),
		"an unknown encoding":         post("Transfer-Encoding: gzip\r\nIdempotency-Key: a\r\n"),
		"chunked twice":               post("Transfer-Encoding: chunked, chunked\r\nIdempotency-Key: a\r\n"),
		"compressed":                  post(length + "Content-Encoding: gzip\r\nIdempotency-Key: a\r\n"),
		"a space before the colon":    post(length + "Idempotency-Key : a\r\n"),
		"two tokens":                  post(length + "Authorization: Bearer x\r\nIdempotency-Key: a\r\n"),
		"no host":                     "GET " + u1 + "/balance HTTP/1.1\r\n" + headers + "\r\n",
		"two hosts":                   "GET " + u1 + "/balance HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + headers + "\r\n",
		"a space in the path":         "GET " + u1 + "/bal ance HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n",
		"a tunnel":                    "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n" + headers + "\r\n",
		"HTTP/2 without TLS":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"no HTTP":                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	} {
		answer, said, err := raw(address, sent)
		require.NoError(t, err, name)
		require.GreaterOrEqual(t, answer.StatusCode, 400, "%s: %s", name, said)
		require.Less(t, answer.StatusCode, 600, name)
		require.Empty(t, answer.Header.Get("X-Injected"), name)
	}
	answer, said, err := raw(address, "POST "+u1+"/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode, "10 MB of a stranger are not waited for: %s", said)
}

// TestNoSpellingOfAPathGoesAroundTheToken sends paths without one.
func TestNoSpellingOfAPathGoesAroundTheToken(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	address, _, _ := w.listen()
	for _, path := range []string{
		"/v1/totals", "/v1/totals/", "//v1/totals", "/v1//totals", "/./v1/totals", "/x/../v1/totals", "/v1/../v1/totals", "/%761/totals", "/v1/%74otals", "/v%31/totals",
		"/v1%2Ftotals", "/%2Fv1/totals", "/v1%2f..%2fv1/totals", "/V1/totals", "/v1;/totals", "/v1/totals;x", "/v1/totals%00", "/v1/totals%0d%0aX-Injected:1", "/openapi.json/../v1/totals",
		"/openapi.json%2F..%2Fv1%2Ftotals", "/v1/totals?x", "/v1/totals#", "http://x/v1/totals", "http://x//v1/totals", "/v1\\totals", "/\\v1/totals", "/v1/tota\u017f", "/\uff561/totals",
	} {
		answer, said, err := raw(address, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err, path)
		require.GreaterOrEqual(t, answer.StatusCode, 400, "%s: %s", path, said)
		require.Empty(t, answer.Header.Get("X-Injected"), path)
	}
}

// TestAnIDIsNoPartOfTheAnswersHeaders has ids with what a header, a path or a log would read as
// something else.
func TestAnIDIsNoPartOfTheAnswersHeaders(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	for _, id := range []string{`ü "x", y; z`, "a/../b", "?x=1#y", "%0d%0aX-Injected: 1", "\u202egnp.exe", strings.Repeat("ü", 128)} {
		pending := w.post(u1+"/commands", fmt.Sprintf(`{"id":%q,"type":"create"}`, id), "Prefer: wait=1")
		require.Equal(t, http.StatusAccepted, pending.StatusCode, pending.body)
		location := pending.Header.Get("Location")
		require.NotContains(t, strings.Trim(location, " "), " ")
		require.False(t, strings.ContainsFunc(location, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }), location)
		require.Equal(t, url.PathEscape(id), strings.TrimPrefix(location, u1+"/commands/"))
		require.Empty(t, pending.Header.Get("X-Injected"))
		require.Contains(t, w.get(location).body, "the journal has no command", "it leads to the id")
	}
	for _, id := range []string{"a\r\nX-Injected: 1", "a\nb", "a\x00b", "a\u0085b"} {
		refused := w.post(u1+"/commands", fmt.Sprintf(`{"id":"%s","type":"create"}`, strings.NewReplacer("\r", `\r`, "\n", `\n`, "\x00", `\u0000`).Replace(id)))
		require.Equal(t, http.StatusBadRequest, refused.StatusCode, refused.body)
		require.Empty(t, refused.Header.Get("X-Injected"))
	}
}

func TestTraceHeadersOfStrangersChangeNothing(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	stop, err := telemetry.StartTraces(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop(context.Background())) })
	metrics, err := telemetry.NewMetrics()
	require.NoError(t, err)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) { o.Wrap = metrics.HTTP })
	for _, headers := range [][]string{
		{"traceparent: 00-zz-zz-zz"},
		{"traceparent: 00-00000000000000000000000000000000-0000000000000000-ff"},
		{"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: " + strings.Repeat("a=b,", 5000) + "a=b"},
		{"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"baggage: " + strings.Repeat("user=root,", 2000)},
	} {
		answer := w.do(http.MethodGet, "/v1/totals", "", headers...)
		require.Equal(t, http.StatusOK, answer.StatusCode, answer.body)
		for name := range answer.Header {
			require.NotContains(t, strings.ToLower(name), "trace")
		}
	}
}
