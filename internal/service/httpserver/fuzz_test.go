package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestEachAnswerIsDocumented sends valid and broken requests to each operation of the OpenAPI document,
// made from what it says. Every answer has to be in the document, and none may be 500.
func TestEachAnswerIsDocumented(t *testing.T) {
	testenv.FewCases(t, 40)
	core, logs := observer.New(zap.ErrorLevel)
	owner := testenv.DatabaseURL(t)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, owner)), func(o *httpserver.Options) {
		guard, err := webhooks.ParseGuard("127.0.0.0/8")
		require.NoError(t, err)
		o.Webhooks, o.Logger = webhooks.NewStore(testenv.Pool(t, owner), guard, &codec.Keys{}), zap.New(core)
	})
	w.startWorker()
	u1, u2 := testenv.Unique(t, "u"), testenv.Unique(t, "u") // tests share Temporal, and with it the ids of workflows
	w.deposits(u1, 3, "")
	event := w.get("/v1/events").json(t)["items"].([]any)[1].(map[string]any)["event_id"].(string)
	g := generator{w.document.whole, map[string][]string{
		"user": {u1, u2, "a/b", "..", "ü"}, "user_id": {u1, u2}, "from_user_id": {u1}, "to_user_id": {u2}, "currency": {"USD", "EUR", "XXX"},
		"command_id": {"d-1", "c1"}, "transaction_id": {"t1"}, "run_id": {"r1", "r2"}, "event_id": {event}, "Last-Event-ID": {"0", "1-1", "1"},
		"id": {"c1", "c2", "t1"}, "hold_id": {"c1", "h1"}, "original_id": {"d-1"}, "amount": {"1", "0.01", "99"}, "threshold": {"low"}, "expires_in": {"1h"},
		"after": {"0", "1", "1-1", "r1"}, "url": {"https://127.0.0.1:1/"}, "overlap": {"1h"}, "events": {"wallet_asset.added"}, "what": {"debits", "all"},
	}}
	for path, operations := range w.document.paths {
		for method, operation := range operations {
			o := operation.(map[string]any)
			t.Run(o["operationId"].(string), func(t *testing.T) {
				if strings.Contains(path, "{endpoint_id}") {
					g.values["endpoint_id"] = []string{w.post("/v1/webhooks", `{"url":"https://127.0.0.1:1/"}`).json(t)["endpoint_id"].(string)}
				}
				statuses := map[int]int{}
				defer func() { t.Log(statuses) }()
				rapid.Check(t, func(t *rapid.T) {
					r := g.request(t, strings.ToUpper(method), path, o)
					answer := w.sendRaw(t, r)
					statuses[answer.StatusCode]++
					if r.method == strings.ToUpper(method) {
						require.NotEqual(t, http.StatusInternalServerError, answer.StatusCode, "%+v: %s", r, answer.body)
						require.NoError(t, w.document.misfit(r.method, r.path, answer), "%+v: %d %s", r, answer.StatusCode, answer.body)
					}
				})
			})
		}
	}
	for _, entry := range logs.All() {
		t.Errorf("an error was logged: %s %v", entry.Message, entry.ContextMap())
	}
}

// request is one to send as it is.
type request struct {
	method, path string
	headers      [][2]string
	body         []byte
}

func (w *world) sendRaw(t *rapid.T, r request) reply {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	made, err := http.NewRequestWithContext(ctx, r.method, w.url, bytes.NewReader(r.body))
	require.NoError(t, err)
	made.URL.Opaque = "//" + made.URL.Host + r.path // as it is
	made.Header.Set("Authorization", "Bearer "+w.all())
	made.Header.Set("Prefer", "wait=1")
	for _, h := range r.headers {
		made.Header[h[0]] = append(made.Header[h[0]], h[1])
	}
	answer, err := http.DefaultClient.Do(made)
	require.NoError(t, err, "%+v", r)
	defer answer.Body.Close()
	if answer.Header.Get("Content-Type") == "text/event-stream" {
		return reply{answer, ""}
	}
	content, err := io.ReadAll(answer.Body)
	require.NoError(t, err, "%+v", r)
	return reply{answer, string(content)}
}

// generator makes requests from the document. Names have plausible values.
type generator struct {
	document map[string]any
	values   map[string][]string
}

