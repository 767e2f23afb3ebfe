// Package oidcprovider runs an OpenID provider for tests: Zitadel's, with a form for logging in.
package oidcprovider

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What a client and a person need to log in. The client's id is the audience of its tokens.
const (
	ClientID, ClientSecret = "wallet", "secret"
	User, Password         = "anna", "correct horse"
)

// Provider is an OpenID provider. Its fields are set before a request that they are for.
type Provider struct {
	URL string
	// Claims are those of access tokens besides the standard ones; Lifetime is how long these last.
	Claims   map[string]any
	Lifetime time.Duration
	// Away is whether it does not say its addresses; Discoveries is how often it was asked for them.
	Away        atomic.Bool
	Discoveries atomic.Int64
	// Request changes a request before the provider sees it; nil for nothing.
	Request func(*http.Request)
	// IDToken and AccessToken are claims that it signs in place of the true ones.
	IDToken, AccessToken jwt.MapClaims
}

// Start runs a provider until the test ends. callback is the address that it may lead back to.
func Start(t *testing.T, callback string) *Provider {
	p := &Provider{Claims: map[string]any{"scope": "read", "wallet_users": "*"}, Lifetime: 5 * time.Minute}
	var provider http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Request != nil {
			p.Request(r)
		}
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			p.Discoveries.Add(1)
			if p.Away.Load() {
				http.Error(w, "away", http.StatusBadGateway)
				return
			}
		}
		provider.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.URL = strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // another site than that of servers under test
	kept := store{storage.NewStorageWithClients(users{}, map[string]*storage.Client{
		ClientID: storage.WebClient(ClientID, ClientSecret, callback),
	}), p}
	quiet := slog.New(slog.DiscardHandler)
	before := slog.Default()
	provider = p.lying(t, kept, exampleop.SetupServer(p.URL, kept, quiet, false, op.WithLogger(quiet)))
	slog.SetDefault(before)
	return p
}

// lying answers with tokens whose claims are changed.
func (p *Provider) lying(t *testing.T, s store, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" || p.IDToken == nil && p.AccessToken == nil {
			next.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		var tokens map[string]any
		require.NoError(t, json.Unmarshal(recorded.Body.Bytes(), &tokens))
		key, err := s.SigningKey(r.Context())
		require.NoError(t, err)
		for name, change := range map[string]jwt.MapClaims{"id_token": p.IDToken, "access_token": p.AccessToken} {
			claims := jwt.MapClaims{}
			token, _, err := jwt.NewParser().ParseUnverified(tokens[name].(string), claims)
			require.NoError(t, err)
			maps.Copy(claims, change)
			tokens[name], err = token.SignedString(key.Key())
			require.NoError(t, err)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(tokens)
	})
}

// store is what the provider remembers, in memory.
type store struct {
	*storage.Storage
	p *Provider
}

// GetClientByClientID has access tokens be JWTs.
func (s store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return client{c}, err
}

// CreateAccessToken gives a token its lifetime.
func (s store) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, _, err := s.Storage.CreateAccessToken(ctx, r)
	return id, time.Now().Add(s.p.Lifetime), err
}

// GetPrivateClaimsFromScopes returns claims of access tokens.
func (s store) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return s.p.Claims, nil
}

type client struct{ op.Client }

func (client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// users has one.
type users struct{}

func (users) GetUserByID(string) *storage.User {
	return &storage.User{ID: User, Username: User, Password: Password}
}

func (u users) GetUserByUsername(name string) *storage.User {
	if name != User {
		return nil
	}
	return u.GetUserByID(User)
}

func (users) ExampleClientID() string { return "" }
