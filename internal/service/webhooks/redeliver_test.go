package webhooks_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

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
	n, err := w.store.Redeliver(t.Context(), id, webhooks.Redelivery{Range: webhooks.Range{Since: after, Until: time.Now().Add(time.Hour), UserID: "u1"}})
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	w.idle(id)
	require.Equal(t, []int64{3, 4}, r.versions("u1"))
	require.Empty(t, r.versions("u2"))
	n, err = w.store.Redeliver(t.Context(), id, webhooks.Redelivery{Range: webhooks.Range{Since: time.Time{}.AddDate(1, 0, 0), Until: time.Now().Add(time.Hour)}})
	require.NoError(t, err)
	require.EqualValues(t, 6, n, "all but the creates")
	w.idle(id)
	require.Equal(t, []int64{3, 4, 2, 3, 4}, r.versions("u1"), "in order")
	require.Equal(t, []int64{2, 3, 4}, r.versions("u2"))

	var invalid *webhooks.InvalidError
	_, err = w.store.Redeliver(t.Context(), id, webhooks.Redelivery{Range: webhooks.Range{Since: after, Until: after}})
	require.ErrorAs(t, err, &invalid)
	_, err = w.store.Redeliver(t.Context(), id, webhooks.Redelivery{EventID: "USD/u1/1-0000000000000000"})
	require.ErrorAs(t, err, &invalid)
	_, err = w.store.Redeliver(t.Context(), id, webhooks.Redelivery{EventID: "u1"})
	require.ErrorAs(t, err, &invalid)
	_, err = w.store.Redeliver(t.Context(), "we_none", webhooks.Redelivery{Parked: true})
	var missing *webhooks.NotFoundError
	require.ErrorAs(t, err, &missing)
}

// skip has an event not sent to any endpoint.
func (w *world) skip(place string) (eventID string) {
	require.NoError(w.t, w.db.QueryRow(w.t.Context(), `SELECT $1 || '-' || left(encode(hash, 'hex'), 16)
		FROM wallet_asset_events WHERE currency || '/' || user_id || '/' || version = $1`, place).Scan(&eventID))
	require.NoError(w.t, feed.Skip(w.t.Context(), w.db, webhooks.ConsumerName, eventID, "ann", "later"))
	return eventID
}

// TestASkippedEventIsSentOnlyOnceItIsRedelivered also has a wallet wait behind another event meanwhile,
// and an endpoint that is paused: neither is sent anything twice.
func TestASkippedEventIsSentOnlyOnceItIsRedelivered(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.add(r.URL, webhooks.Filter{})
	w.deposit("u1", 5)
	third, fourth := w.skip("USD/u1/3"), w.skip("USD/u1/4")
	o := options(w.db)
	o.Schedule = []time.Duration{time.Hour}
	w.start(o)
	w.idle(id)
	require.Equal(t, []int64{1, 2, 5, 6}, r.versions("u1"))

	r.will(func(rw http.ResponseWriter, e feed.Event) {
		if e.Version == 7 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	w.deposit("u1", 2)
	w.eventually("it waits", func() bool { return r.triesOf("u1", 7) == 1 })
	require.NoError(t, feed.Redeliver(t.Context(), w.db, webhooks.ConsumerName, third))
	w.eventually("it is sent", func() bool { return len(r.versions("u1")) == 5 })
	require.Equal(t, []int64{1, 2, 5, 6, 3}, r.versions("u1"))
	r.will(func(http.ResponseWriter, feed.Event) {})
	require.NoError(t, w.store.Resume(t.Context(), id))
	w.idle(id)
	require.Equal(t, []int64{1, 2, 5, 6, 3, 7, 8}, r.versions("u1"))

	require.NoError(t, w.store.Pause(t.Context(), id))
	require.NoError(t, feed.Redeliver(t.Context(), w.db, webhooks.ConsumerName, fourth))
	w.eventually("it is noted", func() bool { return w.endpoint(id).Redelivering+w.endpoint(id).Waiting == 1 })
	require.EqualValues(t, 1, w.endpoint(id).Redelivering)
	w.deposit("u1", 1)
	w.eventually("it is queued", func() bool { return w.endpoint(id).Waiting == 1 })
	require.NoError(t, w.store.Resume(t.Context(), id))
	w.idle(id)
	require.ElementsMatch(t, []int64{1, 2, 5, 6, 3, 7, 8, 4, 9}, r.versions("u1"), "nothing twice")
}

// TestAnOldEventDoesNotStartTheQueueAgain has a consumer that somebody moved back.
func TestAnOldEventDoesNotStartTheQueueAgain(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.add(r.URL, webhooks.Filter{})
	w.deposit("u1", 1)
	w.deposit("u1", 2)
	o := options(w.db)
	o.Schedule = []time.Duration{time.Hour}
	r.will(func(rw http.ResponseWriter, e feed.Event) {
		if e.Version == 4 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	stop := w.start(o)
	w.eventually("it waits", func() bool { return r.triesOf("u1", 4) == 1 && w.endpoint(id).LastError != "" })
	stop()
	_, err := w.db.Exec(t.Context(), `UPDATE wallet_feed_consumers SET after_id = (SELECT id FROM wallet_feed WHERE first_version = 1), after_version = 1 WHERE name = $1`, webhooks.ConsumerName)
	require.NoError(t, err)
	w.start(o)
	w.eventually("it is queued", w.caughtUp)
	var next int64
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT next_version FROM wallet_webhook_queue WHERE endpoint_id = $1`, id).Scan(&next))
	require.EqualValues(t, 4, next, "it still waits")
	w.eventually("what is old is sent", func() bool { return len(r.versions("u1")) == 5 })
	require.ElementsMatch(t, []int64{1, 2, 3, 2, 3}, r.versions("u1"))
}

// TestAnEventIsSentAgainWhateverTheFilterSays has it still in the queue.
func TestAnEventIsSentAgainWhateverTheFilterSays(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.add(r.URL, webhooks.Filter{})
	stop := w.start(options(w.db))
	require.NoError(t, w.store.Pause(t.Context(), id))
	w.deposit("u1", 3)
	w.eventually("all is queued", func() (queued bool) {
		require.NoError(t, w.db.QueryRow(t.Context(), `SELECT coalesce(max(last_version), 0) >= 3 FROM wallet_webhook_queue`).Scan(&queued))
		return queued
	})
	stop()
	require.NoError(t, w.store.Change(t.Context(), id, webhooks.Settings{URL: r.URL, Filter: webhooks.Filter{Events: []string{"wallet_asset.created"}}}))
	var third string
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT 'USD/u1/3-' || left(encode(hash, 'hex'), 16) FROM wallet_asset_events WHERE version = 3`).Scan(&third))
	_, err := w.store.Redeliver(t.Context(), id, webhooks.Redelivery{EventID: third})
	require.NoError(t, err)
	require.NoError(t, w.store.Resume(t.Context(), id))
	w.start(options(w.db))
	w.idle(id)
	require.ElementsMatch(t, []int64{1, 3}, r.versions("u1"))
}
