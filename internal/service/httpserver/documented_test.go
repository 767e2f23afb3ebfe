package httpserver_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// example is a request that its operation answers with success, for ids that exist.
type example struct{ operation, query, body string }

const (
	exampleFile        = "user_id,currency,type,amount\n{locked},USD,add,1\n"
	exampleTransaction = `{"id":"{user}-t","commands":[{"user_id":"{user}","currency":"USD","type":"subtract","amount":"1"},{"user_id":"{user}-2","currency":"USD","type":"add","amount":"1"}]}`
	exampleTransfer    = `{"id":"{user}-move","from_user_id":"{user}","to_user_id":"{user}-2","currency":"USD","amount":"1"}`
)

// examples are in an order in which each succeeds. Where an id is missing, no earlier one makes it.
var examples = []example{
	{"list-balances", "", ""},
	{"get-balance", "at_least_version=1", ""},
	{"list-journal", "at_least_version=1", ""},
	{"list-events", "at_least_version=1", ""},
	{"list-holds", "at_least_version=1", ""},
	{"list-grants", "at_least_version=1", ""},
	{"get-statement", "at_least_version=1", ""},
	{"get-receipt", "at_least_version=1", ""},
	{"check-receipts", "", `[{"user_id":"{user}","currency":"USD","command_id":"a","position":1,"hash":"` + strings.Repeat("0", 64) + `"}]`},
	{"verify-wallet", "at_least_version=1", ""},
	{"get-totals", "", ""},
	{"list-feed", "", ""},
	{"stream-feed", "", ""},
	{"stream-events", "", ""},
	{"get-command", "", ""},
	{"apply-command", "", `{"id":"one","type":"add","amount":"1"}`},
	{"apply-batch", "", `[{"id":"two","type":"add","amount":"1"},{"id":"three","type":"add","amount":"1"}]`},
	{"apply-transaction", "", exampleTransaction},
	{"get-transaction", "", ""},
	{"transfer", "", exampleTransfer},
	{"dry-run-command", "", `{"id":"four","type":"add","amount":"1"}`},
	{"dry-run-batch", "", `[{"id":"four","type":"add","amount":"1"}]`},
	{"dry-run-transaction", "", exampleTransaction},
	{"dry-run-transfer", "", exampleTransfer},
	{"list-runs", "", ""},
	{"get-run", "", ""},
	{"list-run-failures", "", ""},
	{"start-run", "", ""},
	{"pause-run", "", ""},
	{"resume-run", "", ""},
	{"cancel-run", "", ""},
	{"check-run", "", exampleFile},
	{"stage-run", "", exampleFile},
	{"list-webhooks", "", ""},
	{"get-webhook", "", ""},
	{"list-parked-webhooks", "", ""},
	{"add-webhook", "", `{"url":"https://127.0.0.1:1/"}`},
	{"change-webhook", "", `{"url":"https://127.0.0.1:1/"}`},
	{"pause-webhook", "", ""},
	{"resume-webhook", "", ""},
	{"rotate-webhook", "", `{"overlap":"1h"}`},
	{"redeliver-webhook", "", `{"since":"2026-01-01T00:00:00Z"}`},
	{"remove-webhook", "", ""},
}

// refusals are for after the examples.
var refusals = []example{
	{"list-balances", "at=2026-01-01T00:00:00Z", ""}, // before there was any
	{"apply-command", "", `{"id":"one","type":"add","amount":"9"}`},
	{"apply-command", "", `{"id":"five","type":"subtract","amount":"1000"}`},
	{"apply-transaction", "", strings.ReplaceAll(exampleTransaction, `"1"`, `"9"`)},
	{"apply-transaction", "", strings.NewReplacer("-t", "-u", `"1"`, `"1000"`).Replace(exampleTransaction)},
	{"transfer", "", strings.ReplaceAll(exampleTransfer, `"1"`, `"9"`)},
	{"transfer", "", strings.NewReplacer("-move", "-more", `"1"`, `"1000"`).Replace(exampleTransfer)},
	{"stage-run", "", exampleFile + "{user},USD,add,1\n"},
}

// answersSeen sends requests, and notes the answers.
type answersSeen struct {
	*world
	operations map[string]operation
	options    httpserver.Options
	seen       map[string]bool
}

