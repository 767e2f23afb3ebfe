package webhooks_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

func TestTwoSecretsAreValidAfterARotation(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, first := w.add(r.URL, webhooks.Filter{})
	second, err := w.store.Rotate(t.Context(), id, time.Hour)
	require.NoError(t, err)
	r.secrets = []string{first, second}
	w.start(options(w.db))
	w.deposit("u1", 1)
	w.idle(id)
	require.Equal(t, upTo(2), r.versions("u1"))
	require.Equal(t, 2, w.endpoint(id).Secrets)

	third, err := w.store.Rotate(t.Context(), id, 0)
	require.NoError(t, err)
	r.mu.Lock()
	r.secrets = []string{third}
	r.mu.Unlock()
	r.will(func(http.ResponseWriter, feed.Event) {})
	w.deposit("u1", 1)
	w.idle(id)
	require.Equal(t, upTo(3), r.versions("u1"))
	require.Equal(t, 1, w.endpoint(id).Secrets, "the leaked ones have ended at once")
	_, err = w.store.Rotate(t.Context(), "we_none", 0)
	var missing *webhooks.NotFoundError
	require.ErrorAs(t, err, &missing)
}

func TestASecretIsEncryptedAsPayloadsAre(t *testing.T) {
	w := newWorld(t)
	keys, err := codec.Parse("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	require.NoError(t, err)
	w.store = webhooks.NewStore(w.db, guard("127.0.0.0/8"), keys)
	r := newReceiver(t)
	id, secret := w.add(r.URL, webhooks.Filter{})
	r.secrets = []string{secret}
	var stored []byte
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT secret FROM wallet_webhook_secrets`).Scan(&stored))
	require.NotContains(t, string(stored), secret)

	stop := w.start(options(w.db))
	w.deposit("u1", 1)
	w.eventually("it says what is missing", func() bool { return w.endpoint(id).LastError != "" })
	require.Contains(t, w.endpoint(id).LastError, "WALLET_PAYLOAD_KEYS")
	stop()
	require.Empty(t, r.versions("u1"))
	o := options(w.db)
	o.Keys = keys
	require.NoError(t, w.store.Resume(t.Context(), id))
	w.start(o)
	w.idle(id)
	require.Equal(t, upTo(2), r.versions("u1"))
}
