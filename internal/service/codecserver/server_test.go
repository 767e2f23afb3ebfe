package codecserver

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/valueledger/wallet/codec"
)

const (
	token  = "0123456789abcdef-token"
	origin = "http://127.0.0.1:8233"
)

func keys(t *testing.T) *codec.Keys {
	k, err := codec.Parse("k1:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	require.NoError(t, err)
	return k
}

func newServer(t *testing.T) *httptest.Server {
	handler, err := Handler(Options{Keys: keys(t), Token: token, UIOrigins: []string{origin}})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// encrypted is "planted" as the body of a request.
func encrypted(t *testing.T) string {
	p, err := keys(t).DataConverter().ToPayload("planted")
	require.NoError(t, err)
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: []*commonpb.Payload{p}})
	require.NoError(t, err)
	return string(body)
}

func send(t *testing.T, method, url, body string, headers map[string]string) (*http.Response, string) {
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(text)
}

func TestOnlyWhoHasTheTokenIsAnswered(t *testing.T) {
	server := newServer(t)
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+password))
	}
	planted := base64.StdEncoding.EncodeToString([]byte(`"planted"`))
	for name, row := range map[string]struct {
		authorization string
		status        int
	}{
		"the token":        {"Bearer " + token, http.StatusOK},
		"as a password":    {basic(token), http.StatusOK},
		"none":             {"", http.StatusUnauthorized},
		"no scheme":        {token, http.StatusUnauthorized},
		"empty":            {"Bearer ", http.StatusUnauthorized},
		"its beginning":    {"Bearer " + token[:10], http.StatusUnauthorized},
		"more than it":     {"Bearer " + token + "x", http.StatusUnauthorized},
		"another password": {basic("x"), http.StatusUnauthorized},
		"as the user name": {"Basic " + base64.StdEncoding.EncodeToString([]byte(token+":")), http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/decode", "/default/decode", "/encode", "/"} {
				method := http.MethodPost
				if path == "/" {
					method = http.MethodGet
				}
				response, text := send(t, method, server.URL+path, encrypted(t), map[string]string{"Authorization": row.authorization})
				require.Equal(t, row.status, response.StatusCode, path)
				require.Equal(t, row.status == http.StatusOK && strings.HasSuffix(path, "/decode"), strings.Contains(text, planted), path)
				require.NotContains(t, text, token)
			}
		})
	}
}

func TestOnlyPagesOfTheWebUIMayReadAnswers(t *testing.T) {
	server := newServer(t)
	for from, allowed := range map[string]bool{
		origin: true, "http://evil.example": false, "null": false, "https://127.0.0.1:8233": false, "http://127.0.0.1:82330": false,
	} {
		preflight, _ := send(t, http.MethodOptions, server.URL+"/decode", "", map[string]string{
			"Origin": from, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
		})
		answer, _ := send(t, http.MethodPost, server.URL+"/decode", encrypted(t), map[string]string{"Origin": from, "Authorization": "Bearer " + token})
		for _, response := range []*http.Response{preflight, answer} {
			want := ""
			if allowed {
				want = from
			}
			require.Equal(t, want, response.Header.Get("Access-Control-Allow-Origin"), from)
		}
	}
	// Without a token a page learns only this: no payload, but the reason.
	response, _ := send(t, http.MethodPost, server.URL+"/decode", encrypted(t), map[string]string{"Origin": origin})
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.Equal(t, origin, response.Header.Get("Access-Control-Allow-Origin"), "or the Web UI could not tell why")
}

func TestWhatCannotBeOpenedIsGivenBackWithTheReason(t *testing.T) {
	server := newServer(t)
	body := protojson.Format(&commonpb.Payloads{Payloads: []*commonpb.Payload{{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(codec.Encoding), "encryption-key-id": []byte("k9")}, Data: []byte("x"),
	}}})
	response, text := send(t, http.MethodPost, server.URL+"/decode", body, map[string]string{"Authorization": "Bearer " + token})
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Contains(t, text, base64.StdEncoding.EncodeToString([]byte("this program does not have that key")))
	response, _ = send(t, http.MethodPost, server.URL+"/decode", strings.Repeat(" ", maxBody+1), map[string]string{"Authorization": "Bearer " + token})
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
}

func TestAServerWithoutKeysOrTokenDoesNotStart(t *testing.T) {
	none, err := codec.Parse("")
	require.NoError(t, err)
	for message, options := range map[string]Options{
		"WALLET_PAYLOAD_KEYS is not set":          {Keys: none, Token: token},
		"the token has 0 characters":              {Keys: keys(t)},
		"the token has 15 characters":             {Keys: keys(t), Token: token[:15]},
		`origin "*" of the Web UI`:                {Keys: keys(t), Token: token, UIOrigins: []string{"*"}},
		`origin "http://*.example" of the Web UI`: {Keys: keys(t), Token: token, UIOrigins: []string{"http://*.example"}},
	} {
		_, err := Handler(options)
		require.ErrorContains(t, err, message)
	}
}
