package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// put uploads a file for a run.
func (w *world) put(run, query, file string, headers ...string) reply {
	return w.putAs(w.all(), run, query, file, headers...)
}

func (w *world) putAs(token, run, query, file string, headers ...string) reply {
	return w.doAs(token, http.MethodPut, "/v1/runs/"+run+"/file"+query, file, append([]string{"=Content-Type: text/csv"}, headers...)...)
}

func (w *world) all() string {
	token, _ := allTokens.Load(w)
	return token.(string)
}

// as waits until a new token is known.
func (w *world) as(subject, users string, scopes ...access.Scope) string {
	token := w.token(subject, users, scopes...)
	require.Eventually(w.t, func() bool { return w.doAs(token, http.MethodGet, "/v1/nothing", "").StatusCode == 404 }, 30*time.Second, 100*time.Millisecond)
	return token
}

func (w *world) count(sql string, args ...any) (n int) {
	require.NoError(w.t, w.pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func TestARunIsUploadedAndStarted(t *testing.T) {
	w := newWorld(t)
	id := testenv.Unique(t, "run")
	const file = "user_id,currency,type,amount\nr1,USD,add,5\nr2,USD,add,5\nr1,USD,subtract,9\n"

	checked := w.doAs(w.all(), http.MethodPost, "/v1/runs/check?run_id="+id, file, "=Content-Type: text/csv")
	require.Equal(t, 200, checked.StatusCode, checked.body)
	require.Len(t, checked.json(t)["failures"], 1)
	require.EqualValues(t, 2, checked.json(t)["applied"])
	require.Equal(t, 404, w.get("/v1/runs/"+id).StatusCode)
	require.Equal(t, 404, w.post("/v1/runs/"+id+"/start", "").StatusCode)

	staged := w.put(id, "?file=march.csv", file)
	require.Equal(t, 200, staged.StatusCode, staged.body)
	require.Equal(t, "staged", staged.json(t)["state"])
	require.Equal(t, "march.csv", staged.json(t)["file"])
	require.Equal(t, staged.body, w.put(id, "?file=other-name.csv", file).body, "the same again changes nothing")
	other := w.put(id, "", file+"r3,USD,add,5\n")
	require.Equal(t, 409, other.StatusCode, other.body)
	require.Equal(t, "conflict", other.json(t)["kind"])

	started := w.post("/v1/runs/"+id+"/start?parallel=2", "")
	require.Equal(t, 200, started.StatusCode, started.body)
	var status reply
	require.Eventually(t, func() bool {
		status = w.get("/v1/runs/" + id)
		return status.json(t)["state"] == "done"
	}, time.Minute, 50*time.Millisecond)
	require.EqualValues(t, 2, status.json(t)["applied"])
	require.EqualValues(t, 1, status.json(t)["refused"])
	require.Equal(t, "done", w.post("/v1/runs/"+id+"/start", "").json(t)["state"])
	require.Equal(t, "done", w.put(id, "", file).json(t)["state"])
	for _, change := range []string{"pause", "cancel"} {
		answer := w.post("/v1/runs/"+id+"/"+change, "")
		require.Equal(t, 409, answer.StatusCode, answer.body)
		require.Equal(t, "wrong_state", answer.json(t)["kind"])
		require.Equal(t, `run "`+id+`" is done: there is nothing to stop`, answer.json(t)["detail"])
	}
	failures := w.get("/v1/runs/" + id + "/failures").json(t)
	require.Len(t, failures["items"], 1)
	require.Equal(t, "insufficient_funds", failures["items"].([]any)[0].(map[string]any)["reason"])
	require.Empty(t, w.get("/v1/runs/" + id + "/failures?after=4").json(t)["items"])
	require.Equal(t, 3, w.count(`SELECT count(*) FROM wallet_commands WHERE actor = 'all' AND command_id LIKE '\_run/%'`), "the bearer is the actor of each line")
}

func TestARunIsPausedResumedAndCancelled(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	first, second := testenv.Unique(t, "run"), testenv.Unique(t, "run")
	for _, id := range []string{first, second} {
		require.Equal(t, 200, w.put(id, "", "user_id,currency,type,amount\nr1,USD,add,5\n").StatusCode)
	}
	list := w.get("/v1/runs?limit=1").json(t)
	require.Equal(t, second, list["next"])
	require.Equal(t, first, w.get("/v1/runs?after=" + second).json(t)["items"].([]any)[0].(map[string]any)["run_id"])

	cancelled := w.post("/v1/runs/"+first+"/cancel", "")
	require.Equal(t, "cancelled", cancelled.json(t)["state"], "without a workflow: "+cancelled.body)
	refused := w.post("/v1/runs/"+first+"/start", "")
	require.Equal(t, 409, refused.StatusCode, refused.body)
	require.Equal(t, `run "`+first+`" is cancelled: resume it`, refused.json(t)["detail"])
	require.Equal(t, `run "`+first+`" is already cancelled`, w.post("/v1/runs/"+first+"/cancel", "").json(t)["detail"])
	require.Equal(t, `run "`+second+`" is staged and has no running workflow: resume it first`, w.post("/v1/runs/"+second+"/pause", "").json(t)["detail"])
	w.startWorker()
	resumed := w.post("/v1/runs/"+first+"/resume", "")
	require.Equal(t, 200, resumed.StatusCode, resumed.body)
	require.Eventually(t, func() bool { return w.get("/v1/runs/" + first).json(t)["state"] == "done" }, time.Minute, 50*time.Millisecond)
	require.Equal(t, 404, w.post("/v1/runs/none/resume", "").StatusCode)
}

func TestABadFileStagesNothing(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	const header = "user_id,currency,type,amount,actor\n"
	shop := w.as("shop", "*", access.Write)
	bound := w.as("u1", "u1", access.Read, access.Write, access.Admin)
	require.Equal(t, 403, w.putAs(bound, "r", "", header+"u1,USD,add,1,\n").StatusCode, "a run may be about anybody")
	require.Equal(t, 403, w.doAs(bound, http.MethodPost, "/v1/runs/r/start", "").StatusCode)
	require.Equal(t, 403, w.doAs(bound, http.MethodGet, "/v1/runs", "").StatusCode)

	invalid := w.putAs(shop, "r", "", header+"u1,USD,add,1,\nu1,USD,add,1,boss\nu1,USD,ad,1,\n")
	require.Equal(t, 400, invalid.StatusCode, invalid.body)
	lines := invalid.json(t)["lines"].([]any)
	require.Len(t, lines, 2, "another actor takes the scope admin")
	require.EqualValues(t, 3, lines[0].(map[string]any)["line"])
	for name, row := range map[string]struct {
		file   string
		header string
		status int
	}{
		"no header":     {"u1,USD,add,1\n", "Content-Encoding: identity", 400},
		"only a header": {header, "Content-Encoding: identity", 400},
		"empty":         {"", "Content-Encoding: identity", 400},
		"packed":        {header, "Content-Encoding: gzip", 415},
	} {
		answer := w.putAs(shop, "r", "", row.file, row.header)
		require.Equal(t, row.status, answer.StatusCode, "%s: %s", name, answer.body)
	}
	require.Equal(t, 415, w.doAs(shop, http.MethodPut, "/v1/runs/r/file", header, "=Content-Type: text/plain").StatusCode)
	require.Equal(t, 400, w.putAs(shop, "_r", "", header).StatusCode)
	require.Equal(t, 400, w.putAs(shop, "r", "?file=%00", header).StatusCode)
	httpserver.SetMaxFileBytes(t, 1000)
	large := w.putAs(shop, "r", "", header+strings.Repeat("u1,USD,add,1,\n", 1000))
	require.Equal(t, 413, large.StatusCode, large.body)

	// A caller who leaves half way.
	address, _, _ := w.listen()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	half := header + "u1,USD,add,1,\n"
	_, err = fmt.Fprintf(c, "PUT /v1/runs/r/file HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n%s", shop, len(half)+10, half)
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, 400, answer.StatusCode, string(content))
	c.Close()

	require.Zero(t, w.count(`SELECT count(*) FROM wallet_runs`))
	require.Zero(t, w.count(`SELECT count(*) FROM wallet_run_lines`))
	require.Equal(t, 200, w.putAs(shop, "r", "?skip_invalid=true", header+"u1,USD,add,1,\nu1,USD,add,1,boss\n").StatusCode, "no upload was left open")
	require.Equal(t, 1, w.count(`SELECT count(*) FROM wallet_run_lines WHERE command->>'actor' = 'shop'`))
}

// upload begins a request with a file that does not end.
func (w *world) upload(address, token, method, path string) *net.TCPConn {
	c, err := net.Dial("tcp", address)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: text/csv\r\nContent-Length: 100000\r\n\r\nuser_id,currency,type,amount\n", method, path, token)
	require.NoError(w.t, err)
	return c.(*net.TCPConn)
}

func TestUploadsLeaveRoomForOthers(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	a, b, c := w.as("a", "*", access.Write), w.as("b", "*", access.Write), w.as("c", "*", access.Write)
	const file = "user_id,currency,type,amount\nu1,USD,add,1\n"
	address, _, _ := w.listen()
	begin := func(token, run string, of int32) {
		w.upload(address, token, http.MethodPut, "/v1/runs/"+run+"/file")
		require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() == of }, 30*time.Second, 10*time.Millisecond)
	}
	begin(a, "a-1", 1)
	require.Equal(t, 429, w.putAs(a, "a-2", "", file).StatusCode, "one of a token")
	require.Equal(t, 200, w.putAs(b, "b-1", "", file).StatusCode)
	begin(b, "b-2", 2)
	require.Equal(t, 429, w.putAs(c, "c-1", "", file).StatusCode, "few at once")
	checked := w.doAs(c, http.MethodPost, "/v1/runs/check", file, "=Content-Type: text/csv")
	require.Equal(t, 200, checked.StatusCode, checked.body)
}

