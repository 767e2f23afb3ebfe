package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestEachAnswerIsDocumented sends valid and broken requests to all operations of the OpenAPI document, in
// any order, made from what it says and from what earlier answers returned. Every answer has to be in the
// document, and none may be 500.
func TestEachAnswerIsDocumented(t *testing.T) {
	testenv.FewCases(t, 40)
	require.NoError(t, flag.Set("rapid.nofailfile", "true")) // what is answered depends on more than what is drawn
	defer func() { require.NoError(t, flag.Set("rapid.nofailfile", "false")) }()
	core, logs := observer.New(zap.ErrorLevel)
	owner := testenv.DatabaseURL(t)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, owner)), withWebhooks(t, owner), func(o *httpserver.Options) { o.Logger = zap.New(core) })
	w.startWorker()
	u1, u2 := testenv.Unique(t, "u"), testenv.Unique(t, "u") // tests share Temporal, and with it the ids of workflows
	w.deposits(u1, 3, "")
	g := generator{w.document.whole, map[string][]string{
		"user": {u1, u2, "a/b", "..", "ü"}, "user_id": {u1, u2}, "from_user_id": {u1}, "to_user_id": {u2}, "currency": {"USD", "EUR", "XXX"},
		"command_id": {"d-1", "c1"}, "transaction_id": {"t1"}, "run_id": {"r1", "r2"}, "event_id": {"e1"}, "Last-Event-ID": {"0", "1-1", "1"}, "endpoint_id": {unknownEndpoint},
		"hold_id": {"c1", "h1"}, "original_id": {"d-1"}, "amount": {"1", "0.01", "99"}, "threshold": {"low"}, "expires_in": {"1h"}, "description": {"ü"}, "actor": {"all"}, "priority": {"1"},
		"after": {"0", "1", "1-1", "r1"}, "url": {"https://127.0.0.1:1/"}, "overlap": {"1h"}, "events": {"wallet_asset.added"}, "what": {"debits", "all"}, "at_least_version": {"1", "1", "1", "2"},
	}, map[string][]string{}}
	operations := w.document.operations()
	ids := slices.Sorted(maps.Keys(operations))
	statuses := map[string]map[int]int{}
	rapid.Check(t, func(t *rapid.T) {
		for _, id := range rapid.Permutation(ids).Draw(t, "order") {
			o := operations[id]
			r := g.request(t, o)
			answer := w.sendRaw(t, r)
			if r.method != o.method {
				continue
			}
			require.NotEqual(t, http.StatusInternalServerError, answer.StatusCode, "%+v: %s", r, answer.body)
			require.NoError(t, w.document.misfit(r.method, r.path, answer), "%+v: %d %s", r, answer.StatusCode, answer.body)
			if statuses[id] == nil {
				statuses[id] = map[int]int{}
			}
			statuses[id][answer.StatusCode]++
			g.learn(answer)
		}
	})
	for _, id := range ids {
		t.Log(id, statuses[id])
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

func (w *world) sendRaw(t require.TestingT, r request) reply {
	r.headers = append([][2]string{{"Authorization", "Bearer " + w.all()}, {"Prefer", "wait=1"}}, r.headers...)
	return r.send(t, w.url)
}

// send does not read a stream of events.
func (r request) send(t require.TestingT, url string) reply {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	made, err := http.NewRequestWithContext(ctx, r.method, url, bytes.NewReader(r.body))
	require.NoError(t, err)
	made.URL.Opaque = "//" + made.URL.Host + r.path // as it is
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

// generator makes requests from the document. Names have plausible values, and those that answers had.
type generator struct {
	document map[string]any
	values   map[string][]string
	answered map[string][]string // the newest last
}

// maxAnswered is how many values of a name are kept.
const maxAnswered = 8

// links are names that the values of a name are sent under too.
var links = map[string][]string{
	"command_id": {"id", "hold_id", "original_id"}, "hold_id": {"from_hold_id"}, "transaction_id": {"id"}, "user_id": {"user", "from_user_id", "to_user_id"},
	"next": {"after"}, "cursor": {"after", "Last-Event-ID"}, "position": {"after"}, "version": {"after", "expected_version", "Last-Event-ID"},
	"recorded_at": {"at", "from", "to", "since", "until"}, "expires_at": {"expires_before"},
}

// learn keeps what an answer had.
func (g generator) learn(answer reply) {
	decoder := json.NewDecoder(strings.NewReader(answer.body))
	decoder.UseNumber()
	var body any
	if decoder.Decode(&body) == nil {
		g.learnFrom(body)
	}
}

func (g generator) learnFrom(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			g.learnFrom(item)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			g.learnFrom(value[name])
			switch value[name].(type) {
			case string, json.Number:
				for _, to := range append([]string{name}, links[name]...) {
					if text := fmt.Sprint(value[name]); to != "id" || !strings.HasPrefix(text, "_") { // of the service
						kept := append(g.answered[to], text)
						g.answered[to] = kept[max(0, len(kept)-maxAnswered):]
					}
				}
			}
		}
	}
}

