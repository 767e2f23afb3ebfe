package webhooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// The test binary acts as a process that sends if this is set.
const envDeliver = "WEBHOOKS_TEST_DELIVER" // database URL

func TestMain(m *testing.M) {
	if url := os.Getenv(envDeliver); url != "" {
		db, err := pgxpool.New(context.Background(), url)
		if err == nil {
			err = webhooks.NewDeliverer(options(db)).Run(context.Background())
		}
		panic(err)
	}
	testenv.Main(m)
}

func guard(networks string) *webhooks.Guard {
	g, err := webhooks.ParseGuard(networks)
	if err != nil {
		panic(err)
	}
	return g
}

// quick tries again soon, and parks after the fourth failure.
var quick = []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}

func options(db *pgxpool.Pool) webhooks.Options {
	return webhooks.Options{
		DB: db, Guard: guard("127.0.0.0/8"), Keys: &codec.Keys{}, Logger: zap.NewNop(), Poll: 20 * time.Millisecond, Schedule: quick, Timeout: 500 * time.Millisecond,
	}
}

// world is a ledger with a sender.
type world struct {
	t     *testing.T
	url   string
	db    *pgxpool.Pool
	steps *activities.Activities
	store *webhooks.Store
	n     int
}

func newWorld(t *testing.T) *world {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	return &world{t: t, url: url, db: db, steps: activities.New(db), store: webhooks.NewStore(db, guard("127.0.0.0/8"), &codec.Keys{})}
}

// deposit applies n adds to a wallet, and before them its create.
func (w *world) deposit(userID string, n int) {
	ref := wallet.AssetRef{UserID: userID, Currency: "USD"}
	_, err := w.steps.EnsureWalletAsset(context.Background(), ref)
	require.NoError(w.t, err)
	commands := make([]wallet.Received, n)
	for i := range commands {
		w.n++
		commands[i].Command = wallet.Command{ID: fmt.Sprint("c", w.n), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	}
	_, err = w.steps.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: commands})
	require.NoError(w.t, err)
	_, err = w.steps.RecordEvents(context.Background(), ref)
	require.NoError(w.t, err)
}

// start sends until stop.
func (w *world) start(o webhooks.Options) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() {
		if err := webhooks.NewDeliverer(o).Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); sending.Wait() })
	w.t.Cleanup(stop)
	return stop
}

func (w *world) add(url string, filter webhooks.Filter) (id, secret string) {
	id, secret, err := w.store.Add(w.t.Context(), webhooks.Settings{URL: url, Filter: filter}, "ann")
	require.NoError(w.t, err)
	return id, secret
}

func (w *world) endpoint(id string) webhooks.Endpoint {
	list, err := webhooks.List(context.Background(), w.db, id)
	require.NoError(w.t, err)
	return list[0]
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	require.Eventually(w.t, is, 30*time.Second, 5*time.Millisecond, what)
}

// caughtUp reports whether everything is queued.
func (w *world) caughtUp() (is bool) {
	require.NoError(w.t, w.db.QueryRow(context.Background(), `SELECT after_id = (SELECT coalesce(max(id), 0) FROM wallet_feed) FROM wallet_feed_consumers WHERE name = $1`, webhooks.ConsumerName).Scan(&is))
	return is
}

// idle waits until an endpoint has nothing to be sent.
func (w *world) idle(id string) {
	w.t.Helper()
	w.eventually("everything is sent", func() bool {
		caughtUp, e := w.caughtUp(), w.endpoint(id)
		return caughtUp && e.Waiting == 0 && e.Redelivering == 0
	})
}

// receiver keeps what it gets, checks signatures, and answers as it is told.
type receiver struct {
	*httptest.Server
	t      *testing.T
	answer func(w http.ResponseWriter, e feed.Event)

	mu      sync.Mutex
	secrets []string // each must fit, if there are some
	got     []feed.Event
	tries   map[string]int
	ids     map[string]string // webhook-id of each event
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, tries: map[string]int{}, ids: map[string]string{}, answer: func(http.ResponseWriter, feed.Event) {}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

// place is the version of an event of a user's wallet.
func place(userID string, version int64) string { return userID + "/" + strconv.FormatInt(version, 10) }

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	var e feed.Event
	if err := json.Unmarshal(body, &e); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	for _, secret := range r.secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = verifier.Verify(body, request.Header)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
	if id := request.Header.Get("webhook-id"); r.ids[e.ID] != "" && r.ids[e.ID] != id {
		r.t.Errorf("event %s came as %s and %s", e.ID, r.ids[e.ID], id)
	} else {
		r.ids[e.ID] = id
	}
	r.tries[place(e.UserID, e.Version)]++
	answer := r.answer
	r.mu.Unlock()
	status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	answer(status, e)
	if status.status == http.StatusOK {
		r.mu.Lock()
		r.got = append(r.got, e)
		r.mu.Unlock()
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (r *receiver) will(answer func(http.ResponseWriter, feed.Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) versions(userID string) (versions []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		if e.UserID == userID {
			versions = append(versions, e.Version)
		}
	}
	return versions
}

func (r *receiver) triesOf(userID string, version int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries[place(userID, version)]
}

func upTo(n int64) (versions []int64) {
	for v := range n {
		versions = append(versions, v+1)
	}
	return versions
}

func status(code int) func(http.ResponseWriter, feed.Event) {
	return func(w http.ResponseWriter, _ feed.Event) { w.WriteHeader(code) }
}