// hostile are texts that something may not be ready for.
var hostile = []string{"", " ", "\x00", "a\nb", "..", "%", "%00", "\xff\xfe", "ü", "𝕏", "'; --", "=1+1", "-1", "0", "1e9", "99999999999999999999", "null", "true", "NaN",
	"2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "_auto-create", "_run/r1/2", strings.Repeat("x", 129), strings.Repeat("ü", 5000), "\u202e", "\ufeff"}

func (g generator) request(t *rapid.T, method, path string, operation map[string]any) request {
	r := request{method: method}
	broken := rapid.SampledFrom([]string{"", "", "query", "path", "header", "body", "type", "method"}).Draw(t, "broken")
	query := url.Values{}
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		name, in := p["name"].(string), p["in"].(string)
		if p["required"] != true && rapid.Bool().Draw(t, "leave out "+name) {
			continue
		}
		value := fmt.Sprint(g.value(t, name, p["schema"].(map[string]any), broken == in))
		switch in {
		case "path":
			path = strings.Replace(path, "{"+name+"}", strings.NewReplacer(".", "%2E").Replace(url.PathEscape(value)), 1)
		case "query":
			query.Set(name, value)
		case "header":
			if !strings.ContainsAny(value, "\x00\r\n") {
				r.headers = append(r.headers, [2]string{http.CanonicalHeaderKey(name), value})
			}
		}
	}
	if broken == "query" && rapid.Bool().Draw(t, "an unknown parameter") {
		query.Set(rapid.SampledFrom(hostile[4:]).Draw(t, "name"), "1")
	}
	r.path = path
	if len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	if broken == "query" && rapid.IntRange(0, 9).Draw(t, "a raw query") == 0 {
		r.path += "?%zz"
	}
	if broken == "method" {
		r.method = rapid.SampledFrom([]string{"DELETE", "PATCH", "PUT", "POST", "GET", "OPTIONS"}).Draw(t, "method")
	}
	content, _ := operation["requestBody"].(map[string]any)
	if content != nil {
		g.setBody(t, &r, content["content"].(map[string]any), broken)
	}
	return r
}

func (g generator) setBody(t *rapid.T, r *request, content map[string]any, broken string) {
	types := make([]string, 0, len(content))
	for mediaType := range content {
		types = append(types, mediaType)
	}
	slices.Sort(types)
	mediaType := rapid.SampledFrom(types).Draw(t, "type")
	switch mediaType {
	case "application/json":
		value := g.value(t, "", content[mediaType].(map[string]any)["schema"].(map[string]any), broken == "body")
		r.body, _ = json.Marshal(value)
	case "text/csv":
		r.body = []byte("user_id,currency,type,amount\n" + rapid.SampledFrom([]string{"u1,USD,add,1\n", "u1,USD,ad,1\n", "u1,XXX,add,1\n", ""}).Draw(t, "line"))
	default:
		r.body = []byte(rapid.SampledFrom([]string{"{\"user_id\":\"u1\",\"currency\":\"USD\",\"type\":\"add\",\"amount\":\"1\"}\n", "{}\n", "[]\n"}).Draw(t, "line"))
	}
	switch broken {
	case "body":
		switch at := rapid.IntRange(0, max(0, len(r.body)-1)).Draw(t, "at"); rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			r.body = r.body[:at]
		case 1:
			r.body = slices.Insert(slices.Clone(r.body), at, []byte(rapid.SampledFrom(hostile).Draw(t, "inserted"))...)
		case 2:
			r.body = append(slices.Clone(r.body), r.body...)
		}
	case "type":
		mediaType = rapid.SampledFrom([]string{"", "text/plain", "application/xml", "application/json; charset=latin1", "text/csv", "\xff"}).Draw(t, "another type")
	}
	r.headers = append(r.headers, [2]string{"Content-Type", mediaType})
}

// value is one that the schema allows, or may be another if it is to be broken.
func (g generator) value(t *rapid.T, name string, schema map[string]any, broken bool) any {
	if ref, found := schema["$ref"].(string); found {
		var at any = g.document
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[step]
		}
		schema = at.(map[string]any)
	}
	if broken && rapid.Bool().Draw(t, "break "+name) {
		return rapid.OneOf(rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any](-1.5), rapid.Just[any]([]any{}), rapid.Just[any](map[string]any{"x": 1}),
			rapid.Map(rapid.SampledFrom(hostile), func(s string) any { return s })).Draw(t, "another "+name)
	}
	if enum, found := schema["enum"].([]any); found {
		return rapid.SampledFrom(enum).Draw(t, name)
	}
	kind, isOne := schema["type"].(string)
	if !isOne {
		kind = fmt.Sprint(schema["type"].([]any)[0])
	}
	switch kind {
	case "object":
		return g.object(t, schema, broken)
	case "array":
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "items of "+name))
		for i := range list {
			list[i] = g.value(t, name, schema["items"].(map[string]any), broken)
		}
		return list
	case "integer":
		return rapid.SampledFrom([]int64{0, 1, 2, 3, 16, 1000, 1 << 62}).Draw(t, name)
	case "number":
		return rapid.Float64().Draw(t, name)
	case "boolean":
		return rapid.Bool().Draw(t, name)
	}
	if schema["format"] == "date-time" {
		return rapid.SampledFrom([]string{"2026-01-01T00:00:00Z", "2030-12-31T23:59:59.999999Z"}).Draw(t, name)
	}
	if values := g.values[name]; values != nil {
		return rapid.SampledFrom(values).Draw(t, name)
	}
	return rapid.SampledFrom(hostile).Draw(t, name)
}

func (g generator) object(t *rapid.T, schema map[string]any, broken bool) map[string]any {
	made := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names) // so that a seed makes the same again
	for _, name := range names {
		needed := slices.Contains(required, any(name))
		if leave := rapid.IntRange(0, 9).Draw(t, "leave out "+name); needed && (leave > 0 || !broken) || !needed && leave == 0 {
			made[name] = g.value(t, name, properties[name].(map[string]any), broken)
		}
	}
	if broken && rapid.IntRange(0, 9).Draw(t, "an unknown field") == 0 {
		made[rapid.SampledFrom(hostile).Draw(t, "field")] = 1
	}
	return made
}