// server is one more on the world's database, with other options.
func (a *answersSeen) server(change func(*httpserver.Options)) (url string) {
	o := a.options
	change(&o)
	s, err := httpserver.New(o)
	require.NoError(a.t, err)
	listening := httptest.NewServer(s.Handler())
	a.t.Cleanup(listening.Close)
	return listening.URL
}

// request makes one of an example, with values in place of {names}.
func (a *answersSeen) request(e example, values *strings.Replacer, token string) (operation, request) {
	o, found := a.operations[e.operation]
	require.True(a.t, found, "the document has no %s", e.operation)
	r := request{method: o.method, path: values.Replace(o.path), body: []byte(values.Replace(e.body)), headers: [][2]string{{"Authorization", "Bearer " + token}}}
	if e.query != "" {
		r.path += "?" + e.query
	}
	if content := o.content(); content["text/csv"] != nil {
		r.headers = append(r.headers, [2]string{"Content-Type", "text/csv"})
	} else if content != nil {
		r.headers = append(r.headers, [2]string{"Content-Type", "application/json"})
	}
	return o, r
}

// see notes an answer, which has to be in the document.
func (a *answersSeen) see(o operation, r request, answer reply) reply {
	require.NoError(a.t, a.document.misfit(r.method, r.path, answer), "%s answered %d: %s", o.id, answer.StatusCode, answer.body)
	a.seen[fmt.Sprint(o.id, " ", answer.StatusCode)] = true
	return answer
}

// send sends examples, each with a change.
func (a *answersSeen) send(url string, values *strings.Replacer, of []example, change func(operation, *request)) {
	for _, e := range of {
		o, r := a.request(e, values, a.all())
		if change != nil {
			change(o, &r)
		}
		a.see(o, r, r.send(a.t, url))
	}
}

// valuesFor are what stands for {names}.
func valuesFor(user, locked, command, transaction, run, endpoint string) *strings.Replacer {
	return strings.NewReplacer("{user}", user, "{locked}", locked, "{currency}", "USD", "{command_id}", command, "{transaction_id}", transaction, "{run_id}", run, "{endpoint_id}", endpoint)
}

