package console_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// pagesOfAWallet are all pages about a wallet, with what they say of it.
func (w *world) pagesOfAWallet() map[string]string {
	of := form([]string{"user", w.user, "currency", "USD"}).Encode()
	return map[string]string{
		"/console/wallet?" + of:                        "Balance over time",
		"/console/statement?" + of:                     "Opening balance",
		"/console/statement.csv?" + of:                 "opening," + w.user,
		"/console/journal?" + of:                       "salary",
		"/console/journal?status=unapplied&" + of:      "insufficient funds",
		"/console/holds?" + of:                         "room",
		"/console/entry?position=2&" + of:              "of November",
		"/console/entry?id=car&" + of:                  "cannot subtract",
		"/console/change?type=freeze&" + of:            "What is frozen",
		"/console/change?type=release&hold=room&" + of: "is left",
		"/console/grants?show=all&" + of:               "There are none",
	}
}

func TestEachPageShowsWhatItIsAbout(t *testing.T) {
	w := newWorld(t)
	w.fill()
	b := w.as(w.token("anna", readWrite, access.Everyone))
	pages := w.pagesOfAWallet()
	pages["/console/"] = "Find"
	pages["/console/?q="+w.user] = "Transaction"
	pages["/console/?q=gift"] = "in EUR"
	pages["/console/?q=nothing-at-all"] = "Nothing has this id"
	pages["/console/user?user="+w.user] = "EUR"
	pages["/console/transaction?id="+w.user] = w.user + "-2"
	pages["/console/feed"] = "Webhooks"
	pages["/console/runs"] = "Runs"
	inDebt := form([]string{"user", w.user, "currency", "CHF"}).Encode()
	pages["/console/wallet?"+inDebt] = `<span class="value">35.00 <span class="unit">CHF</span></span>` // -15 and the limit
	pages["/console/grants?"+inDebt] = "welcome"
	pages["/console/entry?id=debt&"+inDebt] = `<th scope="row">Available</th><td class="n">50.00</td><td class="n strong">30.00</td>`
	pages["/console/entry?id=limit&"+inDebt] = `<th scope="row">Available</th><td class="n">0.00</td><td class="n strong">50.00</td>`
	pages["/console/entry?id=coffee&"+inDebt] = "4.00 of <a"
	pages["/console/entry?id=welcome&"+inDebt] = "Priority of the grant"
	for path, words := range pages {
		a := b.get(path)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s: %s", path, a.body)
		require.Contains(t, a.body, words, path)
		require.Contains(t, a.Header.Get("Content-Security-Policy"), "default-src 'none'", path)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"), path)
		if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			require.NotEmpty(t, a.title(), path)
			require.NotRegexp(t, `(?i)<script|<style|\sstyle=|\son[a-z]+=`, a.body, path)
			require.Equal(t, 1, strings.Count(a.body, "<h1"), path)
		}
	}
	verified := b.post("/console/verify", "user", w.user, "currency", "USD")
	require.Contains(t, verified.body, "Everything matches the journal", verified.body)
	require.Equal(t, 404, b.post("/console/verify", "user", "none", "currency", "USD").StatusCode)
	for path, status := range map[string]int{
		"/console/wallet?user=none&currency=USD": 404, "/console/user?user=none": 404, "/console/transaction?id=none": 404, "/console/none": 404,
		"/console/entry?position=99&user=" + w.user + "&currency=USD": 404, "/console/run?id=none": 404,
		"/console/statement?from=2026-02-30&user=" + w.user + "&currency=USD": 400, "/console/journal?status=x&user=" + w.user + "&currency=USD": 400,
		"/console/wallet?user=u1&currency=usd": 400, "/console/wallet?user=%ff&currency=USD": 400, "/console/holds?after=%00&user=" + w.user + "&currency=USD": 400,
	} {
		a := b.get(path)
		require.Equal(t, status, a.StatusCode, "%s: %s", path, a.body)
		require.Equal(t, 1, strings.Count(a.body, "<h1"), path)
	}
}

