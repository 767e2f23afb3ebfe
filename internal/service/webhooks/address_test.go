package webhooks_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/webhooks"
)

func TestURLsThatWebhooksAreNotSentTo(t *testing.T) {
	public, allowed := guard(""), guard("10.1.0.0/16, 127.0.0.1/32,fd00:1::/32")
	for _, url := range []string{
		"http://127.0.0.1/", "https://127.0.0.1:8443/", "https://localhost/", "https://[::1]/", "https://0.0.0.0/", "https://[::]/",
		"https://[::ffff:127.0.0.1]/", "https://[::ffff:a9fe:a9fe]/", "https://169.254.169.254/latest/meta-data", "https://[fe80::1]/", "https://[fe80::1%25lo]/",
		"https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/", "https://100.100.100.200/", "https://198.18.0.1/", "https://192.0.0.192/",
		"https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/", "https://[fd00:ec2::254]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
		"https://[2001:0:1::]/", "https://[2001:db8::1]/", "https://[ff02::1]/", "https://[::127.0.0.1]/",
		"http://1.1.1.1/", "https://1.1.1.1:22/", "https://1.1.1.1:25/",
		"", "1.1.1.1", "ftp://1.1.1.1/", "file:///etc/passwd", "https://", "https:///path", "https://user:secret@1.1.1.1/", "https://1.1.1.1/#x", "https://1.1.1.1\r\nX: y/",
	} {
		err := public.CheckURL(t.Context(), url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "secret")
	}
	for _, url := range []string{"https://1.1.1.1/", "https://1.1.1.1:8443/hooks?a=b", "https://[2606:4700:4700::1111]/", "https://no-such-name.invalid/"} {
		require.NoError(t, public.CheckURL(t.Context(), url), url)
	}
	for _, url := range []string{"http://10.1.2.3:81/", "http://127.0.0.1:9999/", "https://[::ffff:10.1.0.1]/", "http://[fd00:1::1]/"} {
		require.NoError(t, allowed.CheckURL(t.Context(), url), url)
	}
	for _, url := range []string{"http://10.2.0.1/", "http://127.0.0.2/", "https://169.254.169.254/"} {
		require.Error(t, allowed.CheckURL(t.Context(), url), url)
	}
	for _, networks := range []string{"10.0.0.1", "all", "::ffff:10.0.0.0/104"} {
		_, err := webhooks.ParseGuard(networks)
		require.Error(t, err, networks)
	}
}

// TestTheConnectionIsChecked has names and redirects that lead elsewhere only when something is sent,
// and a proxy in the environment.
func TestTheConnectionIsChecked(t *testing.T) {
	var reached atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(inside.Close)
	t.Setenv("HTTP_PROXY", inside.URL)
	t.Setenv("HTTPS_PROXY", inside.URL)
	client := webhooks.Client(guard(""))
	for _, url := range []string{inside.URL, "http://localhost" + inside.URL[len("http://127.0.0.1"):], "https" + inside.URL[len("http"):], "http://203.0.113.1/"} {
		_, err := client.Post(url, "application/json", nil)
		var forbidden *webhooks.ForbiddenError
		require.ErrorAs(t, err, &forbidden, url)
	}
	require.Zero(t, reached.Load())

	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusPermanentRedirect))
	t.Cleanup(outside.Close)
	answer, err := webhooks.Client(guard("127.0.0.0/8")).Post(outside.URL, "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusPermanentRedirect, answer.StatusCode)
	require.Zero(t, reached.Load())
}
