package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a worker and the console, in front of a database of the test's own.
type world struct {
	t       *testing.T
	url     string
	owner   string // URL of the database, for its owner
	pool    *pgxpool.Pool
	wallets *starter.Client
	tokens  []access.StaticToken
	file    string
	user    string // with a wallet in USD; other tests share Temporal
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, file: filepath.Join(t.TempDir(), "tokens.json"), user: testenv.Unique(t, "console")}
	w.owner = testenv.DatabaseURL(t)
	w.pool = testenv.Pool(t, testenv.AppURL(t, w.owner))
	w.token("nobody", []access.Scope{access.Admin}, "x")
	auth, err := access.New(t.Context(), access.Options{TokensFile: w.file})
	require.NoError(t, err)
	temporal, queue := testenv.Temporal(t), testenv.Unique(t, "console")
	worker, err := service.Start(t.Context(), service.Options{Temporal: temporal, Namespace: client.DefaultNamespace, Pool: w.pool, TaskQueue: queue, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(worker.Stop)
	w.wallets, err = starter.New(temporal, starter.Options{TaskQueue: queue, Lanes: 1})
	require.NoError(t, err)
	w.url = w.serve(auth)
	return w
}

// serve starts a server with the console.
func (w *world) serve(auth *access.Authenticator) string {
	s, err := httpserver.New(httpserver.Options{Wallets: w.wallets, Pool: w.pool, Auth: auth, Logger: zap.NewNop()})
	require.NoError(w.t, err)
	c, err := console.New(w.t.Context(), console.Options{Auth: auth, Pool: w.pool, Read: s.Read(), Wallets: w.wallets, Logger: zap.NewNop(), AnswerTimeout: 20 * time.Second, Allow: s.Allow, Widely: s.Widely})
	require.NoError(w.t, err)
	s.Mount(console.Path, c)
	listening := httptest.NewServer(s.Handler())
	w.t.Cleanup(listening.Close)
	return listening.URL
}

// token makes a token. A word such as USD binds it to a currency, others to users.
func (w *world) token(subject string, scopes []access.Scope, boundTo ...string) string {
	token, hash := access.NewToken()
	made := access.StaticToken{Subject: subject, SHA256: hash, Scopes: scopes}
	for _, b := range boundTo {
		if b != access.Everyone && wallet.ValidateCurrency(b) == nil {
			made.Currencies = append(made.Currencies, b)
		} else {
			made.Users = append(made.Users, b)
		}
	}
	w.tokens = append(w.tokens, made)
	w.save()
	return token
}

func (w *world) save() {
	content, err := json.Marshal(map[string]any{"tokens": w.tokens})
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(w.file, content, 0o600))
	later := time.Now().Add(time.Duration(len(w.tokens)) * time.Second) // a file of the same size and time is the same
	require.NoError(w.t, os.Chtimes(w.file, later, later))
}

func (w *world) apply(user, currency string, c wallet.Command) wallet.Result {
	result, err := w.wallets.Apply(w.t.Context(), user, currency, c)
	if err != nil {
		require.ErrorAs(w.t, err, new(*wallet.UnappliedError))
	}
	return result
}

// fill gives the user a past: an add, a hold, a refusal, a transfer.
func (w *world) fill() {
	w.apply(w.user, "USD", wallet.Command{ID: "salary", Type: wallet.TypeAdd, Amount: wallet.MustAmount("100"), Description: "of November"})
	w.apply(w.user, "USD", wallet.Command{ID: "room", Type: wallet.TypeHold, Amount: wallet.MustAmount("30")})
	w.apply(w.user, "USD", wallet.Command{ID: "car", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("5000")})
	w.apply(w.user, "EUR", wallet.Command{ID: "gift", Type: wallet.TypeAdd, Amount: wallet.MustAmount("7")})
	_, err := w.wallets.Transfer(w.t.Context(), starter.Transfer{ID: w.user, FromUserID: w.user, ToUserID: w.user + "-2", Currency: "USD", Amount: wallet.MustAmount("1")})
	require.NoError(w.t, err)
	w.apply(w.user, "CHF", wallet.Command{ID: "limit", Type: wallet.TypeSetCreditLimit, Amount: wallet.MustAmount("50")})
	w.apply(w.user, "CHF", wallet.Command{ID: "debt", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("20")})
	w.apply(w.user, "CHF", wallet.Command{ID: "welcome", Type: wallet.TypeAdd, Amount: wallet.MustAmount("9"), ExpiresIn: "30d", Priority: 7})
	w.apply(w.user, "CHF", wallet.Command{ID: "coffee", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("4")})
}