// TestHostileTextStaysText has markup wherever callers can write.
func TestHostileTextStaysText(t *testing.T) {
	const markup = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}` + "\u202e"
	w := newWorld(t)
	w.user = markup
	w.apply(markup, "USD", wallet.Command{ID: "a" + markup, Type: wallet.TypeAdd, Amount: wallet.MustAmount("9"), ExpiresIn: "1h", Description: markup, Actor: markup, Metadata: map[string]string{markup: markup}})
	w.apply(markup, "USD", wallet.Command{ID: markup, Type: wallet.TypeHold, Amount: wallet.MustAmount("3"), Description: markup})
	w.apply(markup, "USD", wallet.Command{ID: "c" + markup, Type: wallet.TypeRelease, HoldID: "none" + markup})
	b := w.as(w.token("anna", readWrite, access.Everyone))
	of := form([]string{"user", markup, "currency", "USD"}).Encode()
	paths := []string{"/console/?q=" + url.QueryEscape(markup), "/console/?q=" + url.QueryEscape("a"+markup), "/console/user?" + of, "/console/login?next=" + url.QueryEscape(markup), "/console/run?id=" + url.QueryEscape(markup)}
	for _, page := range []string{"wallet?", "statement?from=" + url.QueryEscape(markup) + "&", "statement?", "journal?", "journal?status=unapplied&", "holds?", "grants?show=all&", "entry?position=2&", "entry?position=3&", "entry?position=4&",
		"change?type=freeze&reason=" + url.QueryEscape(markup) + "&", "change?type=release&hold=" + url.QueryEscape(markup) + "&", "change?type=reverse&original=" + url.QueryEscape("a"+markup) + "&"} {
		paths = append(paths, "/console/"+page+of)
	}
	check := func(what string, a answer) {
		require.NotContains(t, a.body, "<script>", what)
		require.NotContains(t, a.body, "<img", what)
		require.NotContains(t, a.body, `"'>`, what)
	}
	for _, path := range paths {
		check(path, b.get(path))
	}
	require.Contains(t, b.get("/console/entry?position=2&"+of).body, html.EscapeString("<script>alert(1)</script>"), "it is shown")
	review := b.post("/console/change", "user", markup, "currency", "USD", "type", "freeze", "what", "all", "reason", markup)
	require.Equal(t, http.StatusOK, review.StatusCode)
	check("review", review)
	done := b.post("/console/change/confirm", review.hiddenFields()...)
	require.Contains(t, done.body, "Done: this is on record now.", "the hidden fields are what was written: %s", done.body)
	check("done", done)
	require.NotContains(t, b.get("/console/statement.csv?"+of).Header.Get("Content-Disposition"), "script")
}

