package webhooks_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/internal/test/testenv"
)

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
	_, err = w.store.Redeliver(t.Context(), id, webhooks.Redelivery{EventID: list[0].EventID})
	require.NoError(t, err)
	w.eventually("it is tried again", func() bool { return r.triesOf("u2", 3) == 2*(len(quick)+1) })
	w.idle(id)
	require.EqualValues(t, 1, w.endpoint(id).Parked)
	r.will(func(http.ResponseWriter, feed.Event) {})
	n, err := w.store.Redeliver(t.Context(), id, webhooks.Redelivery{Parked: true})
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

// queued adds an endpoint, paused, that is to be sent versions 1 and 2 of a wallet.
func (w *world) queued(url string) (id string) {
	id, _ = w.add(url, webhooks.Filter{})
	require.NoError(w.t, w.store.Pause(w.t.Context(), id))
	stop := w.start(options(w.db))
	w.deposit("u1", 1)
	w.eventually("it is queued", func() bool { return w.endpoint(id).Waiting == 1 })
	stop()
	return id
}

// down has endpoints probed.
func (w *world) down() {
	_, err := w.db.Exec(w.t.Context(), `UPDATE wallet_webhook_endpoints SET state = 'active', failures = 1, retry_at = now()`)
	require.NoError(w.t, err)
}

// TestAnEndpointIsUpAfterOneDelivery has a probe deliver, save that, and then fail.
func TestAnEndpointIsUpAfterOneDelivery(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	r.will(func(rw http.ResponseWriter, e feed.Event) {
		if e.Version == 1 {
			time.Sleep(1100 * time.Millisecond) // longer than between two saves
		} else {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	id := w.queued(r.URL)
	w.down()
	o := options(w.db)
	o.Timeout, o.Schedule = webhooks.MaxTimeout, []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
	w.start(o)
	w.eventually("the probe is over", func() bool {
		return r.triesOf("u1", 2) > 0 && w.endpoint(id).LastError != "" && w.endpoint(id).Failures != 1
	})
	require.Zero(t, w.endpoint(id).Failures)
	require.True(t, w.endpoint(id).RetryAt.IsZero())
}

// TestEventsThatAreNotSentProveNothing has the filter changed after they were queued.
func TestEventsThatAreNotSentProveNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	r.will(status(http.StatusInternalServerError))
	id := w.queued(r.URL)
	require.NoError(t, w.store.Change(t.Context(), id, webhooks.Settings{URL: r.URL, Filter: webhooks.Filter{Events: []string{"wallet_asset.added"}}}))
	w.down()
	o := options(w.db)
	o.Schedule = []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
	w.start(o)
	w.eventually("the probe is over", func() bool { return w.endpoint(id).LastError != "" && w.endpoint(id).Failures != 1 })
	require.Equal(t, 2, w.endpoint(id).Failures, "it is still down")
	require.Equal(t, 1, r.triesOf("u1", 2))
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
