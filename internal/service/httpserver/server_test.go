package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a worker and the API, in front of a database of the test's own.
type world struct {
	t        *testing.T
	url      string
	server   *httpserver.Server
	queue    string
	pool     *pgxpool.Pool
	tokens   []access.StaticToken
	file     string
	document document
}

func newWorld(t *testing.T, change ...func(*httpserver.Options)) *world {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))), change...)
	w.startWorker()
	return w
}

func (w *world) startWorker() {
	worker, err := service.Start(w.t.Context(), service.Options{
		Temporal: testenv.Temporal(w.t), Namespace: client.DefaultNamespace, Pool: w.pool, TaskQueue: w.queue, Logger: zap.NewNop(),
	})
	require.NoError(w.t, err)
	w.t.Cleanup(worker.Stop)
}

// newIdleWorld has no worker yet.
func newIdleWorld(t *testing.T, pool *pgxpool.Pool, change ...func(*httpserver.Options)) *world {
	w := &world{t: t, pool: pool, file: filepath.Join(t.TempDir(), "tokens.json"), queue: testenv.Unique(t, "http")}
	temporal, queue := testenv.Temporal(t), w.queue
	w.token("all", "*", access.Read, access.Write, access.Admin)
	auth, err := access.New(t.Context(), access.Options{TokensFile: w.file})
	require.NoError(t, err)
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: queue, Lanes: 1})
	require.NoError(t, err)
	o := httpserver.Options{Wallets: wallets, Pool: w.pool, Auth: auth, Logger: zap.NewNop(), Checks: checksOf(t, pool, temporal), AnswerTimeout: 20 * time.Second}
	for _, c := range change {
		c(&o)
	}
	w.server, err = httpserver.New(o)
	require.NoError(t, err)
	w.document = documentOf(t, w.server)
	listening := httptest.NewServer(w.server.Handler())
	t.Cleanup(listening.Close)
	w.url = listening.URL
	return w
}

func checksOf(t *testing.T, pool *pgxpool.Pool, temporal client.Client) []telemetry.Check {
	probe, err := service.NewProbe(pool, temporal)
	require.NoError(t, err)
	t.Cleanup(probe.Close)
	return probe.Checks()
}

// token makes a token for users that are separated by commas.
func (w *world) token(subject, users string, scopes ...access.Scope) string {
	token, hash := access.NewToken()
	w.tokens = append(w.tokens, access.StaticToken{Subject: subject, SHA256: hash, Scopes: scopes, Users: strings.Split(users, ",")})
	w.writeTokens()
	if subject == "all" {
		allTokens.Store(w, token)
	}
	return token
}

func (w *world) writeTokens() {
	content, err := json.Marshal(map[string]any{"tokens": w.tokens})
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(w.file, content, 0o600))
}

func (w *world) revoke(subject string) {
	w.tokens = slices.DeleteFunc(w.tokens, func(t access.StaticToken) bool { return t.Subject == subject })
	w.writeTokens()
}

var allTokens sync.Map

type reply struct {
	*http.Response
	body string
}

func (r reply) json(t *testing.T) (m map[string]any) {
	require.NoError(t, json.Unmarshal([]byte(r.body), &m), r.body)
	return m
}

// do sends a request. A header is "Name: value", or "=Name: value" in place of another; without
// Authorization it is the token of all.
func (w *world) do(method, path, body string, headers ...string) reply {
	token, _ := allTokens.Load(w)
	return w.doAs(token.(string), method, path, body, headers...)
}

