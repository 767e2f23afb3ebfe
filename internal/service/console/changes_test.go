package console_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/trail"
)

func TestAReadTokenChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.fill()
	reader := w.as(w.token("reader", []access.Scope{access.Read}, access.Everyone))
	fields := []string{"user", w.user, "currency", "USD", "type", "freeze", "what", "all", "reason", "because", "id", "console-1"}
	require.Equal(t, http.StatusForbidden, reader.get("/console/change", fields...).StatusCode)
	require.Equal(t, http.StatusForbidden, reader.post("/console/change", fields...).StatusCode)
	require.Equal(t, http.StatusForbidden, reader.post("/console/change/confirm", fields...).StatusCode)
	for path := range w.pagesOfAWallet() {
		require.NotContains(t, reader.get(path).body, `href="/console/change`, path)
	}
	require.Empty(t, w.balance().Frozen)
	writer := w.as(w.token("writer", []access.Scope{access.Write}, access.Everyone))
	require.Equal(t, http.StatusForbidden, writer.get("/console/wallet", "user", w.user, "currency", "USD").StatusCode, "write does not include read")
	for _, fields := range [][]string{fields, {"user", w.user, "currency", "USD", "type", "release", "hold", "room"}, {"user", w.user, "currency", "USD", "type", "reverse", "original", "salary"}} {
		require.Equal(t, http.StatusForbidden, writer.get("/console/change", fields...).StatusCode, "it shows a balance, a hold or a command")
		require.Equal(t, http.StatusForbidden, writer.post("/console/change", fields...).StatusCode)
	}
	require.Equal(t, http.StatusForbidden, writer.post("/console/change/confirm", fields...).StatusCode)
	require.Empty(t, w.balance().Frozen)
}

func (w *world) balance() wallet.Balance {
	a, err := trail.New(w.pool).Asset(w.t.Context(), w.user, "USD")
	require.NoError(w.t, err)
	return a.Balance()
}

