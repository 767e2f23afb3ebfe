package access_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/access"
)

// newKey returns a key under the id of an issuer's first one, and the set that has it alone.
func newKey(t *testing.T, id string) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}})
	require.NoError(t, err)
	set, err := json.Marshal(map[string]any{"keys": []any{jwk.Marshal()}})
	require.NoError(t, err)
	return key, set
}

// TestNewKeysAreFetchedWhoeverAsksFirst has a caller with the new key leave before it is there.
func TestNewKeysAreFetchedWhoeverAsksFirst(t *testing.T) {
	i := newIssuer(t)
	var published atomic.Pointer[[]byte]
	published.Store(&i.document)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond) // as from another machine
		_, _ = w.Write(*published.Load())
	}))
	t.Cleanup(server.Close)
	i.jwks = server.URL
	a, err := access.New(t.Context(), access.Options{JWT: i.options()})
	require.NoError(t, err)
	key, set := newKey(t, "k2")
	published.Store(&set)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "https://login.example.com", "aud": "wallet", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = "k2"
	signed, err := token.SignedString(key)
	require.NoError(t, err)
	left, leave := context.WithCancel(t.Context())
	leave()
	_, err = a.Authenticate(left, signed)
	require.NoError(t, err)
	_, err = a.Authenticate(t.Context(), signed)
	require.NoError(t, err)
}

// TestStrangersDoNotKeepNewKeysOut has many tokens with unknown keys wait for a turn all the time.
func TestStrangersDoNotKeepNewKeysOut(t *testing.T) {
	access.SetUnknownKey(t, 400*time.Millisecond, 200*time.Millisecond)
	i := newIssuer(t)
	var published atomic.Pointer[[]byte]
	published.Store(&i.document)
	var fetched atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		keys := *published.Load()
		fetched.Add(1)
		time.Sleep(100 * time.Millisecond) // as from another machine
		_, _ = w.Write(keys)
	}))
	t.Cleanup(server.Close)
	i.jwks = server.URL
	a, err := access.New(t.Context(), access.Options{JWT: i.options()})
	require.NoError(t, err)
	signed := func(key *ecdsa.PrivateKey, id string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "https://login.example.com", "aud": "wallet", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix()})
		token.Header["kid"] = id
		text, err := token.SignedString(key)
		require.NoError(t, err)
		return text
	}
	stranger, _ := newKey(t, "none")
	flood, stop := context.WithCancel(t.Context())
	var strangers sync.WaitGroup
	defer strangers.Wait()
	defer stop()
	for n := range 8 {
		token := signed(stranger, fmt.Sprint("stranger-", n))
		strangers.Go(func() {
			for flood.Err() == nil {
				if _, err := a.Authenticate(t.Context(), token); err == nil {
					t.Error("a stranger was let in")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	require.Eventually(t, func() bool { return fetched.Load() > 1 }, 30*time.Second, 10*time.Millisecond, "by a stranger")
	key, set := newKey(t, "k2")
	published.Store(&set)
	token := signed(key, "k2")
	require.Eventually(t, func() bool {
		_, err := a.Authenticate(t.Context(), token)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
}

func TestKeysFollowTheirFile(t *testing.T) {
	i := newIssuer(t)
	a, err := access.New(t.Context(), access.Options{JWT: i.options()})
	require.NoError(t, err)
	_, err = a.Authenticate(t.Context(), i.token(nil))
	require.NoError(t, err)
	_, set := newKey(t, "k1")
	require.NoError(t, os.WriteFile(i.jwks, set, 0o600))
	require.Eventually(t, func() bool {
		_, err := a.Authenticate(t.Context(), i.token(nil))
		return access.IsRefusal(err)
	}, 30*time.Second, 100*time.Millisecond)
	require.NoError(t, os.WriteFile(i.jwks, []byte("{"), 0o600))
	require.Eventually(t, func() bool {
		_, err := a.Authenticate(t.Context(), i.token(nil))
		return err != nil && !access.IsRefusal(err)
	}, 30*time.Second, 100*time.Millisecond, "keys that cannot be read are no fault of the caller")
}

func TestKeysComeOnlyFromWhereNobodyCanReplaceThem(t *testing.T) {
	i := newIssuer(t)
	i.jwks = "http://login.example.com/keys"
	_, err := access.New(t.Context(), access.Options{JWT: i.options()})
	require.ErrorContains(t, err, "use https, or a file")
	away := httptest.NewServer(http.RedirectHandler("http://192.0.2.1/keys", http.StatusFound))
	t.Cleanup(away.Close)
	i.jwks = away.URL
	_, err = access.New(t.Context(), access.Options{JWT: i.options()})
	require.ErrorContains(t, err, "use https, or a file")
}