func (w *world) doAs(token, method, path, body string, headers ...string) reply {
	r, err := http.NewRequestWithContext(context.Background(), method, w.url+path, bytes.NewReader([]byte(body)))
	require.NoError(w.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if instead, found := strings.CutPrefix(name, "="); found {
			r.Header.Set(instead, value)
		} else {
			r.Header.Add(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	require.NoError(w.t, err)
	said := reply{answer, string(content)}
	w.document.requireFit(method, path, said)
	return said
}

func (w *world) post(path, body string, headers ...string) reply {
	return w.do(http.MethodPost, path, body, headers...)
}

func (w *world) get(path string) reply { return w.do(http.MethodGet, path, "") }

const u1 = "/v1/wallets/u1/USD"

func TestACommandIsAnsweredTheSameAgain(t *testing.T) {
	w := newWorld(t)
	add := `{"id":"order-1","type":"add","amount":"12.50"}`
	var group sync.WaitGroup
	answers := make([]reply, 50)
	for i := range answers {
		group.Go(func() { answers[i] = w.post(u1+"/commands", add) })
	}
	group.Wait()
	first := 0
	for _, a := range answers {
		require.Equal(t, 200, a.StatusCode, a.body)
		require.Equal(t, answers[0].body, a.body)
		if a.Header.Get("Idempotency-Replayed") == "" {
			first++
		}
	}
	require.Equal(t, 1, first, "one was applied, the others are replays")
	require.NotContains(t, answers[0].body, "replayed")

	again := w.post(u1+"/commands", `{"type":"add","amount":"12.50"}`, "Idempotency-Key: order-1")
	require.Equal(t, answers[0].body, again.body)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))

	other := w.post(u1+"/commands", `{"id":"order-1","type":"add","amount":"13"}`)
	require.Equal(t, 409, other.StatusCode, other.body)
	require.Equal(t, "application/problem+json", other.Header.Get("Content-Type"))
	require.Equal(t, "id_conflict", other.json(t)["reason"])

	refused := w.post(u1+"/commands", `{"id":"order-2","type":"subtract","amount":"100"}`)
	require.Equal(t, 422, refused.StatusCode, refused.body)
	require.Equal(t, "insufficient_funds", refused.json(t)["reason"])
	replay := w.post(u1+"/commands", `{"id":"order-2","type":"subtract","amount":"100"}`)
	require.Equal(t, refused.body, replay.body)
	require.Equal(t, "true", replay.Header.Get("Idempotency-Replayed"))

	require.JSONEq(t, answers[0].body, w.get(u1+"/commands/order-1").body)
	require.Equal(t, 404, w.get(u1+"/commands/order-9").StatusCode)
}

func TestHostileInputIsRefusedByName(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		path, body string
		headers    []string
		status     int
		field      string
	}{
		"two ids":             {u1 + "/commands", `{"id":"a","type":"create"}`, []string{"Idempotency-Key: b"}, 400, "Idempotency-Key"},
		"no id":               {u1 + "/commands", `{"type":"create"}`, nil, 400, "id"},
		"a duplicate name":    {u1 + "/commands", `{"id":"a","id":"b","type":"create"}`, nil, 400, "id"},
		"an unknown field":    {u1 + "/commands", `{"id":"a","type":"create","ammount":"1"}`, nil, 400, "ammount"},
		"a lone surrogate":    {u1 + "/commands", `{"id":"\ud800","type":"create"}`, nil, 400, "command"},
		"invalid UTF-8":       {u1 + "/commands", "{\"id\":\"\xff\",\"type\":\"create\"}", nil, 400, "command"},
		"a number":            {u1 + "/commands", `{"id":"a","type":"add","amount":1.5}`, nil, 400, "amount"},
		"not JSON":            {u1 + "/commands", `{`, nil, 400, "command"},
		"a reply_to":          {u1 + "/commands", `{"id":"a","type":"create","reply_to":{"workflow_id":"w","signal":"s"}}`, nil, 400, "reply_to"},
		"a currency":          {"/v1/wallets/u1/usd/commands", `{"id":"a","type":"create"}`, nil, 400, "currency"},
		"an unknown currency": {"/v1/wallets/u1/XXX/commands", `{"id":"a","type":"create"}`, nil, 400, "currency"},
		"129 characters":      {"/v1/wallets/" + strings.Repeat("ü", 129) + "/USD/commands", `{"id":"a","type":"create"}`, nil, 400, "user_id"},
		"a dot":               {"/v1/wallets/../USD/commands", `{"id":"a","type":"create"}`, nil, 400, "path"},
		"bytes":               {"/v1/wallets/%ff/USD/commands", `{"id":"a","type":"create"}`, nil, 400, "path"},
		"a NUL":               {"/v1/wallets/u1/USD/commands/%00", "", nil, 400, "path"},
		"a line break":        {"/v1/wallets/a%0d%0ab/USD/commands", `{"id":"a","type":"create"}`, nil, 400, "user_id"},
		"10 MB":               {u1 + "/commands", `{"id":"` + strings.Repeat("a", 10<<20) + `"}`, nil, 413, ""},
		"another type":        {u1 + "/commands", `{"id":"a","type":"create"}`, []string{"Content-Type: text/plain"}, 400, "Content-Type"},
		"an unknown query":    {u1 + "/commands?dry=1", `{"id":"a","type":"create"}`, nil, 400, "dry"},
		"an empty query":      {u1 + "/commands?dry=", `{"id":"a","type":"create"}`, nil, 400, "dry"},
		"a key in a batch":    {u1 + "/batches", `[{"id":"a","type":"create"}]`, []string{"Idempotency-Key: b"}, 400, "Idempotency-Key"},
		"a bad batch":         {u1 + "/batches", `[{"id":"a","type":"create"},{"id":"b"}]`, nil, 400, "[1].type"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := w.post(row.path, row.body, row.headers...)
			require.Equal(t, row.status, answer.StatusCode, answer.body)
			require.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"))
			problem := answer.json(t)
			require.NotEmpty(t, problem["detail"])
			if row.field != "" {
				require.Equal(t, row.field, problem["field"], answer.body)
			}
		})
	}
	for _, user := range []string{"a%2Fb", "%2E%2E", "a%20b", "%C3%BC", "%25", strings.Repeat("%C3%BC", 128)} {
		answer := w.post("/v1/wallets/"+user+"/USD/commands", `{"id":"a","type":"add","amount":"1"}`)
		require.Equal(t, 200, answer.StatusCode, "%s: %s", user, answer.body)
	}
	var users int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM wallet_assets WHERE user_id IN ('a/b', '..', 'a b', 'ü', '%', repeat('ü', 128))`).Scan(&users))
	require.Equal(t, 6, users, "ids are kept as they are")
	var all int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM wallet_assets`).Scan(&all))
	require.Equal(t, 6, all, "nothing else left a trace")
}

