package webhooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
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

// idle waits until an endpoint has nothing to be sent.
func (w *world) idle(id string) {
	w.t.Helper()
	w.eventually("everything is sent", func() bool {
		var caughtUp bool
		require.NoError(w.t, w.db.QueryRow(context.Background(), `SELECT after_id = (SELECT coalesce(max(id), 0) FROM wallet_feed) FROM wallet_feed_consumers WHERE name = $1`, webhooks.ConsumerName).Scan(&caughtUp))
		e := w.endpoint(id)
		return caughtUp && e.Waiting == 0 && e.Resending == 0
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

func TestWebhooksAreSignedAndFiltered(t *testing.T) {
	w := newWorld(t)
	w.deposit("u1", 1) // before the endpoints: not sent
	all, some := newReceiver(t), newReceiver(t)
	id, secret := w.add(all.URL, webhooks.Filter{})
	all.secrets = []string{secret}
	someID, someSecret := w.add(some.URL, webhooks.Filter{Users: []string{"u1", "ü.2"}, Currencies: []string{"USD"}, Events: []string{"wallet_asset.added"}})
	some.secrets = []string{someSecret}
	require.NotEqual(t, secret, someSecret)
	w.start(options(w.db))
	for _, user := range []string{"u1", "ü.2", "u3"} {
		w.deposit(user, 3)
	}
	w.idle(id)
	w.idle(someID)
	require.Equal(t, []int64{3, 4, 5}, all.versions("u1"))
	require.Equal(t, upTo(4), all.versions("ü.2"))
	require.Equal(t, []int64{3, 4, 5}, some.versions("u1"))
	require.Equal(t, []int64{2, 3, 4}, some.versions("ü.2"), "no create")
	require.Empty(t, some.versions("u3"))

	var stored feed.Event
	enough := fmt.Errorf("enough")
	require.ErrorIs(t, feed.Follow(t.Context(), w.db, feed.FollowOptions{UserID: "ü.2"}, func(e feed.Event) error { stored = e; return enough }), enough)
	got := all.got[slices.IndexFunc(all.got, func(e feed.Event) bool { return e.ID == stored.ID })]
	asSent, err := json.Marshal(got)
	require.NoError(t, err)
	asStored, err := json.Marshal(stored)
	require.NoError(t, err)
	require.JSONEq(t, string(asStored), string(asSent), "the body is the event as the feed has it")
	require.Regexp(t, "^evt_[0-9a-f]{32}$", all.ids[stored.ID])

	w.eventually("it is counted", func() bool { return w.endpoint(id).Delivered == int64(len(all.got)) })
	require.Zero(t, w.endpoint(id).Parked)
}

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

// TestABadEventIsParkedAndStopsNoOther also checks the order of the wallet under retries.
func TestABadEventIsParkedAndStopsNoOther(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	bad := func(rw http.ResponseWriter, e feed.Event) {
		if e.UserID == "u2" && e.Version == 3 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}
	r.will(bad)
	id, _ := w.add(r.URL, webhooks.Filter{})
	w.start(options(w.db))
	for _, user := range []string{"u1", "u2", "u3"} {
		w.deposit(user, 5)
	}
	w.idle(id)
	require.Equal(t, upTo(6), r.versions("u1"))
	require.Equal(t, upTo(6), r.versions("u3"))
	require.Equal(t, []int64{1, 2, 4, 5, 6}, r.versions("u2"), "in order, without the one that is parked")
	require.Equal(t, len(quick)+1, r.triesOf("u2", 3))
	list, err := webhooks.ListEvents(t.Context(), w.db, id)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Parked)
	require.Regexp(t, "^USD/u2/3-[0-9a-f]{16}$", list[0].EventID)
	require.Equal(t, "answered 500 Internal Server Error", list[0].LastError)
	e := w.endpoint(id)
	require.Equal(t, webhooks.Active, e.State)
	require.EqualValues(t, 1, e.Parked)
	require.Equal(t, "answered 500 Internal Server Error", e.LastError)

	// It fails again, and is parked again; then all parked are sent.
	require.NoError(t, w.store.ResendEvent(t.Context(), id, list[0].EventID))
	w.eventually("it is tried again", func() bool { return r.triesOf("u2", 3) == 2*(len(quick)+1) })
	w.idle(id)
	require.EqualValues(t, 1, w.endpoint(id).Parked)
	r.will(func(http.ResponseWriter, feed.Event) {})
	n, err := w.store.ResendParked(t.Context(), id)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	w.idle(id)
	require.Equal(t, []int64{1, 2, 4, 5, 6, 3}, r.versions("u2"))
	require.Zero(t, w.endpoint(id).Parked)
}

// TestAWalletWaitsWhileItsEventIsTriedAgain has an event that succeeds at last.
func TestAWalletWaitsWhileItsEventIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	fails := 3
	r.will(func(rw http.ResponseWriter, e feed.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if e.UserID == "u1" && e.Version == 2 && fails > 0 {
			fails--
			rw.WriteHeader(http.StatusBadGateway)
		}
	})
	id, _ := w.add(r.URL, webhooks.Filter{})
	for range 2 { // two processes share the wallets
		w.start(options(testenv.Pool(t, w.url)))
	}
	for range 20 {
		w.deposit("u1", 1)
		w.deposit("u2", 2)
	}
	w.idle(id)
	require.Equal(t, upTo(21), r.versions("u1"))
	require.Equal(t, upTo(41), r.versions("u2"), "nothing comes twice while nobody dies")
	require.Zero(t, w.endpoint(id).Parked)
}

// TestADeadEndpointSlowsNoOther has endpoints that hang, refuse connections and fail, beside one
// that works: what they are sent keeps its order until they are back.
func TestADeadEndpointSlowsNoOther(t *testing.T) {
	w := newWorld(t)
	good, hanging, broken := newReceiver(t), newReceiver(t), newReceiver(t)
	over := make(chan struct{})
	hanging.will(func(rw http.ResponseWriter, _ feed.Event) { <-over; rw.WriteHeader(http.StatusInternalServerError) })
	defer close(over)
	broken.will(status(http.StatusInternalServerError))
	id, _ := w.add(good.URL, webhooks.Filter{})
	hangs, _ := w.add(hanging.URL, webhooks.Filter{})
	breaks, _ := w.add(broken.URL, webhooks.Filter{})
	refuses, _ := w.add("http://127.0.0.1:1/", webhooks.Filter{})
	o := options(w.db)
	o.Timeout = webhooks.MaxTimeout
	const users = 12
	for i := range users { // before: a first wallet alone would only show a bad event
		w.deposit(fmt.Sprint("u", i), 3)
	}
	w.start(o)
	w.idle(id)
	for i := range users {
		require.Equal(t, upTo(4), good.versions(fmt.Sprint("u", i)))
	}
	for _, dead := range []string{breaks, refuses} {
		w.eventually("it is parked as a whole", func() bool { return w.endpoint(dead).State == webhooks.Parked })
		e := w.endpoint(dead)
		require.EqualValues(t, users, e.Waiting, "no event is lost, nor parked by itself")
		require.Zero(t, e.Parked)
	}
	require.Contains(t, w.endpoint(refuses).LastError, "connection refused")
	require.EqualValues(t, users, w.endpoint(hangs).Waiting)

	broken.will(func(http.ResponseWriter, feed.Event) {})
	require.NoError(t, w.store.Resume(t.Context(), breaks))
	w.idle(breaks)
	for i := range users {
		require.Equal(t, upTo(4), broken.versions(fmt.Sprint("u", i)), "in order")
	}
}

func TestAnEndpointThatIsBackIsFoundByItself(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	r.will(status(http.StatusBadGateway))
	id, _ := w.add(r.URL, webhooks.Filter{})
	o := options(w.db)
	o.Schedule = slices.Repeat([]time.Duration{20 * time.Millisecond}, 1000)
	w.start(o)
	for i := range 30 {
		w.deposit(fmt.Sprint("u", i), 1)
	}
	w.eventually("it is down", func() bool { return w.endpoint(id).Failures > 2 })
	require.Equal(t, webhooks.Active, w.endpoint(id).State)
	// Most wallets stay bad: the others are found between them.
	r.will(func(rw http.ResponseWriter, e feed.Event) {
		if e.UserID != "u29" {
			rw.WriteHeader(http.StatusBadRequest)
		}
	})
	w.eventually("the good one gets through", func() bool { return len(r.versions("u29")) == 2 })
	r.will(func(http.ResponseWriter, feed.Event) {})
	w.idle(id)
	for i := range 30 {
		require.Equal(t, upTo(2), r.versions(fmt.Sprint("u", i)))
	}
}

func TestAnswersThatEndOrDelayAnEndpoint(t *testing.T) {
	w := newWorld(t)
	elsewhere, moved, away, busy, slow := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
	moved.will(func(rw http.ResponseWriter, _ feed.Event) {
		rw.Header().Set("Location", elsewhere.URL)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
	away.will(status(http.StatusGone))
	busy.will(func(rw http.ResponseWriter, _ feed.Event) {
		rw.Header().Set("Retry-After", "7200")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	slow.will(func(rw http.ResponseWriter, _ feed.Event) {
		for range 1000 { // an answer without end
			if _, err := rw.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	movedID, _ := w.add(moved.URL, webhooks.Filter{})
	awayID, _ := w.add(away.URL, webhooks.Filter{})
	busyID, _ := w.add(busy.URL, webhooks.Filter{})
	slowID, _ := w.add(slow.URL, webhooks.Filter{})
	w.start(options(w.db))
	w.deposit("u1", 1)
	w.eventually("a redirect is a failure", func() bool { return w.endpoint(movedID).Parked == 2 })
	require.Equal(t, "answered 307 Temporary Redirect (redirects are not followed: change the URL)", w.endpoint(movedID).LastError)
	require.Empty(t, elsewhere.versions("u1"))

	w.eventually("410 parks it", func() bool { return w.endpoint(awayID).State == webhooks.Parked })
	require.Equal(t, "answered 410 Gone", w.endpoint(awayID).LastError)
	require.Equal(t, 1, away.triesOf("u1", 1))
	require.EqualValues(t, 1, w.endpoint(awayID).Waiting)

	w.eventually("429 delays it", func() bool { return !w.endpoint(busyID).RetryAt.IsZero() })
	require.Greater(t, time.Until(w.endpoint(busyID).RetryAt), time.Hour)
	require.Equal(t, 1, busy.triesOf("u1", 1))

	w.idle(slowID)
	require.ElementsMatch(t, upTo(2), slow.versions("u1"), "2xx is enough: the body is not read to its end")
}

func TestAPausedEndpointLosesNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.add(r.URL, webhooks.Filter{})
	w.start(options(w.db))
	w.deposit("u1", 1)
	w.idle(id)
	require.NoError(t, w.store.Pause(t.Context(), id))
	w.deposit("u1", 2)
	w.eventually("it is queued", func() bool { return w.endpoint(id).Waiting == 1 })
	require.Equal(t, upTo(2), r.versions("u1"))
	require.NoError(t, w.store.Resume(t.Context(), id))
	w.idle(id)
	require.Equal(t, upTo(4), r.versions("u1"))

	other := newReceiver(t)
	require.NoError(t, w.store.Change(t.Context(), id, webhooks.Settings{URL: other.URL, Filter: webhooks.Filter{Users: []string{"u2"}}}))
	w.deposit("u1", 1)
	w.deposit("u2", 1)
	w.idle(id)
	require.Equal(t, upTo(2), other.versions("u2"))
	require.Len(t, r.versions("u1"), 4)
	require.NoError(t, w.store.Remove(t.Context(), id))
	w.deposit("u2", 1)
	var missing *webhooks.NotFoundError
	require.ErrorAs(t, w.store.Pause(t.Context(), id), &missing)
}

func TestARangeIsSentAgain(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	w.deposit("u1", 1)
	w.deposit("u2", 1)
	var after time.Time
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&after))
	w.deposit("u1", 2)
	w.deposit("u2", 2)
	id, _ := w.add(r.URL, webhooks.Filter{Events: []string{"wallet_asset.added"}})
	w.start(options(w.db))
	n, err := w.store.ResendRange(t.Context(), id, webhooks.Range{Since: after, Until: time.Now().Add(time.Hour), UserID: "u1"})
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	w.idle(id)
	require.Equal(t, []int64{3, 4}, r.versions("u1"))
	require.Empty(t, r.versions("u2"))
	n, err = w.store.ResendRange(t.Context(), id, webhooks.Range{Since: time.Time{}.AddDate(1, 0, 0), Until: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.EqualValues(t, 6, n, "all but the creates")
	w.idle(id)
	require.Equal(t, []int64{3, 4, 2, 3, 4}, r.versions("u1"), "in order")
	require.Equal(t, []int64{2, 3, 4}, r.versions("u2"))

	var invalid *webhooks.InvalidError
	_, err = w.store.ResendRange(t.Context(), id, webhooks.Range{Since: after, Until: after})
	require.ErrorAs(t, err, &invalid)
	require.ErrorAs(t, w.store.ResendEvent(t.Context(), id, "USD/u1/1-0000000000000000"), &invalid)
	require.ErrorAs(t, w.store.ResendEvent(t.Context(), id, "u1"), &invalid)
	_, err = w.store.ResendParked(t.Context(), "we_none")
	var missing *webhooks.NotFoundError
	require.ErrorAs(t, err, &missing)
}

// TestKilledSendersLoseNothing kills two processes again and again.
func TestKilledSendersLoseNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.add(r.URL, webhooks.Filter{})
	start := func() *exec.Cmd {
		process := exec.Command(os.Args[0])
		process.Env = append(os.Environ(), envDeliver+"="+w.url)
		require.NoError(t, process.Start())
		t.Cleanup(func() { _ = process.Process.Kill() }) // also if the test fails
		return process
	}
	kill := func(process *exec.Cmd) {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // "signal: killed"
	}
	a, b := start(), start()
	const users = 6
	for round := range 12 {
		before := len(r.versions("u0"))
		for i := range users {
			w.deposit(fmt.Sprint("u", i), 5)
		}
		// A lease ends by itself a minute after its process: the test does not wait.
		if round%2 == 0 {
			w.eventually("something is sent", func() bool { return len(r.versions("u0")) > before })
			kill(a)
			a = start()
			_, err := w.db.Exec(t.Context(), `UPDATE wallet_webhook_queue SET lease_until = now()`)
			require.NoError(t, err)
		} else {
			a, b = b, a
		}
	}
	_, err := w.db.Exec(t.Context(), `UPDATE wallet_webhook_queue SET lease_until = now()`)
	require.NoError(t, err)
	w.idle(id)
	kill(a)
	kill(b)
	for i := range users {
		var first []int64 // the first time that each version came
		for _, v := range r.versions(fmt.Sprint("u", i)) {
			if !slices.Contains(first, v) {
				first = append(first, v)
			}
		}
		require.Equal(t, upTo(61), first)
	}
	require.Zero(t, w.endpoint(id).Parked)
}

// TestAProcessWhoseLeaseHasEndedNotesNothing has another process take the wallet meanwhile.
func TestAProcessWhoseLeaseHasEndedNotesNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	r.will(func(http.ResponseWriter, feed.Event) { arrived <- struct{}{}; <-goOn })
	id, _ := w.add(r.URL, webhooks.Filter{})
	o := options(w.db)
	o.Timeout = webhooks.MaxTimeout
	stop := w.start(o)
	w.deposit("u1", 1)
	<-arrived
	_, err := w.db.Exec(t.Context(), `UPDATE wallet_webhook_queue SET lease = 'another'`)
	require.NoError(t, err)
	r.will(func(http.ResponseWriter, feed.Event) {})
	close(goOn)
	stop()
	var next int64
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT next_version FROM wallet_webhook_queue WHERE endpoint_id = $1`, id).Scan(&next))
	require.EqualValues(t, 1, next)
}
