package httpserver_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/access"
)

func TestADryRunOverHTTPRecordsNothing(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.post(u1+"/commands", `{"id":"a","type":"add","amount":"10"}`).StatusCode)
	entries := w.count(`SELECT count(*) FROM wallet_commands`)
	reader := w.as("reader", "*", access.Read)
	dry := func(path, body string) map[string]any {
		answer := w.doAs(reader, http.MethodPost, path+"/dry-run", body)
		require.Equal(t, 200, answer.StatusCode, answer.body)
		return answer.json(t)
	}
	would := dry(u1+"/commands", `{"id":"b","type":"subtract","amount":"4"}`)
	require.Equal(t, true, would["dry_run"])
	require.Contains(t, would["note"], "no promise")
	require.Equal(t, "applied", would["status"])
	require.Equal(t, "6.00", would["total_after"])
	require.NotContains(t, would, "hash")
	refused := dry(u1+"/commands", `{"id":"b","type":"subtract","amount":"40"}`)
	require.Equal(t, "insufficient_funds", refused["reason"])
	transfer := dry("/v1/transfers", `{"id":"t","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"40"}`)
	require.Equal(t, "unapplied", transfer["status"])
	require.EqualValues(t, 1, transfer["refused_leg"])
	transaction := dry("/v1/transactions", `{"id":"t","commands":[{"user_id":"u1","currency":"USD","type":"subtract","amount":"4"},{"user_id":"u2","currency":"USD","type":"add","amount":"4"}]}`)
	require.Equal(t, "applied", transaction["status"])
	batch := w.post(u1+"/batches/dry-run", `[{"id":"b","type":"subtract","amount":"4"},{"id":"c","type":"subtract","amount":"7"}]`)
	require.Equal(t, 200, batch.StatusCode, batch.body)
	require.Contains(t, batch.body, "insufficient_funds", "each sees those before it")
	require.Equal(t, 400, w.post(u1+"/commands/dry-run", `{"id":"b","type":"subtract"}`).StatusCode)
	require.Equal(t, 400, w.post(u1+"/batches/dry-run", `[{"id":"b","type":"create"}]`, "Idempotency-Key: c").StatusCode, "as without dry-run")
	require.Equal(t, 400, w.post("/v1/wallets/u1/XXX/commands/dry-run", `{"id":"b","type":"create"}`).StatusCode)
	require.Equal(t, entries, w.count(`SELECT count(*) FROM wallet_commands`))
	require.Zero(t, w.count(`SELECT count(*) FROM wallet_transactions`))

	// It says what the same command gets.
	require.Equal(t, would["total_after"], w.post(u1+"/commands", `{"id":"b","type":"subtract","amount":"4"}`).json(t)["total_after"])
	require.Equal(t, 403, w.doAs(w.as("writer", "*", access.Write), http.MethodPost, u1+"/commands/dry-run", `{"id":"b","type":"create"}`).StatusCode)
}