func TestATransactionAndATransfer(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.post(u1+"/commands", `{"id":"a","type":"add","amount":"10"}`).StatusCode)
	moved := w.post("/v1/transfers", `{"from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"4"}`, "Idempotency-Key: t-1")
	require.Equal(t, 200, moved.StatusCode, moved.body)
	require.Equal(t, "applied", moved.json(t)["status"])
	again := w.post("/v1/transfers", `{"id":"t-1","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"4"}`)
	require.Equal(t, moved.body, again.body)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	found := w.get("/v1/transactions/t-1")
	require.Equal(t, 200, found.StatusCode, found.body)
	require.Equal(t, 404, w.get("/v1/transactions/t-9").StatusCode)
	dropped := w.post("/v1/transfers", `{"id":"t-3","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"1","partial":true}`)
	require.Equal(t, 400, dropped.StatusCode, "partial is of a hold: "+dropped.body)
	refused := w.post("/v1/transactions", `{"id":"t-2","commands":[{"user_id":"u1","currency":"USD","type":"subtract","amount":"100"},{"user_id":"u2","currency":"USD","type":"add","amount":"100"}]}`)
	require.Equal(t, 422, refused.StatusCode, refused.body)
	require.Equal(t, fmt.Sprint(1), fmt.Sprint(refused.json(t)["transaction"].(map[string]any)["refused_leg"]))
}