func TestAnUploadOfAByteNowAndThenIsCutOff(t *testing.T) {
	httpserver.SetUploadPatience(t, 300*time.Millisecond)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	address, _, _ := w.listen()
	for _, path := range []string{"PUT /v1/runs/r/file", "POST /v1/runs/check"} {
		method, path, _ := strings.Cut(path, " ")
		c := w.upload(address, w.all(), method, path)
		go func() {
			for range 500 {
				if _, err := c.Write([]byte("u")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			_ = c.CloseWrite()
		}()
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 408, answer.StatusCode, path)
	}
}

// lateBody has what net/http does when a body cannot be read: it cancels the request before the read returns.
type lateBody struct{ cancel context.CancelFunc }

func (b lateBody) Read([]byte) (int, error) {
	b.cancel()
	time.Sleep(200 * time.Millisecond) // Postgres notices meanwhile
	return 0, os.ErrDeadlineExceeded
}

func (lateBody) Close() error { return nil }

func TestAnUploadThatIsCutOffIsNoFailureOfPostgres(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), func(o *httpserver.Options) {
		o.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithCancel(r.Context())
				r = r.WithContext(ctx)
				r.Body = lateBody{cancel}
				h.ServeHTTP(w, r)
			})
		}
	})
	answer := w.put("r", "", "user_id,currency,type,amount\nu1,USD,add,1\n")
	require.Equal(t, 408, answer.StatusCode, answer.body)
}

func TestACheckIsBounded(t *testing.T) {
	httpserver.SetMaxCheck(t, 10, 1000)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	shop := w.as("shop", "*", access.Write)
	check := func(token string, lines int, line string) reply {
		return w.doAs(token, http.MethodPost, "/v1/runs/check", "user_id,currency,type,amount\n"+strings.Repeat(line, lines), "=Content-Type: text/csv")
	}
	allowed := check(shop, 10, "u1,USD,add,1\n")
	require.Equal(t, 200, allowed.StatusCode, allowed.body)
	for name, tooLarge := range map[string]reply{
		"lines":         check(shop, 11, "u1,USD,add,1\n"),
		"invalid lines": check(shop, 11, "u1,USD,ad,1\n"),
		"bytes":         check(shop, 10, strings.Repeat("u", 100)+",USD,add,1\n"),
	} {
		require.Equal(t, 413, tooLarge.StatusCode, "%s: %s", name, tooLarge.body)
		require.Contains(t, tooLarge.json(t)["remedy"], "wallet run check", name)
	}
	require.Equal(t, 403, check(w.as("reader", "*", access.Read), 1, "u1,USD,add,1\n").StatusCode, "it takes memory and disk")
}
