package console_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/oidcprovider"
)

// serveWithOIDC starts a provider, and a server whose people log in at it. audience is whom the API's
// tokens must be for.
func (w *world) serveWithOIDC(audience string) *oidcprovider.Provider {
	t := w.t
	var handler http.Handler
	listening := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(listening.Close)
	w.url = listening.URL
	p := oidcprovider.Start(t, w.url+"/console/oidc/callback")
	auth, err := access.New(t.Context(), access.Options{JWT: &access.JWTOptions{JWKS: p.URL + "/keys", Issuer: p.URL, Audience: audience}})
	require.NoError(t, err)
	s, err := httpserver.New(httpserver.Options{Wallets: w.wallets, Pool: w.pool, Auth: auth, Logger: zap.NewNop()})
	require.NoError(t, err)
	p.Away.Store(true)
	c, err := console.New(t.Context(), console.Options{
		Auth: auth, Pool: w.pool, Read: s.Read(), Wallets: w.wallets, Logger: zap.NewNop(), AnswerTimeout: 20 * time.Second, Widely: s.Widely, URL: w.url,
		OIDC: &console.OIDC{Issuer: p.URL, ClientID: oidcprovider.ClientID, ClientSecret: oidcprovider.ClientSecret},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Discoveries.Load() > 0 }, 20*time.Second, time.Millisecond, "it asks by itself")
	s.Mount(console.Path, c)
	handler = s.Handler()
	return p
}

var authRequest = regexp.MustCompile(`name="id" value="([^"]+)"`)

// logInAt follows the link to the provider, logs in there, and follows it back.
func (b *browser) logInAt(p *oidcprovider.Provider, pairs ...string) answer {
	a := b.get("/console/oidc", pairs...)
	id := authRequest.FindStringSubmatch(a.body)
	require.NotNil(b.w.t, id, "%s: %s", a.Request.URL, a.body)
	return b.read(b.http.PostForm(p.URL+"/login/username", form([]string{"id", id[1], "username", oidcprovider.User, "password", oidcprovider.Password})))
}

func TestTheConsoleStartsWithoutItsProvider(t *testing.T) {
	w := newWorld(t)
	p := w.serveWithOIDC(oidcprovider.ClientID)
	b := w.browser()
	for _, path := range []string{"/console/oidc", "/console/oidc/callback"} {
		a := b.get(path)
		require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, path)
		require.Equal(t, "Log in", a.title(), "a token is enough")
		require.Contains(t, a.body, "does not answer", path)
	}
	p.Away.Store(false)
	require.Equal(t, "Find", b.logInAt(p).title())
	asked := p.Discoveries.Load()
	require.Equal(t, "Find", w.browser().logInAt(p).title())
	require.Equal(t, asked, p.Discoveries.Load(), "it is kept")
}

func TestALoginByTheProvider(t *testing.T) {
	w := newWorld(t)
	w.fill()
	p := w.serveWithOIDC(oidcprovider.ClientID)
	p.Away.Store(false)
	asked, codes := url.Values{}, 0
	p.Request = func(r *http.Request) {
		switch r.URL.Path {
		case "/auth":
			asked = r.URL.Query()
		case "/oauth/token":
			codes++
		}
	}
	path := "/console/wallet?" + form([]string{"user", w.user, "currency", "USD"}).Encode()
	b := w.browser()
	require.Contains(t, b.get(path).body, "/console/oidc?next=")
	page := b.logInAt(p, "next", path)
	require.Equal(t, w.user+" in USD", page.title(), page.body)
	require.Contains(t, page.body, `<bdi class="id">anna</bdi>`)
	require.Contains(t, page.body, "read only")
	require.Equal(t, "code", asked.Get("response_type"))
	require.Equal(t, "S256", asked.Get("code_challenge_method"))
	require.Equal(t, 1, codes)
	require.Equal(t, w.user+" in USD", b.get(path).title(), "the session lasts")
	require.Equal(t, "Log in", b.post("/console/logout").title())
	require.Equal(t, "Log in", b.get(path).title())
	long := w.browser().logInAt(p, "next", "/console/?q="+strings.Repeat("x", 8000))
	require.Equal(t, "Find", long.title(), "an address that no cookie holds is forgotten: %s", long.body)

	// A token whose time is over ends the session.
	p.Lifetime = 3 * time.Second
	b = w.browser()
	require.Equal(t, "Find", b.logInAt(p).title())
	p.Lifetime = 5 * time.Minute
	require.Eventually(t, func() bool { return b.get(path).title() == "Log in" }, 30*time.Second, 100*time.Millisecond)
}

