package access_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/danielgtaylor/huma/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
)

// issuer signs JWTs.
type issuer struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	jwks     string
	document []byte
}

func newIssuer(t *testing.T) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "k1", ALG: jwkset.AlgES256}})
	require.NoError(t, err)
	i := &issuer{t: t, key: key, jwks: filepath.Join(t.TempDir(), "jwks.json")}
	i.document, err = json.Marshal(map[string]any{"keys": []any{jwk.Marshal()}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(i.jwks, i.document, 0o600))
	return i
}

func (i *issuer) sign(method jwt.SigningMethod, key any, change jwt.MapClaims) string {
	c := jwt.MapClaims{"iss": "https://login.example.com", "aud": "wallet", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "scope": "read write admin"}
	maps.Copy(c, change)
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	token := jwt.NewWithClaims(method, c)
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(key)
	require.NoError(i.t, err)
	return signed
}

func (i *issuer) token(change jwt.MapClaims) string {
	return i.sign(jwt.SigningMethodES256, i.key, change)
}

func (i *issuer) options() *access.JWTOptions {
	return &access.JWTOptions{JWKS: i.jwks, Issuer: "https://login.example.com", Audience: "wallet", Skew: time.Minute}
}

// anAPI is the API without servers behind it: a request that is let through fails there.
func anAPI(t *testing.T, o access.Options) (*httpserver.Server, *observer.ObservedLogs) {
	auth, err := access.New(t.Context(), o)
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	core, logs := observer.New(zap.DebugLevel)
	s, err := httpserver.New(httpserver.Options{Auth: auth, Pool: pool, Logger: zap.New(core)})
	require.NoError(t, err)
	return s, logs
}

func writeTokens(t *testing.T, path string, tokens ...access.StaticToken) {
	content, err := json.Marshal(map[string]any{"tokens": tokens})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

// bodies are valid ones about the wallet of u2.
var bodies = map[string]string{
	"apply-command":       `{"id":"a","type":"create"}`,
	"apply-batch":         `[{"id":"a","type":"create"}]`,
	"apply-transaction":   `{"id":"a","commands":[{"user_id":"u1","currency":"USD","type":"subtract","amount":"1"},{"user_id":"u2","currency":"USD","type":"add","amount":"1"}]}`,
	"transfer":            `{"id":"a","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"1"}`,
	"dry-run-command":     `{"id":"a","type":"create"}`,
	"dry-run-batch":       `[{"id":"a","type":"create"}]`,
	"dry-run-transaction": `{"id":"a","commands":[{"user_id":"u1","currency":"USD","type":"subtract","amount":"1"},{"user_id":"u2","currency":"USD","type":"add","amount":"1"}]}`,
	"dry-run-transfer":    `{"id":"a","from_user_id":"u1","to_user_id":"u2","currency":"USD","amount":"1"}`,
	"add-webhook":         `{}`,
	"change-webhook":      `{}`,
	"rotate-webhook":      `{}`,
	"redeliver-webhook":   `{}`,
	"check-receipts":      `[{"user_id":"u2","currency":"USD","command_id":"a","position":1,"hash":"` + strings.Repeat("0", 64) + `"}]`,
}

// byAnswer are routes whose wallets are known only from what they read.
var byAnswer = []string{"get-transaction", "list-feed", "stream-feed"}

func TestEachRouteDeniesEachBadToken(t *testing.T) {
	i := newIssuer(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	readOnly, hash := access.NewToken()
	file := filepath.Join(t.TempDir(), "tokens.json")
	writeTokens(t, file, access.StaticToken{Subject: "none", SHA256: hash, Scopes: []access.Scope{access.Read}, Users: []string{"u1"}})
	s, logs := anAPI(t, access.Options{JWT: i.options(), TokensFile: file})
	bad := map[string]struct {
		token  string
		status int
	}{
		"none":              {"", 401},
		"unknown":           {"wallet_UNKNOWN", 401},
		"expired":           {i.token(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), 401},
		"never expires":     {i.token(jwt.MapClaims{"exp": nil}), 401},
		"another audience":  {i.token(jwt.MapClaims{"aud": "shop"}), 401},
		"no audience":       {i.token(jwt.MapClaims{"aud": nil}), 401},
		"another issuer":    {i.token(jwt.MapClaims{"iss": "https://evil.example.com"}), 401},
		"no subject":        {i.token(jwt.MapClaims{"sub": nil}), 401},
		"a star":            {i.token(jwt.MapClaims{"sub": "*"}), 401},
		"not yet":           {i.token(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), 401},
		"alg none":          {i.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), 401},
		"another key":       {i.sign(jwt.SigningMethodES256, other, nil), 401},
		"the keys as key":   {i.sign(jwt.SigningMethodHS256, i.document, nil), 401},
		"no scope":          {i.token(jwt.MapClaims{"scope": nil, "wallet_users": "*"}), 403},
		"another scope":     {i.token(jwt.MapClaims{"scope": "email wallet:read", "wallet_users": "*"}), 403},
		"another user":      {i.token(nil), 403},
		"no user":           {i.token(jwt.MapClaims{"wallet_users": []string{}}), 403},
		"another currency":  {i.token(jwt.MapClaims{"wallet_users": "*", "wallet_currencies": "EUR"}), 403},
		"an empty currency": {i.token(jwt.MapClaims{"wallet_users": "*", "wallet_currencies": []string{"USD", ""}}), 401},
		"reads u1":          {readOnly, 403},
	}
	routes := 0
	for path, item := range s.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete, item.Patch} {
			if op == nil {
				continue
			}
			contentType := "application/json"
			if op.RequestBody != nil && op.RequestBody.Content[contentType] == nil {
				contentType = "text/csv"
			}
			routes++
			for name, row := range bad {
				if row.status == 403 && slices.Contains(byAnswer, op.OperationID) && !strings.Contains(name, "scope") {
					continue
				}
				t.Run(op.OperationID+"/"+name, func(t *testing.T) {
					where := strings.NewReplacer("{user}", "u2", "{currency}", "USD").Replace(path)
					where = strings.NewReplacer("{command_id}", "a", "{transaction_id}", "a", "{run_id}", "a", "{endpoint_id}", "we_"+strings.Repeat("a", 26)).Replace(where)
					r := httptest.NewRequest(op.Method, where, strings.NewReader(bodies[op.OperationID]))
					r.Header.Set("Content-Type", contentType)
					if row.token != "" {
						r.Header.Set("Authorization", "Bearer "+row.token)
					}
					w := httptest.NewRecorder()
					before := logs.Len()
					s.Handler().ServeHTTP(w, r)
					body, _ := io.ReadAll(w.Body)
					require.Equal(t, row.status, w.Code, string(body))
					require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
					require.Greater(t, logs.Len(), before, "each refusal is logged")
					for _, entry := range logs.All()[before:] {
						if row.token != "" {
							text, err := json.Marshal(entry.ContextMap())
							require.NoError(t, err)
							require.NotContains(t, entry.Message+string(text), row.token)
						}
					}
				})
			}
		}
	}
	require.GreaterOrEqual(t, routes, 40)
}

