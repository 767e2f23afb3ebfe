package webui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/console"
	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/oidcprovider"
	"github.com/valueledger/wallet/migrations"
)

// TestAPersonLogsInAtTheProvider does so where the provider is another site, as it is for browsers:
// they then keep a strict cookie to themselves. The token is one that takes two cookies.
func TestAPersonLogsInAtTheProvider(t *testing.T) {
	w := newWorld(t)
	const user = "u-4713"
	w.writePast(t, user)
	pool, err := service.OpenPool(t.Context(), service.Database{URL: w.stack.Postgres.URLOf(migrations.RoleApp, appPassword, "wallet"), Setting: "the test"})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var handler http.Handler
	listening := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(listening.Close)
	provider := oidcprovider.Start(t, listening.URL+"/console/oidc/callback")
	users := []string{user}
	for i := range 100 {
		users = append(users, fmt.Sprintf("a-customer-of-the-shop-%04d", i))
	}
	provider.Claims["wallet_users"] = users
	auth, err := access.New(t.Context(), access.Options{JWT: &access.JWTOptions{JWKS: provider.URL + "/keys", Issuer: provider.URL, Audience: oidcprovider.ClientID}})
	require.NoError(t, err)
	s, err := httpserver.New(httpserver.Options{Wallets: w.wallets, Pool: pool, Auth: auth, Logger: zap.NewNop()})
	require.NoError(t, err)
	c, err := console.New(t.Context(), console.Options{
		Auth: auth, Pool: pool, Read: s.Read(), Wallets: w.wallets, Logger: zap.NewNop(), AnswerTimeout: time.Minute, Widely: s.Widely, URL: listening.URL,
		OIDC: &console.OIDC{Issuer: provider.URL, ClientID: oidcprovider.ClientID, ClientSecret: oidcprovider.ClientSecret},
	})
	require.NoError(t, err)
	s.Mount(console.Path, c)
	handler = s.Handler()

	p := openBrowser(t, listening.URL)
	p.open("/console/wallet?user=" + user + "&currency=USD")
	p.press(link("Log in with your organization"))
	p.enter(`//input[@name="username"]`, oidcprovider.User)
	p.enter(`//input[@name="password"]`, oidcprovider.Password)
	p.press(button("Login"))
	p.says("Logged in as anna", "read only", "Balance over time", "order-1002")
	p.press(link("Refused"))
	p.says("insufficient funds")
	p.press(button("Log out"))
	p.open("/console/wallet?user=" + user + "&currency=USD")
	p.says("Log in with your organization")
}
