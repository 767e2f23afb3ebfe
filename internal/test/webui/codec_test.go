package webui

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/codecserver"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
)

// encrypted is the same world with keys for the worker and the caller.
func (w *world) encrypted(t *testing.T, keys *codec.Keys) *world {
	options := client.Options{HostPort: w.stack.Temporal.Address(), Logger: service.SDKLogger(zap.NewNop())}
	keys.Secure(&options)
	temporal, err := client.Dial(options)
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	pool, err := service.OpenPool(t.Context(), service.Database{URL: w.stack.Postgres.URLOf(migrations.RoleApp, appPassword, "wallet"), Setting: "the test"})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	const queue = "encrypted"
	s, err := service.Start(t.Context(), service.Options{Temporal: temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: queue, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: queue})
	require.NoError(t, err)
	return &world{w.stack, temporal, wallets}
}

// serveCodec runs the codec server for a Web UI, and returns its address.
func serveCodec(t *testing.T, keys *codec.Keys, token, ui string) string {
	handler, err := codecserver.Handler(codecserver.Options{Keys: keys, Token: token, UIOrigins: []string{ui}})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- codecserver.Serve(ctx, listener, handler) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
	})
	return "http://" + listener.Addr().String()
}

// TestAPersonReadsEncryptedPayloads follows docs/security.md: the token is the password of the
// codec server's own page, and the browser then sends it with the Web UI's requests. A headless
// browser does not ask for a password, so it is in the address.
func TestAPersonReadsEncryptedPayloads(t *testing.T) {
	w := newWorld(t)
	secret := make([]byte, 32)
	rand.Read(secret)
	keys, err := codec.Parse("k1:" + base64.StdEncoding.EncodeToString(secret))
	require.NoError(t, err)
	ui, token := w.stack.Temporal.UI(), rand.Text()
	endpoint := serveCodec(t, keys, token, ui)
	w.encrypted(t, keys).send(t, "secret", "USD", wallet.TypeAdd, "salary-12", "918273.64")

	p := openBrowser(t, ui)
	p.openWallet("secret", "USD")
	p.shows("Decoding failed", "No Current Details")
	require.NotContains(t, p.text(), "918273.64", "without the codec server")
	p.run("log in at the codec server", chromedp.Navigate(strings.Replace(endpoint, "://", "://anybody:"+token+"@", 1)))
	p.shows("This address is the codec endpoint")
	p.open(list)
	p.click(testID("data-encoder-status"))
	p.fill(`//*[@id="data-encoder-endpoint-input"]`, endpoint)
	p.click(`//label[contains(., "Include cross-origin credentials")]`)
	p.click(testID("confirm-data-encoder-button"))
	p.openWallet("secret", "USD")
	p.shows("secret · 918273.64 USD available", "salary-12 add 918273.64 applied", "apply 1 command: add 918273.64")
}