// browser keeps cookies, and sends what browsers send with a form.
type browser struct {
	w    *world
	http *http.Client
}

type answer struct {
	*http.Response
	body string
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	return &browser{w, &http.Client{Jar: jar}}
}

// as is a browser in which somebody has logged in.
func (w *world) as(token string) *browser {
	b := w.browser()
	require.Eventually(w.t, func() bool { // a new file of tokens counts after a second
		a := b.post("/console/login", "token", token)
		return a.StatusCode != http.StatusUnauthorized
	}, 20*time.Second, 100*time.Millisecond)
	return b
}

func (b *browser) do(method, path string, form url.Values, headers ...string) answer {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(context.Background(), method, b.w.url+path, body)
	require.NoError(b.w.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	got, err := b.http.Do(r)
	require.NoError(b.w.t, err)
	defer got.Body.Close()
	content, err := io.ReadAll(got.Body)
	require.NoError(b.w.t, err)
	return answer{got, string(content)}
}

func (b *browser) get(path string, pairs ...string) answer {
	if len(pairs) > 0 {
		path += "?" + form(pairs).Encode()
	}
	return b.do(http.MethodGet, path, nil)
}

func (b *browser) post(path string, pairs ...string) answer {
	return b.do(http.MethodPost, path, form(pairs))
}

func form(pairs []string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// title is what the page's window says.
func (a answer) title() string {
	_, rest, _ := strings.Cut(a.body, "<title>")
	title, _, _ := strings.Cut(rest, " · Wallet console")
	return html.UnescapeString(title)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// hiddenFields are those of the form that confirms.
func (a answer) hiddenFields() (pairs []string) {
	_, form, _ := strings.Cut(a.body, `action="/console/change/confirm"`)
	for _, f := range hidden.FindAllStringSubmatch(form, -1) {
		pairs = append(pairs, f[1], html.UnescapeString(f[2]))
	}
	return pairs
}

var readWrite = []access.Scope{access.Read, access.Write}

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

// TestATokenSeesOnlyWhatItIsBoundTo goes through every page with tokens that reach less.
func TestATokenSeesOnlyWhatItIsBoundTo(t *testing.T) {
	w := newWorld(t)
	w.fill()
	for name, row := range map[string]struct {
		token string
		all   bool // reaches the wallet in USD
	}{
		"another user":     {w.token("other", readWrite, w.user+"-2"), false},
		"another currency": {w.token("euros", readWrite, access.Everyone, "EUR"), false},
		"its own":          {w.token("own", readWrite, w.user, "USD"), true},
	} {
		b := w.as(row.token)
		for path, words := range w.pagesOfAWallet() {
			a := b.get(path)
			if row.all {
				require.Equal(t, http.StatusOK, a.StatusCode, "%s: %s", name, path)
				continue
			}
			require.Equal(t, http.StatusForbidden, a.StatusCode, "%s: %s", name, path)
			require.NotContains(t, a.body, words, "%s: %s", name, path)
		}
		require.Equal(t, row.all, b.post("/console/verify", "user", w.user, "currency", "USD").StatusCode == http.StatusOK, name)
		for _, path := range []string{"/console/feed", "/console/runs", "/console/run?id=x"} {
			require.Equal(t, http.StatusForbidden, b.get(path).StatusCode, "%s: %s", name, path)
		}
		require.NotContains(t, b.get("/console/").body, "/console/feed", name)
		require.Equal(t, http.StatusNotFound, b.get("/console/transaction", "id", w.user).StatusCode, "%s: it has a leg of others", name)
		require.NotContains(t, b.get("/console/", "q", w.user).body, "/console/transaction", name)
		found := b.get("/console/", "q", "salary").body
		require.Equal(t, row.all, strings.Contains(found, "Command <bdi"), "%s: %s", name, found)
		review := b.post("/console/change", "user", w.user, "currency", "USD", "type", "freeze", "what", "all", "reason", "why")
		require.Equal(t, row.all, review.StatusCode == http.StatusOK, name)
		confirmed := b.post("/console/change/confirm", "user", w.user, "currency", "USD", "type", "freeze", "what", "debits", "reason", "why", "id", "console-"+strings.ReplaceAll(name, " ", "-"))
		require.Equal(t, row.all, confirmed.StatusCode == http.StatusOK, "%s: %s", name, confirmed.body)
	}
	euros := w.as(w.tokenOf("euros"))
	require.NotContains(t, euros.get("/console/user", "user", w.user).body, "USD")
	require.Contains(t, euros.get("/console/user", "user", w.user).body, "EUR")
}

// tokenOf makes another token like the one of a subject.
func (w *world) tokenOf(subject string) string {
	for _, t := range w.tokens {
		if t.Subject == subject {
			return w.token(subject, t.Scopes, append(t.Users, t.Currencies...)...)
		}
	}
	panic("no token of " + subject)
}

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

func TestASession(t *testing.T) {
	w := newWorld(t)
	w.fill()
	path := "/console/wallet?" + form([]string{"user", w.user, "currency", "USD"}).Encode()
	b := w.browser()
	a := b.get(path)
	require.Equal(t, "Log in", a.title(), "nobody is logged in")
	require.Equal(t, "/console/login", a.Request.URL.Path)
	require.NotContains(t, a.body, w.user+" in USD")

	token := w.token("anna", readWrite, access.Everyone)
	b = w.as(token)
	require.Equal(t, w.user+" in USD", b.post("/console/login", "token", token, "next", path).title(), "the login leads back")
	for _, next := range []string{"https://evil.example.com/console/", "//evil.example.com/console/", `/\evil.example.com`, "/v1/wallets/u1", "/console/../v1/x", "javascript:alert(1)", "/console/login"} {
		at := b.post("/console/login", "token", token, "next", next).Request.URL
		require.Equal(t, w.url, at.Scheme+"://"+at.Host, next)
		require.True(t, strings.HasPrefix(at.Path, "/console/"), "%s led to %s", next, at)
	}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cookie := b.post("/console/login", "token", token).Cookies()[0]
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.Positive(t, cookie.MaxAge)
	require.LessOrEqual(t, cookie.MaxAge, 8*60*60)
	require.NotContains(t, cookie.Value, token)

	forged := w.browser()
	for _, value := range []string{"", "x", token, cookie.Value[:len(cookie.Value)-2] + "AA"} {
		require.Equal(t, "Log in", forged.do(http.MethodGet, path, nil, "Cookie: wallet-console="+value).title(), value)
	}
	b.http.CheckRedirect = nil
	require.Equal(t, "Log in", b.post("/console/logout").title())
	require.Equal(t, "Log in", b.get(path).title())

	b = w.as(token)
	require.Equal(t, http.StatusOK, b.get(path).StatusCode)
	w.tokens = w.tokens[:1]
	w.save()
	require.Eventually(t, func() bool { return b.get(path).title() == "Log in" }, 20*time.Second, 200*time.Millisecond, "a revoked token ends the session")
}

func TestACookieIsForThisHostAndTLS(t *testing.T) {
	w := newWorld(t)
	token := w.token("anna", readWrite, access.Everyone)
	auth, err := access.New(t.Context(), access.Options{TokensFile: w.file})
	require.NoError(t, err)
	logIn := func(address, url string, headers ...string) *http.Cookie {
		r := httptest.NewRequest(http.MethodPost, address+"/console/login", strings.NewReader("token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, h := range headers {
			r.Header.Set(h, "x")
		}
		recorded := httptest.NewRecorder()
		c, err := console.New(t.Context(), console.Options{Auth: auth, Pool: w.pool, Logger: zap.NewNop(), AnswerTimeout: time.Second, URL: url})
		require.NoError(t, err)
		c.ServeHTTP(recorded, r)
		return recorded.Result().Cookies()[0]
	}
	const here = "http://127.0.0.1:8088"
	for what, cookie := range map[string]*http.Cookie{
		"TLS": logIn("https://wallet.example.com", ""), "another host": logIn("http://wallet.example.com", ""), "its own TLS": logIn("https://localhost", ""),
		"a proxy":     logIn(here, "", "Forwarded"),
		"its address": logIn(here, "", "X-Forwarded-For"), "its scheme": logIn(here, "", "x-forwarded-proto"),
		"its URL": logIn(here, "https://wallet.example.com"),
	} {
		require.Equal(t, "__Host-wallet-console", cookie.Name, what)
		require.True(t, cookie.Secure, what)
		require.Equal(t, "/", cookie.Path, what)
		require.Empty(t, cookie.Domain, what)
	}
	for _, url := range []string{"", here} {
		plain := logIn(here, url)
		require.Equal(t, "wallet-console", plain.Name, "not all browsers keep a Secure cookie there")
		require.False(t, plain.Secure)
	}
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

func TestALinkInAMailFindsTheSession(t *testing.T) {
	w := newWorld(t)
	b := w.browser() // the browser keeps a strict cookie to itself
	a := b.do(http.MethodGet, "/console/feed", nil, "Sec-Fetch-Site: cross-site")
	require.Equal(t, "0", a.Header.Get("Refresh"), "the page asks again by itself")
	a = b.do(http.MethodGet, "/console/feed", nil, "Sec-Fetch-Site: same-origin")
	require.Equal(t, "Log in", a.title())
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
	require.Contains(t, run.body, "the first 50")
	require.Equal(t, 50, strings.Count(run.body, "no amount"))
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

func TestWithoutTokensNobodyLogsIn(t *testing.T) {
	w := newWorld(t)
	w.fill()
	off, err := access.New(t.Context(), access.Options{})
	require.NoError(t, err)
	w.url = w.serve(off)
	b := w.browser()
	require.Contains(t, b.get("/console/wallet", "user", w.user, "currency", "USD").body, "No login is configured")
	r := httptest.NewRequest(http.MethodGet, "/console/", nil) // for example.com
	recorded := httptest.NewRecorder()
	s, err := httpserver.New(httpserver.Options{Pool: w.pool, Auth: off, Logger: zap.NewNop()})
	require.NoError(t, err)
	c, err := console.New(t.Context(), console.Options{Auth: off, Pool: w.pool, Logger: zap.NewNop(), AnswerTimeout: time.Second})
	require.NoError(t, err)
	s.Mount(console.Path, c)
	s.Handler().ServeHTTP(recorded, r)
	require.Equal(t, http.StatusForbidden, recorded.Code, "a name of somebody else's that leads here")
}

func TestServersWithOneKeyShareSessions(t *testing.T) {
	w := newWorld(t)
	token := w.token("anna", readWrite, access.Everyone)
	auth, err := access.New(t.Context(), access.Options{TokensFile: w.file})
	require.NoError(t, err)
	key, err := console.ParseKey("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	require.NoError(t, err)
	for _, bad := range []string{"", "x", "MDEyMzQ1Njc4OWFiY2RlZg=="} {
		_, err := console.ParseKey(bad)
		require.ErrorContains(t, err, "32 bytes in base64")
	}
	server := func(key []byte) *console.Console {
		c, err := console.New(t.Context(), console.Options{Auth: auth, Pool: w.pool, Key: key, Logger: zap.NewNop(), AnswerTimeout: time.Minute})
		require.NoError(t, err)
		return c
	}
	ask := func(c *console.Console, r *http.Request) *http.Response {
		recorded := httptest.NewRecorder()
		c.ServeHTTP(recorded, r)
		return recorded.Result()
	}
	login := httptest.NewRequest(http.MethodPost, "https://wallet.example.com/console/login", strings.NewReader("token="+token))
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	cookie := ask(server(key), login).Cookies()[0]
	for status, key := range map[int][]byte{http.StatusOK: key, http.StatusSeeOther: nil} {
		r := httptest.NewRequest(http.MethodGet, "https://wallet.example.com/console/", nil)
		r.AddCookie(cookie)
		require.Equal(t, status, ask(server(key), r).StatusCode)
	}
}