// TestEachDocumentedAnswerIsSeen sends an example of each operation in each way that changes its answer, and
// to servers that lack something. Every answer of the document has to come, and no other.
func TestEachDocumentedAnswerIsSeen(t *testing.T) {
	const maxFileBytes = 1000
	httpserver.SetMaxFileBytes(t, maxFileBytes)
	httpserver.SetMaxCheck(t, 10, maxFileBytes)
	owner := testenv.DatabaseURL(t)
	a := &answersSeen{seen: map[string]bool{}}
	a.world = newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, owner)), withWebhooks(t, owner), func(o *httpserver.Options) { a.options = *o })
	a.operations = a.document.operations()
	a.startWorker()
	without := map[access.Scope]string{
		access.Read: a.token("writer", "*", access.Write, access.Admin), access.Write: a.token("reader", "*", access.Read, access.Admin), access.Admin: a.token("shop", "*", access.Read, access.Write),
	}
	var err error
	a.options.Auth, err = access.New(t.Context(), access.Options{TokensFile: a.file}) // with these tokens too
	require.NoError(t, err)

	user, idle, locked := testenv.Unique(t, "u"), testenv.Unique(t, "idle"), testenv.Unique(t, "locked")
	a.deposits(user, 3, "")
	a.deposits(locked, 1, "")
	endpoint := a.post("/v1/webhooks", `{"url":"https://127.0.0.1:1/"}`).json(t)["endpoint_id"].(string)
	existing := valuesFor(user, locked, "d-0", user+"-t", user, endpoint)
	missing := valuesFor(testenv.Unique(t, "none"), locked, "none", "none", "none", unknownEndpoint)
	ofIdle := valuesFor(idle, locked, "none", "none", idle, unknownEndpoint)
	lock, err := testenv.Pool(t, owner).Begin(t.Context()) // so that a run does not end
	require.NoError(t, err)
	defer func() { require.NoError(t, lock.Rollback(context.Background())) }()
	_, err = lock.Exec(t.Context(), `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, locked)
	require.NoError(t, err)

	all := a.server(func(*httpserver.Options) {})
	stage := []example{{"stage-run", "", exampleFile}}
	a.send(all, existing, stage, nil)
	a.send(all, ofIdle, append(stage, example{"cancel-run", "", ""}), nil)
	a.send(all, existing, examples, nil)
	a.send(all, existing, refusals, nil)
	a.send(all, missing, examples, nil)
	a.send(all, existing, examples, func(_ operation, r *request) { r.path = strings.Split(r.path, "?")[0] + "?unknown=1" })
	a.send(all, existing, examples, func(_ operation, r *request) { r.headers = r.headers[1:] })
	a.send(all, existing, examples, func(o operation, r *request) { r.headers[0][1] = "Bearer " + without[o.scope()] })
	a.send(all, existing, examples, func(o operation, r *request) {
		if content := o.content(); content["text/csv"] != nil {
			r.body = make([]byte, maxFileBytes+1)
		} else if content != nil {
			r.body = make([]byte, wallet.MaxUpdateBytes+1)
		}
	})
	a.send(all, existing, examples, func(_ operation, r *request) {
		r.body, r.headers = []byte("a text"), [][2]string{r.headers[0], {"Content-Type", "text/plain"}}
	})
	a.sendSlowly(existing)
	limited := a.server(func(o *httpserver.Options) { o.Rate = 0.001 })
	a.send(limited, existing, examples[:1], nil) // there is room for one
	a.send(limited, existing, examples, nil)
	a.send(a.server(func(o *httpserver.Options) { o.Webhooks = nil }), existing, examples, nil)
	a.send(a.broken(), existing, examples, nil)
	alone := a.unattended(idle)
	a.send(a.server(alone), ofIdle, examples, nil)
	a.send(a.server(func(o *httpserver.Options) { alone(o); away(t, o) }), ofIdle, examples, nil)

	for id, o := range a.operations {
		for status := range o.described["responses"].(map[string]any) {
			if !a.seen[id+" "+status] {
				t.Errorf("the document has %s for %s, and no request of this test gets it: see route.errors", status, id)
			}
		}
	}
}

// sendSlowly sends bodies that do not end.
func (a *answersSeen) sendSlowly(values *strings.Replacer) {
	require.True(a.t, a.t.Run("slowly", func(t *testing.T) {
		httpserver.SetBodyTimeout(t, 100*time.Millisecond)
		httpserver.SetUploadPatience(t, 100*time.Millisecond)
		url := a.server(func(*httpserver.Options) {})
		var group sync.WaitGroup
		var mu sync.Mutex
		for _, e := range examples {
			o, r := a.request(e, values, a.all())
			if o.content() == nil {
				continue
			}
			sent := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n", r.method, r.path)
			for _, h := range r.headers {
				sent += h[0] + ": " + h[1] + "\r\n"
			}
			group.Go(func() {
				answer, body, err := raw(strings.TrimPrefix(url, "http://"), sent+"\r\n{")
				mu.Lock()
				defer mu.Unlock()
				require.NoError(t, err, o.id)
				a.see(o, r, reply{answer, body})
			})
		}
		group.Wait()
	}))
}

// broken is a server without tables, and without a namespace.
func (a *answersSeen) broken() (url string) {
	elsewhere, err := client.NewClientFromExisting(testenv.Temporal(a.t), client.Options{Namespace: "none"})
	require.NoError(a.t, err)
	database := testenv.EmptyDatabaseURL(a.t)
	return a.server(func(o *httpserver.Options) {
		o.Pool = testenv.Pool(a.t, database)
		withWebhooks(a.t, database)(o)
		o.Wallets, err = starter.New(elsewhere, starter.Options{Lanes: 1})
		require.NoError(a.t, err)
	})
}

// unattended is for a server without a worker. The workflow of a run is terminated as soon as there is
// one: a resume that waits for it then finds the run cancelled.
func (a *answersSeen) unattended(run string) func(*httpserver.Options) {
	temporal := testenv.Temporal(a.t)
	go func() {
		for temporal.TerminateWorkflow(a.t.Context(), wallet.RunWorkflowID(run), "", "") != nil && a.t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: testenv.Unique(a.t, "idle"), Lanes: 1})
	require.NoError(a.t, err)
	return func(o *httpserver.Options) { o.Wallets, o.AnswerTimeout = wallets, 200*time.Millisecond }
}

// away is for a server whose Postgres does not answer.
func away(t *testing.T, o *httpserver.Options) {
	o.Pool = testenv.Pool(t, "postgres://nobody@127.0.0.1:1/none")
	o.Checks = []telemetry.Check{{Name: "postgres", Do: o.Pool.Ping}}
	withWebhooks(t, "postgres://nobody@127.0.0.1:1/none")(o)
}