// known is a plausible value of a name, if there is one. What is drawn does not depend on what was
// answered, so that a seed makes almost the same again.
func (g generator) known(t *rapid.T, name string) (value string, found bool) {
	answered, at := rapid.Bool().Draw(t, "answered "+name), rapid.IntRange(0, maxAnswered-1).Draw(t, "which "+name)
	values := g.values[name]
	if kept := g.answered[name]; answered && len(kept) > 0 {
		values = kept
	}
	if values == nil {
		return "", false
	}
	return values[at%len(values)], true
}

// hostile are texts that something may not be ready for.
var hostile = []string{"", " ", "\x00", "a\nb", "..", "%", "%00", "\xff\xfe", "ü", "𝕏", "'; --", "=1+1", "-1", "0", "1e9", "99999999999999999999", "null", "true", "NaN",
	"2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "_auto-create", "_run/r1/2", strings.Repeat("x", 129), strings.Repeat("ü", 5000), "\u202e", "\ufeff"}

func (g generator) request(t *rapid.T, o operation) request {
	r, path := request{method: o.method}, o.path
	broken := rapid.SampledFrom([]string{"", "", "query", "path", "header", "body", "type", "method"}).Draw(t, "broken")
	query := url.Values{}
	parameters, _ := o.described["parameters"].([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		name, in := p["name"].(string), p["in"].(string)
		if p["required"] != true && rapid.Bool().Draw(t, "leave out "+name) || name == "Idempotency-Key" && broken != in { // the body has an id
			continue
		}
		value := fmt.Sprint(g.value(t, name, p["schema"].(map[string]any), false))
		if broken == in && rapid.Bool().Draw(t, "break "+name) {
			value = rapid.SampledFrom(hostile).Draw(t, "another "+name)
		}
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
	if content := o.content(); content != nil {
		g.setBody(t, &r, content, broken)
	} else if broken == "body" || broken == "type" { // it takes none
		r.body = []byte("{}")
		r.headers = append(r.headers, [2]string{"Content-Type", rapid.SampledFrom([]string{"application/json", "text/plain"}).Draw(t, "type")})
	}
	return r
}

func (g generator) setBody(t *rapid.T, r *request, content map[string]any, broken string) {
	mediaType := rapid.SampledFrom(slices.Sorted(maps.Keys(content))).Draw(t, "type")
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
		least, _ := schema["minItems"].(json.Number)
		n, _ := least.Int64()
		list := make([]any, rapid.IntRange(int(n), int(n)+2).Draw(t, "items of "+name))
		for i := range list {
			list[i] = g.value(t, name, schema["items"].(map[string]any), broken)
		}
		return list
	case "integer":
		if known, found := g.known(t, name); found {
			if n, err := strconv.ParseInt(known, 10, 64); err == nil {
				return n
			}
		}
		return rapid.SampledFrom([]int64{0, 1, 2, 3, 16, 1000, 1 << 62}).Draw(t, name)
	case "number":
		return rapid.Float64().Draw(t, name)
	case "boolean":
		return rapid.Bool().Draw(t, name)
	}
	known, found := g.known(t, name)
	if found {
		return known
	}
	if schema["format"] == "date-time" {
		return rapid.SampledFrom([]string{"2026-01-01T00:00:00Z", "2030-12-31T23:59:59.999999Z"}).Draw(t, name)
	}
	if name == "id" { // a new one
		return rapid.StringMatching(`[a-z]{8}`).Draw(t, name)
	}
	return rapid.SampledFrom(hostile).Draw(t, name)
}

func (g generator) object(t *rapid.T, schema map[string]any, broken bool) map[string]any {
	made := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	names := slices.Sorted(maps.Keys(properties)) // so that a seed makes the same again
	if types, isCommand := properties["type"].(map[string]any); isCommand && !broken {
		kind, _ := wallet.KindOf(wallet.CommandType(g.value(t, "type", types, false).(string)))
		made["type"] = kind.Type
		names = slices.DeleteFunc(names, func(name string) bool { return name == "type" || !takes(kind, name) })
		for _, field := range kind.Required {
			required = append(required, field)
		}
	}
	for _, name := range names {
		needed := name == "id" || slices.Contains(required, any(name))
		if leave := rapid.IntRange(0, 9).Draw(t, "leave out "+name); needed && (leave > 0 || !broken) || !needed && leave == 0 {
			made[name] = g.value(t, name, properties[name].(map[string]any), broken)
		}
	}
	if broken && rapid.IntRange(0, 9).Draw(t, "an unknown field") == 0 {
		made[rapid.SampledFrom(hostile).Draw(t, "field")] = 1
	}
	return made
}

// takes reports whether commands of a type may have a field.
func takes(kind wallet.Kind, field string) bool {
	isOf := func(k wallet.Kind) bool { return slices.Contains(slices.Concat(k.Required, k.Optional), field) }
	return isOf(kind) || !slices.ContainsFunc(wallet.Kinds(), isOf)
}
