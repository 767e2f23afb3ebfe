package httpserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// withWebhooks lets a server change webhooks, also those to this machine.
func withWebhooks(t *testing.T, database string) func(*httpserver.Options) {
	guard, err := webhooks.ParseGuard("127.0.0.0/8")
	require.NoError(t, err)
	store := webhooks.NewStore(testenv.Pool(t, database), guard, &codec.Keys{})
	return func(o *httpserver.Options) { o.Webhooks = store }
}

// unknownEndpoint is a valid id of none.
var unknownEndpoint = "we_" + strings.Repeat("a", 26)

func TestWebhooksAreManaged(t *testing.T) {
	owner := testenv.DatabaseURL(t)
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, owner)), withWebhooks(t, owner))
	w.startWorker()
	user := testenv.Unique(t, "webhook")
	require.Equal(t, 403, w.doAs(w.as("shop", "*", access.Read, access.Write), http.MethodGet, "/v1/webhooks", "").StatusCode)
	require.Equal(t, 403, w.doAs(w.as("bound", "u1", access.Admin), http.MethodGet, "/v1/webhooks", "").StatusCode)

	for _, body := range []string{`{"url":"http://169.254.169.254/"}`, `{"url":"https://127.0.0.1/","events":["none"]}`, `{}`, `{"url":"https://127.0.0.1/","secret":"x"}`} {
		require.Equal(t, 400, w.post("/v1/webhooks", body).StatusCode, body)
	}
	added := w.post("/v1/webhooks", `{"url":"https://127.0.0.1:1/hooks","events":["wallet_asset.added"]}`)
	require.Equal(t, 201, added.StatusCode, added.body)
	id, secret := added.json(t)["endpoint_id"].(string), added.json(t)["secret"].(string)
	one := "/v1/webhooks/" + id
	shown := w.get(one)
	require.Equal(t, 200, shown.StatusCode, shown.body)
	require.Equal(t, "all", shown.json(t)["created_by"])
	require.NotContains(t, w.get("/v1/webhooks").body, secret)

	changed := w.do(http.MethodPut, one, `{"url":"https://127.0.0.1:1/other","description":"the shop"}`)
	require.Equal(t, 200, changed.StatusCode, changed.body)
	require.Equal(t, "the shop", changed.json(t)["description"])
	require.NotContains(t, changed.json(t), "events", "all settings are replaced")
	require.Equal(t, "paused", w.post(one+"/pause", "").json(t)["state"])
	require.Equal(t, "active", w.post(one+"/resume", "").json(t)["state"])
	rotated := w.post(one+"/rotate", `{"overlap":"1h"}`)
	require.Equal(t, 200, rotated.StatusCode, rotated.body)
	require.NotEqual(t, secret, rotated.json(t)["secret"])
	require.EqualValues(t, 2, w.get(one).json(t)["secrets"])
	require.Equal(t, 400, w.post(one+"/rotate", `{"overlap":"-1h"}`).StatusCode)

	w.deposits(user, 2, "")
	event := w.get("/v1/events").json(t)["items"].([]any)[0].(map[string]any)["event_id"].(string)
	again := w.post(one+"/redeliver", `{"event_id":"`+event+`"}`)
	require.Equal(t, 200, again.StatusCode, again.body)
	require.EqualValues(t, 1, w.get(one).json(t)["redelivering"])
	require.EqualValues(t, 3, w.post(one+"/redeliver", `{"since":"2026-01-01T00:00:00Z"}`).json(t)["events"])
	require.EqualValues(t, 0, w.post(one+"/redeliver", `{"parked":true}`).json(t)["events"])
	for _, body := range []string{`{}`, `{"parked":true,"event_id":"x"}`, `{"event_id":"x"}`, `{"user_id":"u"}`, `{"since":"2026-01-01T00:00:00Z","until":"2025-01-01T00:00:00Z"}`} {
		require.Equal(t, 400, w.post(one+"/redeliver", body).StatusCode, body)
	}
	parked := w.get(one + "/parked")
	require.Equal(t, "[]", strings.TrimSpace(parked.body))
	require.Equal(t, 204, w.do(http.MethodDelete, one, "").StatusCode)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		require.Equal(t, 404, w.do(method, one, "").StatusCode)
	}
	require.Equal(t, 404, w.get("/v1/webhooks/none").StatusCode)
}

func TestWithoutTheRoleWebhooksAreOnlyRead(t *testing.T) {
	w := newIdleWorld(t, testenv.Pool(t, testenv.AppURL(t, testenv.DatabaseURL(t))))
	require.Equal(t, 200, w.get("/v1/webhooks").StatusCode)
	answer := w.post("/v1/webhooks", `{"url":"https://example.com/"}`)
	require.Equal(t, 501, answer.StatusCode, answer.body)
	require.Equal(t, "not_configured", answer.json(t)["kind"])
}