// TestALoginThatIsNotThePersonsOwnIsRefused has strangers in the middle, and a provider that lies.
func TestALoginThatIsNotThePersonsOwnIsRefused(t *testing.T) {
	w := newWorld(t)
	p := w.serveWithOIDC(oidcprovider.ClientID)
	p.Away.Store(false)
	failed := func(what string, a answer) {
		require.Equal(t, http.StatusUnauthorized, a.StatusCode, "%s: %s", what, a.body)
		require.Equal(t, "Log in", a.title(), what)
	}
	b := w.browser()
	var callback string
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), w.url) && r.URL.Query().Get("code") != "" {
			callback = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	b.logInAt(p)
	require.NotEmpty(t, callback)
	failed("another browser", w.browser().get(callback))
	b.http.CheckRedirect = nil
	require.Equal(t, "Find", b.get(callback).title())
	failed("used twice", b.get(callback))

	for name, value := range map[string]string{"state": "x", "nonce": "x", "code_challenge": oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())} {
		p.Request = func(r *http.Request) {
			if r.URL.Path == "/auth" {
				query := r.URL.Query()
				require.NotEmpty(t, query.Get(name))
				query.Set(name, value)
				r.URL.RawQuery = query.Encode()
			}
		}
		failed("another "+name, w.browser().logInAt(p))
	}
	p.Request = nil
	for what, change := range map[string]jwt.MapClaims{
		"another nonce": {"nonce": "x"}, "another client": {"aud": "shop"}, "expired": {"exp": time.Now().Add(-time.Hour).Unix()}, "another issuer": {"iss": "https://evil.example.com"},
	} {
		p.IDToken = change
		failed(what, w.browser().logInAt(p))
	}
	p.IDToken = jwt.MapClaims{}
	require.Equal(t, "Find", w.browser().logInAt(p).title(), "one that does not lie")

	p = w.serveWithOIDC("api")
	p.Away.Store(false)
	failed("tokens for another audience", w.browser().logInAt(p))
	p.AccessToken = jwt.MapClaims{"aud": "api"}
	require.Equal(t, "Find", w.browser().logInAt(p).title())
	p.IDToken = jwt.MapClaims{"sub": "bob"}
	failed("tokens of two subjects", w.browser().logInAt(p))
}

// cookiesOfBrowsers drops what a browser drops.
type cookiesOfBrowsers struct{ dropped int }

func (c *cookiesOfBrowsers) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(r.Header.Get("Cookie")) > 8000 {
		return nil, errors.New("a proxy takes no header of more than 8 KB")
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	kept := a.Header["Set-Cookie"][:0]
	for _, cookie := range a.Header["Set-Cookie"] {
		if len(cookie) <= 4096 {
			kept = append(kept, cookie)
		} else {
			c.dropped++
		}
	}
	a.Header["Set-Cookie"] = kept
	return a, nil
}

func TestALongTokenIsASessionOrRefused(t *testing.T) {
	w := newWorld(t)
	p := w.serveWithOIDC(oidcprovider.ClientID)
	p.Away.Store(false)
	b, cookies := w.browser(), &cookiesOfBrowsers{}
	b.http.Transport = cookies
	of := func(users int) {
		list := make([]string, users)
		for i := range list {
			list[i] = fmt.Sprintf("a-customer-of-the-shop-%04d", i)
		}
		p.Claims = map[string]any{"scope": "read", "wallet_users": list}
	}
	for _, users := range []int{100, 1, 50, 0} { // a long session, then a short one in the same browser
		of(users)
		require.Equal(t, "Find", b.logInAt(p).title(), users)
		page := b.get("/console/user", "user", fmt.Sprintf("a-customer-of-the-shop-%04d", max(0, users-1)))
		require.Equal(t, users > 0, page.StatusCode != http.StatusForbidden, "%d users: %s", users, page.body)
		require.NotEqual(t, "Log in", page.title(), users)
	}
	of(100)
	require.Equal(t, "Find", b.logInAt(p).title())
	require.Equal(t, "Log in", b.post("/console/logout").title())
	at, err := url.Parse(w.url)
	require.NoError(t, err)
	require.Empty(t, b.http.Jar.Cookies(at), "all parts are forgotten")

	of(300)
	refused := b.logInAt(p)
	require.Equal(t, http.StatusBadRequest, refused.StatusCode)
	require.Equal(t, "Log in", refused.title())
	require.Regexp(t, `Your token has \d{4,5} bytes, and a browser can keep about 5750 of it. Use one with fewer scopes, users`, refused.body)
	require.Zero(t, cookies.dropped)
}
