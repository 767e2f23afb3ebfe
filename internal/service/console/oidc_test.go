package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
)

// provider is an OIDC provider at which everybody is anna.
type provider struct {
	t     *testing.T
	url   string
	key   *ecdsa.PrivateKey
	asked url.Values // the last request for a login
	codes int
	// away is whether it does not say its addresses; discoveries how often it was asked for them.
	away        atomic.Bool
	discoveries atomic.Int64
	// change changes what the ID token says.
	change jwt.MapClaims
}

func newProvider(t *testing.T) *provider {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "k1", ALG: jwkset.AlgES256}})
	require.NoError(t, err)
	p := &provider{t: t, key: key}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, content any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(content)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.discoveries.Add(1)
		if p.away.Load() {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		answer(w, map[string]any{"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token", "jwks_uri": p.url + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"keys": []any{jwk.Marshal()}}) })
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		p.asked = r.URL.Query()
		http.Redirect(w, r, p.asked.Get("redirect_uri")+"?code=c1&state="+url.QueryEscape(p.asked.Get("state")), http.StatusSeeOther)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != p.asked.Get("code_challenge") || p.asked.Get("code_challenge_method") != "S256" {
			http.Error(w, "another verifier", http.StatusBadRequest)
			return
		}
		p.codes++
		id := jwt.MapClaims{"aud": "console", "nonce": p.asked.Get("nonce")}
		maps.Copy(id, p.change)
		answer(w, map[string]any{"token_type": "Bearer", "id_token": p.sign(id),
			"access_token": p.sign(jwt.MapClaims{"aud": "wallet", "scope": "read", "wallet_users": "*"})})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *provider) sign(change jwt.MapClaims) string {
	c := jwt.MapClaims{"iss": p.url, "sub": "anna", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(c, change)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(p.key)
	require.NoError(p.t, err)
	return signed
}

// serveWithOIDC starts a server whose people log in at a provider.
func (w *world) serveWithOIDC(p *provider) {
	t := w.t
	auth, err := access.New(t.Context(), access.Options{JWT: &access.JWTOptions{JWKS: p.url + "/keys", Issuer: p.url, Audience: "wallet"}})
	require.NoError(t, err)
	s, err := httpserver.New(httpserver.Options{Wallets: w.wallets, Pool: w.pool, Auth: auth, Logger: zap.NewNop()})
	require.NoError(t, err)
	listening := httptest.NewServer(s.Handler())
	t.Cleanup(listening.Close)
	w.url = listening.URL
	c, err := console.New(t.Context(), console.Options{
		Auth: auth, Pool: w.pool, Read: s.Read(), Wallets: w.wallets, Logger: zap.NewNop(), AnswerTimeout: 20 * time.Second,
		Widely: s.Widely, URL: w.url, OIDC: &console.OIDC{Issuer: p.url, ClientID: "console"},
	})
	require.NoError(t, err)
	s.Mount(console.Path, c)
}

func TestTheConsoleStartsWithoutItsProvider(t *testing.T) {
	w := newWorld(t)
	p := newProvider(t)
	p.away.Store(true)
	w.serveWithOIDC(p)
	b := w.browser()
	for _, path := range []string{"/console/oidc", "/console/oidc/callback"} {
		a := b.get(path)
		require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, path)
		require.Equal(t, "Log in", a.title(), "a token is enough")
		require.Contains(t, a.body, "does not answer", path)
	}
	p.away.Store(false)
	require.Equal(t, "Find", b.get("/console/oidc").title())
	asked := p.discoveries.Load()
	require.Equal(t, "Find", w.browser().get("/console/oidc").title())
	require.Equal(t, asked, p.discoveries.Load(), "it is kept")
}

func TestALoginByTheProvider(t *testing.T) {
	w := newWorld(t)
	w.fill()
	p := newProvider(t)
	w.serveWithOIDC(p)
	b := w.browser()
	path := "/console/wallet?" + form([]string{"user", w.user, "currency", "USD"}).Encode()
	require.Contains(t, b.get(path).body, "/console/oidc?next=")
	page := b.get("/console/oidc", "next", path)
	require.Equal(t, w.user+" in USD", page.title(), page.body)
	require.Contains(t, page.body, `<bdi class="id">anna</bdi>`)
	require.Contains(t, page.body, "read only")
	require.Equal(t, "code", p.asked.Get("response_type"))
	require.Equal(t, 1, p.codes)

	failed := func(what string, a answer) {
		require.Equal(t, http.StatusUnauthorized, a.StatusCode, what)
		require.Equal(t, "Log in", a.title(), what)
	}
	failed("not begun in this browser", w.browser().get("/console/oidc/callback", "code", "c1", "state", p.asked.Get("state")))
	other := w.browser()
	other.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	begun := other.get("/console/oidc")
	require.Equal(t, http.SameSiteLaxMode, begun.Cookies()[0].SameSite)
	failed("another state", other.get("/console/oidc/callback", "code", "c1", "state", "x"))
	failed("used twice", other.get("/console/oidc/callback", "code", "c1", "state", p.asked.Get("state")))
	for what, change := range map[string]jwt.MapClaims{
		"another nonce": {"nonce": "x"}, "another client": {"aud": "shop"}, "another subject": {"sub": "bob"}, "expired": {"exp": time.Now().Add(-time.Hour).Unix()}, "another issuer": {"iss": "https://evil.example.com"},
	} {
		p.change = change
		failed(what, w.browser().get("/console/oidc"))
	}
}
