package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/doctest"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// endpoint adds one for webhooks.
func (s shell) endpoint() (id string) {
	out, errs, code := s.run("webhook", "add", "http://127.0.0.1:1/", "--allow-networks", "127.0.0.0/8", "-o", "json")
	require.Zero(s.t, code, errs)
	var added newEndpoint
	require.NoError(s.t, json.Unmarshal([]byte(out), &added))
	return added.ID
}

// webhooksURL is the database for a role that can only send webhooks.
func webhooksURL(t *testing.T, ownerURL string) string {
	login := fmt.Sprintf("webhooks_%d", time.Now().UnixNano())
	db := testenv.Pool(t, ownerURL)
	_, err := db.Exec(t.Context(), "CREATE ROLE "+login+" LOGIN PASSWORD 'secret' IN ROLE "+migrations.RoleWebhooks)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(context.Background(), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	u, err := url.Parse(ownerURL)
	require.NoError(t, err)
	u.User = url.UserPassword(login, "secret")
	return u.String()
}

// startSender starts "wallet webhook run".
func (s shell) startSender() (stop func()) {
	cmd := exec.Command(binary, "webhook", "run")
	cmd.Env = s.env
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(s.t, cmd.Start())
	return func() {
		require.NoError(s.t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(s.t, cmd.Wait(), log.String())
		require.NotContains(s.t, log.String(), "could not", log.String())
	}
}

// TestTheWebhooksPageIsTrue runs the commands of docs/webhooks.md against a receiver that checks
// signatures. "go test ./cmd/wallet -run WebhooksPage -update" writes the outputs anew.
func TestTheWebhooksPageIsTrue(t *testing.T) {
	database := testenv.DatabaseURL(t)
	s := newShell(t, database).with("WALLET_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8").with("WALLET_WEBHOOK_HTTP_ADDRESS=" + freeAddresses(t, 1)[0])
	var mu sync.Mutex
	var got []string
	var secret string
	bad := true
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		var e feed.Event
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			t.Error(err)
		}
		if bad && e.Version == 2 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		got = append(got, e.CommandID)
	}))
	t.Cleanup(receiver.Close)
	out, errs, code := s.run("webhook", "add", receiver.URL, "-o", "json")
	require.Zero(t, code, errs)
	var added newEndpoint
	require.NoError(t, json.Unmarshal([]byte(out), &added))
	secret = added.Secret
	stop := s.with("WALLET_DATABASE_URL=" + webhooksURL(t, database)).startSender()
	defer stop()
	steps, ref := activities.New(testenv.Pool(t, database)), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	input := wallet.ApplyCommandsInput{AssetRef: ref}
	for _, id := range []string{"order-1", "order-2"} {
		input.Commands = append(input.Commands, wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}})
	}
	_, err := steps.ApplyCommands(t.Context(), input)
	require.NoError(t, err)
	_, err = steps.RecordEvents(t.Context(), ref)
	require.NoError(t, err)
	db := testenv.Pool(t, database)
	eventually := func(n int, sql string) {
		require.Eventually(t, func() bool {
			var got int
			require.NoError(t, db.QueryRow(context.Background(), sql).Scan(&got))
			return got == n
		}, time.Minute, 10*time.Millisecond, sql)
	}
	// The pauses are longer than a test.
	eventually(1, `WITH now AS (UPDATE wallet_webhook_queue SET failures = 9, retry_at = now() WHERE failures > 0) SELECT count(*) FROM wallet_webhook_events`)
	eventually(0, `SELECT count(*) FROM wallet_webhook_queue`)
	c := &badConsumer{shell: s, url: database}
	doctest.Check(t, doctest.Page{
		Path: docsPath("webhooks.md"), Dir: t.TempDir(), Env: withPrograms(s.env), Volatile: true,
		Names: [][2]string{{"we_qv7k2m4xw6a3n5t8r1y9c0e2s4", added.ID}, {"USD/u1/2-9f86d081884c7d65", c.eventID("u1", 2)}},
		Steps: map[string]func(){
			"the receiver is mended": func() { mu.Lock(); bad = false; mu.Unlock() },
			"it arrived": func() {
				eventually(0, `SELECT count(*) FROM wallet_webhook_events`)
			},
		},
	})
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, "order-1", got[len(got)-1], "the create, order-2, then the one that was parked")
}