func TestATokenReachesWhatItIsBoundTo(t *testing.T) {
	i := newIssuer(t)
	a, err := access.New(t.Context(), access.Options{JWT: i.options()})
	require.NoError(t, err)
	own, err := a.Authenticate(t.Context(), i.token(nil))
	require.NoError(t, err)
	require.True(t, own.Reaches(wallet.AssetRef{UserID: "u1", Currency: "USD"}))
	require.True(t, own.Reaches(wallet.AssetRef{UserID: "u1"}))
	require.False(t, own.Reaches(wallet.AssetRef{UserID: "u2", Currency: "USD"}))
	require.False(t, own.Reaches(wallet.AssetRef{}))
	all, err := a.Authenticate(t.Context(), i.token(jwt.MapClaims{"wallet_users": "*"}))
	require.NoError(t, err)
	require.True(t, all.Reaches(wallet.AssetRef{}))
	euros, err := a.Authenticate(t.Context(), i.token(jwt.MapClaims{"wallet_users": "*", "wallet_currencies": []string{"EUR"}}))
	require.NoError(t, err)
	require.True(t, euros.Reaches(wallet.AssetRef{Currency: "EUR"}))
	require.False(t, euros.Reaches(wallet.AssetRef{UserID: "u1"}))
	require.False(t, access.Principal{}.Reaches(wallet.AssetRef{UserID: "u1", Currency: "USD"}), "nobody reaches nothing")
}

func TestARevokedTokenIsRefused(t *testing.T) {
	token, hash := access.NewToken()
	file := filepath.Join(t.TempDir(), "tokens.json")
	writeTokens(t, file, access.StaticToken{Subject: "shop", SHA256: hash, Scopes: []access.Scope{access.Read}, Users: []string{"*"}})
	a, err := access.New(t.Context(), access.Options{TokensFile: file})
	require.NoError(t, err)
	p, err := a.Authenticate(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, "shop", p.Subject)
	writeTokens(t, file)
	require.Eventually(t, func() bool {
		_, err := a.Authenticate(t.Context(), token)
		return access.IsRefusal(err)
	}, 30*time.Second, 100*time.Millisecond)
}

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// TestTheOpenAPIDocumentIsTheRoutes compares it with docs/openapi.json.
func TestTheOpenAPIDocumentIsTheRoutes(t *testing.T) {
	s, _ := anAPI(t, access.Options{})
	document, err := s.OpenAPIDocument()
	require.NoError(t, err)
	path := filepath.Join("..", "..", "..", "docs", "openapi.json")
	if *update {
		require.NoError(t, os.WriteFile(path, document, 0o644))
	}
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(written), string(document), "go test with -update writes it anew")
}

// TestWithoutTokensOnlyThisMachineIsServed covers the listener, and names of others that lead here.
func TestWithoutTokensOnlyThisMachineIsServed(t *testing.T) {
	s, _ := anAPI(t, access.Options{})
	_, err := s.Listen("0.0.0.0:0")
	require.ErrorContains(t, err, "no token is required")
	listener, err := s.Listen("127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	for host, status := range map[string]int{"127.0.0.1:8088": 404, "localhost": 404, "[::1]:8088": 404, "evil.example.com": 403, "127.0.0.1.evil.example.com": 403} {
		r := httptest.NewRequest(http.MethodGet, "/v1/nothing", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		require.Equal(t, status, w.Code, host)
	}
}

func TestATokenIsHeldToItsRate(t *testing.T) {
	token, hash := access.NewToken()
	file := filepath.Join(t.TempDir(), "tokens.json")
	writeTokens(t, file, access.StaticToken{Subject: "shop", SHA256: hash, Scopes: []access.Scope{access.Read}, Users: []string{"*"}})
	auth, err := access.New(t.Context(), access.Options{TokensFile: file})
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s, err := httpserver.New(httpserver.Options{Auth: auth, Pool: pool, Logger: zap.NewNop(), Rate: 0.001})
	require.NoError(t, err)
	for _, status := range []int{404, 429} {
		r := httptest.NewRequest(http.MethodGet, "/v1/nothing", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		require.Equal(t, status, w.Code)
		require.Equal(t, status == 429, w.Header().Get("Retry-After") != "")
	}
}
