package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

// jwtIssuer publishes its keys by a URL and in a file.
type jwtIssuer struct {
	t         *testing.T
	url, file string
	published atomic.Pointer[[]byte]
}

func newJWTIssuer(t *testing.T) *jwtIssuer {
	i := &jwtIssuer{t: t, file: filepath.Join(t.TempDir(), "jwks.json")}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond) // as from another machine
		_, _ = w.Write(*i.published.Load())
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *jwtIssuer) publish(keys map[string]crypto.Signer) {
	set := map[string][]any{"keys": {}}
	for id, key := range keys {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}})
		require.NoError(i.t, err)
		set["keys"] = append(set["keys"], jwk.Marshal())
	}
	document, err := json.Marshal(set)
	require.NoError(i.t, err)
	i.published.Store(&document)
	require.NoError(i.t, os.WriteFile(i.file+".new", document, 0o600))
	require.NoError(i.t, os.Rename(i.file+".new", i.file))
}

func (i *jwtIssuer) token(method jwt.SigningMethod, id string, key any, change jwt.MapClaims) string {
	claims := jwt.MapClaims{"iss": "https://login.example.com", "aud": "wallet", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "scope": "read"}
	maps.Copy(claims, change)
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = id
	signed, err := token.SignedString(key)
	require.NoError(i.t, err)
	return signed
}

// TestServeTakesGoodJWTsOverTLS runs the program as on a machine that others reach.
func TestServeTakesGoodJWTsOverTLS(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	second, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(first.Public())
	require.NoError(t, err)
	for name, source := range map[string]func(*jwtIssuer) string{
		"keys by URL":    func(i *jwtIssuer) string { return i.url },
		"keys in a file": func(i *jwtIssuer) string { return i.file },
	} {
		t.Run(name, func(t *testing.T) {
			i := newJWTIssuer(t)
			i.publish(map[string]crypto.Signer{"k1": first})
			authority := testenv.NewAuthority(t, t.TempDir(), "authority")
			cert, key := authority.Issue(t, "api")
			api := s.startAPI(freeAddresses(t, 1)[0], "--tls-cert", cert, "--tls-key", key,
				"--jwks", source(i), "--jwt-issuer", "https://login.example.com", "--jwt-audience", "wallet")
			status := func(token string) int {
				answer, _ := getTLS(t, authority, api.address, "/v1/wallets/u1/USD/balance", token)
				return answer.StatusCode
			}
			good := i.token(jwt.SigningMethodRS256, "k1", first, nil)
			require.Equal(t, http.StatusNotFound, status(good), "let through: there is no such wallet")
			pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
			parts := strings.Split(good, ".")
			for bad, token := range map[string]string{
				"none":                              "",
				"another issuer":                    i.token(jwt.SigningMethodRS256, "k1", first, jwt.MapClaims{"iss": "https://evil.example.com"}),
				"another audience":                  i.token(jwt.SigningMethodRS256, "k1", first, jwt.MapClaims{"aud": "shop"}),
				"expired":                           i.token(jwt.SigningMethodRS256, "k1", first, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}),
				"alg none":                          i.token(jwt.SigningMethodNone, "k1", jwt.UnsafeAllowNoneSignatureType, nil),
				"HS256 with the public key":         i.token(jwt.SigningMethodHS256, "k1", pemKey, nil),
				"HS256 with the public key, as DER": i.token(jwt.SigningMethodHS256, "k1", public, nil),
				"HS256 with the published keys":     i.token(jwt.SigningMethodHS256, "k1", *i.published.Load(), nil),
				"an unknown kid":                    i.token(jwt.SigningMethodRS256, "k9", stranger, nil),
				"another key under a known kid":     i.token(jwt.SigningMethodRS256, "k1", stranger, nil),
				"the signature of another":          strings.Join([]string{parts[0], strings.Split(i.token(jwt.SigningMethodRS256, "k1", first, jwt.MapClaims{"sub": "u2"}), ".")[1], parts[2]}, "."),
				"no signature":                      parts[0] + "." + parts[1] + ".",
			} {
				require.Equal(t, http.StatusUnauthorized, status(token), bad)
			}
			answer, _ := getTLS(t, authority, api.address, "/v1/wallets/u2/USD/balance", good)
			require.Equal(t, http.StatusForbidden, answer.StatusCode, "a wallet of another")

			rotated := i.token(jwt.SigningMethodES256, "k2", second, nil)
			require.Equal(t, http.StatusUnauthorized, status(rotated))
			i.publish(map[string]crypto.Signer{"k2": second})
			require.Eventually(t, func() bool { return status(rotated) == http.StatusNotFound }, time.Minute, 100*time.Millisecond)
			require.Equal(t, http.StatusUnauthorized, status(good), "its key is gone")

			requireTLS(t, authority, api.address, rotated)
			require.NoError(t, api.Signal(syscall.SIGTERM))
			log, err := api.wait()
			require.NoError(t, err, log)
			for _, token := range []string{good, rotated} {
				require.NotContains(t, log, token)
			}
		})
	}
}

// requireTLS checks that nothing is said without TLS, or with an old one, and that a renewed
// certificate counts.
func requireTLS(t *testing.T, authority *testenv.Authority, address, token string) {
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/v1/wallets/u1/USD/balance", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	plain, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer plain.Body.Close()
	body, err := io.ReadAll(plain.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, plain.StatusCode)
	require.Contains(t, string(body), "HTTP request to an HTTPS server")

	config := clientTLS(t, authority)
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err = tls.Dial("tcp", address, config)
	require.Error(t, err)
	_, err = tls.Dial("tcp", address, clientTLS(t, testenv.NewAuthority(t, t.TempDir(), "stranger")))
	require.ErrorContains(t, err, "certificate")

	serial := func() *big.Int {
		answer, _ := getTLS(t, authority, address, "/openapi.json", "")
		return answer.TLS.PeerCertificates[0].SerialNumber
	}
	before := serial()
	authority.Issue(t, "api")
	require.NotEqual(t, before, serial())
}

func clientTLS(t *testing.T, authority *testenv.Authority) *tls.Config {
	ca, err := os.ReadFile(authority.CA)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	return &tls.Config{RootCAs: roots}
}

// getTLS sends a request on a connection of its own.
func getTLS(t *testing.T, authority *testenv.Authority, address, path, token string) (*http.Response, string) {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, authority), DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body)
}

func TestServeWarnsOfTokensThatComeUnencrypted(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	_, file := s.tokensFile()
	cert, key := testenv.NewAuthority(t, t.TempDir(), "authority").Issue(t, "api")
	for _, row := range []struct {
		host  string
		flags []string
		warns bool
	}{
		{"0.0.0.0", nil, true},
		{"127.0.0.1", nil, false},
		{"0.0.0.0", []string{"--tls-cert", cert, "--tls-key", key}, false},
	} {
		address := strings.Replace(freeAddresses(t, 1)[0], "127.0.0.1", row.host, 1)
		api := s.startAPI(address, append(row.flags, "--tokens-file", file)...)
		require.NoError(t, api.Signal(syscall.SIGTERM))
		log, err := api.wait()
		require.NoError(t, err, log)
		require.Equal(t, row.warns, strings.Contains(log, "tokens come unencrypted"), log)
	}
	_, errs, code := s.run("serve", "--listen", "0.0.0.0:0")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "no token is required")
	_, errs, code = s.run("serve", "--jwks", "http://login.example.com/keys", "--jwt-issuer", "https://login.example.com", "--jwt-audience", "wallet")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "use https, or a file")
}
