package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/codecserver"
)

var payloadData = regexp.MustCompile(`"data": "([A-Za-z0-9+/=]+)"`)

// dataOf returns the content of a history's payloads as JSON.
func dataOf(t *testing.T, out string) string {
	var text strings.Builder
	for _, match := range payloadData.FindAllStringSubmatch(out, -1) {
		data, err := base64.StdEncoding.DecodeString(match[1])
		require.NoError(t, err)
		text.Write(data)
	}
	return text.String()
}

// TestTheTemporalCLIReadsThroughTheCodecServer does what an operator does, and checks what is
// visible without the token.
func TestTheTemporalCLIReadsThroughTheCodecServer(t *testing.T) {
	keys, token := newKey("k1"), rand.Text()
	w := newWorldOn(t, dialWith(t, keys))
	handler, err := codecserver.Handler(codecserver.Options{Keys: parseKeys(t, keys), Token: token})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { served <- codecserver.Serve(ctx, listener, handler) }()
	defer func() {
		stop()
		require.NoError(t, <-served)
	}()
	through := func(authorization string, args ...string) (string, bool) {
		out, ok := w.cli(append(args, "--codec-endpoint", "http://"+listener.Addr().String(), "--codec-auth", authorization)...)
		return out + dataOf(t, out), ok
	}

	change := w.change("order-7", "918273.64")
	change.Description = "planted-description"
	_, err = w.wallets.Add(t.Context(), change)
	require.NoError(t, err)
	_, err = w.wallets.Subtract(t.Context(), w.change("order-8", "1000000"))
	require.Error(t, err)

	show := []string{"workflow", "show", "--workflow-id", w.workflowID(), "-o", "json"}
	out, ok := w.cli(show...)
	require.True(t, ok, out)
	require.NotContains(t, out+dataOf(t, out), "planted-description")
	out, ok = through("Bearer "+token, show...)
	require.True(t, ok, out)
	contains(t, out, "planted-description", "918273.64", "cannot subtract 1000000.00 USD", "apply 1 command")
	out, ok = through("Bearer wrong", "workflow", "query", "--workflow-id", w.workflowID(), "--type", wallet.QueryState)
	require.False(t, ok, out)
	contains(t, out, "Unauthorized", "the token is missing or wrong")

	// The details that the Web UI shows, and what it sends.
	out, ok = through("Bearer "+token, "workflow", "metadata", "--workflow-id", w.workflowID())
	require.True(t, ok, out)
	contains(t, out, "918273.64")
	out, ok = through("Bearer "+token, "workflow", "update", "execute", "--workflow-id", w.workflowID(), "--name", wallet.UpdateApply,
		"--input", `{"id":"order-9","type":"add","amount":"1","description":"planted-by-cli"}`, "-o", "json")
	require.True(t, ok, out)
	contains(t, out, "918274.64")
	require.NotContains(t, historyText(t, w.workflowID()), "planted-by-cli", "what goes through the codec server is encrypted")
	w.requireSound()
}