func TestAnyUserIDHasItsPages(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.token("anna", readWrite, access.Everyone))
	for _, user := range []string{"a/b", ".", "..", "%2F", "a b+c", "ü&x=1", "#?", "日本語", strings.Repeat("ü", 128)} {
		w.apply(user, "USD", wallet.Command{ID: "x", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")})
		found := b.get("/console/", "q", user)
		address := regexp.MustCompile(`href="(/console/user\?[^"]*)"`).FindStringSubmatch(found.body)
		require.NotNil(t, address, found.body)
		page := b.get(html.UnescapeString(address[1]))
		require.Equal(t, "User "+user, page.title())
		address = regexp.MustCompile(`href="(/console/wallet\?[^"]*)"`).FindStringSubmatch(page.body)
		require.NotNil(t, address, page.body)
		require.Equal(t, user+" in USD", b.get(html.UnescapeString(address[1])).title())
	}
	long := strings.Repeat("ü", 129)
	require.Equal(t, http.StatusBadRequest, b.get("/console/wallet", "user", long, "currency", "USD").StatusCode)
	require.Contains(t, b.get("/console/", "q", long).body, "at most 128 characters")
	require.Equal(t, http.StatusBadRequest, b.post("/console/verify", "user", "u", "currency", "USD", "x", strings.Repeat("x", 70_000)).StatusCode)
}

// TestPagesHaveAllLines follows the links through lists that are longer than a page.
func TestPagesHaveAllLines(t *testing.T) {
	w := newWorld(t)
	commands := make([]wallet.Command, 120)
	for i := range commands {
		commands[i] = wallet.Command{ID: fmt.Sprintf("c-%03d", i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
		if i%3 == 0 {
			commands[i].Type, commands[i].Amount = wallet.TypeSubtract, wallet.MustAmount("1000")
		}
	}
	_, err := w.wallets.ApplyBatch(t.Context(), w.user, "USD", commands)
	require.NoError(t, err)
	b := w.as(w.token("anna", readWrite, access.Everyone))
	for list, row := range map[string]struct {
		link string
		want int
	}{
		"journal?": {"Older", 120}, "journal?status=unapplied&": {"Older", 40}, "statement?": {"Next page", 80}, "statement?type=add&": {"Next page", 80}, "statement?type=hold&": {"Next page", 0},
	} {
		seen := map[string]bool{}
		path := "/console/" + list + form([]string{"user", w.user, "currency", "USD"}).Encode()
		for pages := 0; path != ""; pages++ {
			require.Less(t, pages, 5, list)
			a := b.get(path)
			for _, id := range regexp.MustCompile(`>(c-\d\d\d)<`).FindAllStringSubmatch(a.body, -1) {
				require.False(t, seen[id[1]], "%s twice in %s", id[1], list)
				seen[id[1]] = true
			}
			path = ""
			if next := regexp.MustCompile(`href="([^"]*)">` + row.link).FindStringSubmatch(a.body); next != nil {
				path = html.UnescapeString(next[1])
			} else if strings.HasPrefix(list, "statement") {
				require.Contains(t, a.body, "Closing balance")
			}
			if strings.HasPrefix(list, "statement") {
				require.Equal(t, pages == 0, strings.Contains(a.body, `">Added (80)<`), "the sums are read once")
				require.Equal(t, pages > 0 && path == "", strings.Contains(a.body, "Closing balance</th><td></td><td></td>"))
			}
		}
		require.Len(t, seen, row.want, list)
	}
	empty := b.get("/console/statement", "user", w.user, "currency", "USD", "from", "2199-01-01", "to", "2199-01-02", "after", "1")
	require.Contains(t, empty.body, "Closing balance")
	require.NotContains(t, empty.body, "Next page")
	csv := b.get("/console/statement.csv", "user", w.user, "currency", "USD", "spreadsheet", "1")
	require.Equal(t, 1+1+81+1, strings.Count(csv.body, "\n"), "header, opening, the creation and 80 lines, closing")
	require.True(t, strings.HasPrefix(csv.body, "\ufeff"))
	require.False(t, strings.HasPrefix(b.get("/console/statement.csv", "user", w.user, "currency", "USD").body, "\ufeff"))
}

func TestADamagedEntryIsShownAndVerified(t *testing.T) {
	w := newWorld(t)
	w.fill()
	owner := testenv.Pool(t, w.owner)
	_, err := owner.Exec(t.Context(), `ALTER TABLE wallet_commands DISABLE TRIGGER USER`)
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), `UPDATE wallet_commands SET description = 'of December' WHERE user_id = $1 AND command_id = 'salary'`, w.user)
	require.NoError(t, err)
	b := w.as(w.token("anna", []access.Scope{access.Read}, access.Everyone))
	require.Contains(t, b.get("/console/entry", "user", w.user, "currency", "USD", "id", "salary").body, "a column of the entry was changed")
	require.Contains(t, b.post("/console/verify", "user", w.user, "currency", "USD").body, "Something is wrong with this wallet")
}

func TestARunIsFollowedAndTheFeedIsShown(t *testing.T) {
	w := newWorld(t)
	owner := testenv.Pool(t, w.owner)
	for _, sql := range []string{
		`INSERT INTO wallet_runs (run_id, file, lines, skipped, state) VALUES ('march', 'march.csv', 200, 1, 'running'), ('april', '', 1, 0, 'done')`,
		`INSERT INTO wallet_run_failures (run_id, part, line, status, user_id, currency, type, amount, command_id, reason, message)
			SELECT 'march', 0, line, 'invalid', 'u1', 'USD', 'add', 'x', 'c', 'malformed', 'no amount' FROM generate_series(1, 60) AS line`,
		`INSERT INTO wallet_feed_consumers (name, role, after_id, after_version) VALUES ('shop', 'wallet_consumer', 0, 0)`,
		`INSERT INTO wallet_feed_parked (consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at)
			VALUES ('shop', 'u9', 'USD', 1, 1, 5, true, '<b>no</b>', now())`,
		`INSERT INTO wallet_webhook_endpoints (endpoint_id, url, description, users, currencies, events, after_id, after_version, created_by)
			VALUES ('we_' || repeat('a', 26), 'https://u:p@example.com/hook?key=secret', '', '{}', '{}', '{}', 0, 0, 'x')`,
	} {
		_, err := owner.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	b := w.as(w.token("anna", []access.Scope{access.Read}, access.Everyone))
	require.Contains(t, b.get("/console/runs").body, "march")
	run := b.get("/console/run", "id", "march")
	require.Empty(t, run.Header.Get("Refresh"), "only if somebody asks for it")
	require.Contains(t, run.body, `<progress id="progress" max="200" value="1">`)
	require.Equal(t, 50, strings.Count(run.body, "no amount"))
	rest := b.get("/console/run", "id", "march", "after", "50").body
	require.Contains(t, run.body, `href="/console/run?after=50&amp;id=march">Next page`)
	require.Equal(t, 10, strings.Count(rest, "no amount"))
	require.NotContains(t, rest, "Next page")
	require.Equal(t, "5", b.get("/console/run", "id", "march", "live", "1").Header.Get("Refresh"))
	require.Empty(t, b.get("/console/run", "id", "april", "live", "1").Header.Get("Refresh"), "it has ended")
	feed := b.get("/console/feed").body
	require.Contains(t, feed, "shop")
	require.Contains(t, feed, "&lt;b&gt;no&lt;/b&gt;")
	require.Contains(t, feed, "https://example.com<", "paths have keys too")
	require.NotContains(t, feed, "/hook")
	require.NotContains(t, feed, "secret")
	feed = w.as(w.token("boss", []access.Scope{access.Read, access.Admin}, access.Everyone)).get("/console/feed").body
	require.Contains(t, feed, "https://example.com/hook<")
	require.NotContains(t, feed, "secret")
}
