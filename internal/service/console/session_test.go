package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
)

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

func TestALinkInAMailFindsTheSession(t *testing.T) {
	w := newWorld(t)
	b := w.browser() // the browser keeps a strict cookie to itself
	a := b.do(http.MethodGet, "/console/feed", nil, "Sec-Fetch-Site: cross-site")
	require.Equal(t, "0", a.Header.Get("Refresh"), "the page asks again by itself")
	a = b.do(http.MethodGet, "/console/feed", nil, "Sec-Fetch-Site: same-origin")
	require.Equal(t, "Log in", a.title())
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