func TestAFormOfAnotherSiteIsRefused(t *testing.T) {
	w := newWorld(t)
	w.fill()
	b := w.as(w.token("anna", readWrite, access.Everyone))
	fields := form([]string{"user", w.user, "currency", "USD", "type", "freeze", "what", "all", "reason", "because", "id", "console-1", "token", "x"})
	for _, path := range []string{"/console/change", "/console/change/confirm", "/console/verify", "/console/login", "/console/logout"} {
		for _, headers := range [][]string{{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Sec-Fetch-Site: ", "Origin: https://evil.example.com"}, {"Sec-Fetch-Site: ", "Origin: null"}} {
			a := b.do(http.MethodPost, path, fields, headers...)
			require.Equal(t, http.StatusForbidden, a.StatusCode, "%s from %s", path, headers)
		}
	}
	require.Empty(t, w.balance().Frozen)
	require.Equal(t, http.StatusOK, b.get("/console/wallet", "user", w.user, "currency", "USD").StatusCode, "still logged in")
}

func TestAChangeIsReviewedAndAppliedOnce(t *testing.T) {
	w := newWorld(t)
	w.fill()
	b := w.as(w.token("anna", readWrite, access.Everyone))
	freeze := []string{"user", w.user, "currency", "USD", "type", "freeze", "what", "debits", "reason", "a card was stolen"}
	require.Equal(t, http.StatusBadRequest, b.post("/console/change", append(freeze, "reason", " ")...).StatusCode, "without a reason")
	review := b.post("/console/change", freeze...)
	require.Equal(t, http.StatusOK, review.StatusCode, review.body)
	require.Contains(t, review.body, "Nothing is recorded yet")
	require.Empty(t, w.balance().Frozen, "nothing was done yet")
	before := w.balance().Version
	var group sync.WaitGroup
	pages := make([]answer, 5)
	for i := range pages {
		group.Go(func() { pages[i] = b.post("/console/change/confirm", review.hiddenFields()...) })
	}
	group.Wait()
	for _, a := range pages {
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		require.Contains(t, a.body, "Done: this is on record now.")
		require.Contains(t, a.body, "a card was stolen")
		require.Contains(t, a.body, `<bdi class="id">anna</bdi>`)
	}
	require.Equal(t, before+1, w.balance().Version, "once")
	require.Equal(t, wallet.FrozenDebits, w.balance().Frozen)

	for _, row := range []struct {
		of    []string
		after func() bool
	}{
		{[]string{"type", "unfreeze"}, func() bool { return w.balance().Frozen == "" }},
		{[]string{"type", "release", "hold", "room", "amount", "10.00"}, func() bool { return w.balance().Hold.String() == "20.00" }},
		{[]string{"type", "reverse", "original", "salary", "amount", "2.00"}, func() bool { return w.balance().Total.String() == "97.00" }},
	} {
		fields := append([]string{"user", w.user, "currency", "USD", "reason", "by mistake", "actor", "boss"}, row.of...)
		require.Equal(t, http.StatusOK, b.get("/console/change", fields...).StatusCode)
		review := b.post("/console/change", fields...)
		require.Equal(t, http.StatusOK, review.StatusCode, review.body)
		done := b.post("/console/change/confirm", append(review.hiddenFields(), "actor", "boss")...)
		require.Contains(t, done.body, "Done: this is on record now.", "%s: %s", row.of, done.body)
		var actor string
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT actor FROM wallet_commands WHERE user_id = $1 AND currency = 'USD' ORDER BY position DESC LIMIT 1`, w.user).Scan(&actor))
		require.Equal(t, "anna", actor)
		require.True(t, row.after(), row.of)
	}

	too := []string{"user", w.user, "currency", "USD", "type", "reverse", "original", "salary", "amount", "99", "reason", "all of it"}
	refused := b.post("/console/change", too...)
	require.Contains(t, refused.body, "This would be refused")
	require.NotContains(t, refused.body, "/console/change/confirm")
	refused = b.post("/console/change/confirm", append(too, "id", "console-2")...)
	require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode)
	require.Contains(t, refused.body, "The refusal is on record")
	require.Equal(t, http.StatusBadRequest, b.post("/console/change/confirm", append(too, "id", "salary")...).StatusCode, "an id of others")
	require.Equal(t, http.StatusBadRequest, b.post("/console/change", "user", w.user, "currency", "USD", "type", "add", "amount", "1", "reason", "x").StatusCode)
}

// TestAFreezeUntilATimeIsShownWithIt reads every page that says what is frozen.
func TestAFreezeUntilATimeIsShownWithIt(t *testing.T) {
	w := newWorld(t)
	w.fill()
	until := time.Now().UTC().Add(time.Hour).Truncate(time.Second)
	w.apply(w.user, "USD", wallet.Command{ID: "f-1", Type: wallet.TypeFreeze, What: "debits", ExpiresAt: until})
	b := w.as(w.token("anna", readWrite, access.Everyone))
	of := []string{"user", w.user, "currency", "USD"}
	debits := "debits until " + until.Format(time.RFC3339)
	pages := func() map[string]string {
		return map[string]string{
			"wallet": b.get("/console/wallet", of...).body, "user": b.get("/console/user", "user", w.user).body,
			"entry":  b.get("/console/entry", append(of, "id", "f-1")...).body,
			"review": b.post("/console/change", append(of, "type", "freeze", "what", "credits", "reason", "x")...).body,
		}
	}
	for name, page := range pages() {
		require.Contains(t, page, debits, name)
	}
	require.Contains(t, pages()["review"], debits+", credits", "what will be frozen")
	const freeze = "type=freeze"
	w.apply(w.user, "USD", wallet.Command{ID: "f-2", Type: wallet.TypeFreeze, What: "credits"})
	require.Contains(t, pages()["wallet"], "frozen: "+debits+", credits")
	require.Contains(t, pages()["wallet"], freeze, "it can be frozen for longer")
	w.apply(w.user, "USD", wallet.Command{ID: "f-3", Type: wallet.TypeFreeze, What: "all"})
	require.NotContains(t, pages()["wallet"], freeze)
	require.Contains(t, pages()["wallet"], "type=unfreeze")
}