func TestReads(t *testing.T) {
	w := newWorld(t)
	user := testenv.Unique(t, "http") // a batch starts its workflow, and other tests have a u1
	wallet := "/v1/wallets/" + user + "/USD"
	require.Equal(t, 404, w.get(wallet+"/balance").StatusCode)
	require.Equal(t, 200, w.post(wallet+"/batches", `[{"id":"a","type":"add","amount":"10"},{"id":"b","type":"hold","amount":"4"},{"id":"c","type":"subtract","amount":"100"}]`).StatusCode)
	// The first version is that of the wallet's creation.
	require.Equal(t, "6.00", w.get(wallet + "/balance").json(t)["available"])
	require.Equal(t, "10.00", w.get(wallet + "/balance?version=2").json(t)["available"])
	require.Equal(t, 200, w.get(wallet+"/balance?at_least_version=3").StatusCode)
	require.Equal(t, 404, w.do(http.MethodGet, wallet+"/balance?at_least_version=4", "", "Prefer: wait=1").StatusCode)
	require.Equal(t, "0.00", w.get(wallet + "/balance?version=1&at_least_version=3").json(t)["available"], "of a standby that has version 3")
	require.Equal(t, 400, w.get(wallet+"/balance?version=1&at=2026-01-31T00:00:00Z").StatusCode)
	for _, at := range []string{"yesterday", "2026-01-31T1:00:00Z", "0001-01-01T00:00:00Z"} {
		require.Equal(t, 400, w.get(wallet+"/balance?at="+at).StatusCode, at)
	}
	page := w.get(wallet + "/journal?limit=2").json(t)
	require.Len(t, page["items"], 2)
	require.Equal(t, "2", page["next"])
	require.Len(t, w.get(wallet + "/journal?after=2").json(t)["items"], 2)
	require.Len(t, w.get(wallet + "/journal?status=unapplied").json(t)["items"], 1)
	require.Empty(t, w.get(wallet + "/journal?original_id=none").json(t)["items"])
	require.Equal(t, 400, w.get(wallet+"/journal?original_id=none&status=applied").StatusCode)
	require.Len(t, w.get(wallet + "/events").json(t)["items"], 3)
	require.Len(t, w.get(wallet + "/holds?state=open").json(t)["items"], 1)
	receipt := w.get(wallet + "/receipts/c")
	require.Equal(t, 200, receipt.StatusCode, receipt.body)
	require.Empty(t, w.post("/v1/receipts/check", "["+receipt.body+"]").json(t)["findings"])
	require.Equal(t, 200, w.post(wallet+"/commands", `{"id":"t","type":"set_threshold","threshold":"low","amount":"8"}`).StatusCode)
	require.Equal(t, 200, w.post(wallet+"/commands", `{"id":"back","type":"release","hold_id":"b"}`).StatusCode)
	require.Contains(t, w.get(wallet+"/journal?limit=1000").body, `"crossed":[{`)
	require.Contains(t, w.get(wallet+"/balance").body, `"thresholds":[{`)
	require.Equal(t, 200, w.post(wallet+"/commands", `{"id":"limit","type":"set_credit_limit","amount":"5"}`).StatusCode)
	require.Equal(t, "5.00", w.get(wallet + "/balance").json(t)["credit_limit"])
	require.Equal(t, 200, w.post(wallet+"/commands", `{"id":"g","type":"add","amount":"3","expires_in":"30d"}`).StatusCode)
	require.Equal(t, 200, w.post(wallet+"/commands", `{"id":"used","type":"subtract","amount":"1"}`).StatusCode)
	grants := w.get(wallet + "/grants")
	require.Equal(t, "2.00", grants.json(t)["items"].([]any)[0].(map[string]any)["left"], grants.body)
	require.Equal(t, 200, w.get(wallet+"/grants?all=true&after=9&limit=1").StatusCode)
	require.Empty(t, w.get(wallet + "/grants?expires_before=2026-01-01T00:00:00Z").json(t)["items"])
	require.Len(t, w.get(wallet + "/grants?expires_before=9000-01-01T00:00:00Z").json(t)["items"], 1)
	require.Equal(t, 400, w.get(wallet+"/grants?expires_before=tomorrow").StatusCode)
	require.Contains(t, w.get(wallet+"/events?limit=1000").body, `"grants":[{"grant":`)
	verified := w.post(wallet+"/verify", "")
	require.Equal(t, 200, verified.StatusCode, verified.body)
	require.Empty(t, verified.json(t)["findings"])
	require.Equal(t, 404, w.post("/v1/wallets/none/USD/verify", "").StatusCode)
	require.Equal(t, 200, w.get("/v1/totals").StatusCode)
	require.Equal(t, 200, w.get("/v1/wallets/"+user).StatusCode)
	require.Equal(t, 405, w.do(http.MethodDelete, wallet+"/balance", "").StatusCode)
	require.Equal(t, 404, w.get("/v1/nothing").StatusCode)

	own := w.token("u2", "u2", access.Read, access.Write)
	require.Eventually(t, func() bool { return w.doAs(own, http.MethodGet, "/v1/wallets/u2", "").StatusCode == 200 }, 30*time.Second, 100*time.Millisecond)
	require.Equal(t, 403, w.doAs(own, http.MethodGet, wallet+"/balance", "").StatusCode)
	sent := w.doAs(own, http.MethodPost, "/v1/wallets/u2/USD/commands", `{"id":"x","type":"create"}`)
	require.Equal(t, 200, sent.StatusCode, sent.body)
	require.Equal(t, "u2", w.get("/v1/wallets/u2/USD/journal").json(t)["items"].([]any)[0].(map[string]any)["actor"])
	require.Equal(t, 403, w.doAs(own, http.MethodPost, "/v1/wallets/u2/USD/commands", `{"id":"y","type":"add","amount":"1","actor":"boss"}`).StatusCode)
	require.Equal(t, 200, w.post("/v1/transfers", `{"id":"t","from_user_id":"`+user+`","to_user_id":"u2","currency":"USD","amount":"1"}`).StatusCode)
	require.Equal(t, 404, w.doAs(own, http.MethodGet, "/v1/transactions/t", "").StatusCode, "it has legs of others")
}
