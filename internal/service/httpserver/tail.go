package httpserver

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

// tail has the newest events of the feed in memory, while there are streams: however many these are,
// the feed is read once. A stream that is further behind reads Postgres.
type tail struct {
	db *pgxpool.Pool

	joining sync.Mutex // one at a time starts it
	mu      sync.Mutex
	streams int
	stop    context.CancelFunc
	events  []tailEvent
	bytes   int
	begin   feed.Cursor   // events has all that are after it
	end     feed.Cursor   // of the last one
	grown   chan struct{} // closed when there are more, or it has failed
	waking  bool
	failed  error
}

type tailEvent struct {
	wallet.AssetRef
	at   feed.Cursor
	data []byte // JSON, encoded once for all streams
}

const (
	maxTailEvents = 2000
	maxTailBytes  = 8 << 20
	// wakeDelay collects events, so that each does not wake all streams.
	wakeDelay = 10 * time.Millisecond
)

// join starts it for the first stream.
func (t *tail) join(ctx context.Context) error {
	t.joining.Lock()
	defer t.joining.Unlock()
	t.mu.Lock()
	running, failed := t.streams > 0, t.failed
	if running && failed == nil {
		t.streams++
	}
	t.mu.Unlock()
	if running {
		return failed
	}
	end, err := feed.End(ctx, t.db)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.Background())
	t.mu.Lock()
	t.streams, t.stop, t.events, t.bytes, t.begin, t.end, t.failed = 1, stop, nil, 0, end, end, nil
	t.grown = make(chan struct{})
	t.mu.Unlock()
	go func() {
		err := feed.Follow(following, t.db, feed.FollowOptions{After: end}, func(e feed.Event) error { return t.add(following, e) })
		if err != nil && following.Err() == nil {
			t.fail(following, err)
		}
	}()
	return nil
}

// leave ends it with the last stream.
func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams--; t.streams == 0 {
		t.stop()
		t.events = nil
	}
}

func (t *tail) add(following context.Context, e feed.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if following.Err() != nil { // by now there may be another
		return following.Err()
	}
	t.events, t.bytes, t.end = append(t.events, tailEvent{wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}, e.Cursor, data}), t.bytes+len(data), e.Cursor
	if len(t.events) >= 2*maxTailEvents || t.bytes >= 2*maxTailBytes {
		t.forget()
	}
	if !t.waking {
		t.waking = true
		time.AfterFunc(wakeDelay, t.wake)
	}
	return nil
}

// forget drops the oldest events until the rest is within the limits.
func (t *tail) forget() {
	drop := 0
	for len(t.events)-drop > maxTailEvents || t.bytes > maxTailBytes {
		t.bytes -= len(t.events[drop].data)
		t.begin = t.events[drop].at
		drop++
	}
	t.events = slices.Clone(t.events[drop:])
}

func (t *tail) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waking = false
	close(t.grown)
	t.grown = make(chan struct{})
}

func (t *tail) fail(following context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if following.Err() == nil {
		t.failed = err
		close(t.grown)
		t.grown = make(chan struct{})
	}
}

// tailPage is what a stream at a place finds.
type tailPage struct {
	events []tailEvent // at most the limit, of the wallets that keep wants
	next   feed.Cursor // where to go on
	behind bool        // it has to read Postgres
	end    feed.Cursor
	grown  <-chan struct{} // closed when there are more
}

func (t *tail) after(at feed.Cursor, limit int, keep func(wallet.AssetRef) bool) (tailPage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	page := tailPage{next: at, behind: at.Compare(t.begin) < 0, end: t.end, grown: t.grown}
	if t.failed != nil || page.behind {
		return page, t.failed
	}
	from, _ := slices.BinarySearchFunc(t.events, at, func(e tailEvent, at feed.Cursor) int {
		if e.at.Compare(at) <= 0 {
			return -1
		}
		return 1
	})
	for _, e := range t.events[from:] {
		if len(page.events) == limit {
			page.grown = alreadyClosed // there are more already
			break
		}
		page.next = e.at
		if keep(e.AssetRef) {
			page.events = append(page.events, e)
		}
	}
	return page, nil
}
