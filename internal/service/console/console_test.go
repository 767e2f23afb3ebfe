package console_test

import (
	"context"
	"encoding/json"
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
	return b.read(b.http.Do(r))
}

func (b *browser) read(got *http.Response, err error) answer {
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
