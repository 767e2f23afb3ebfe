package access_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
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
