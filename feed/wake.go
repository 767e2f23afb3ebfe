package feed

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// channel is notified after events were appended. A notification only wakes: what
// there is to read is found by cursor, so that a lost one costs time and nothing else.
const channel = "wallet_feed"

// announceDelay is how long appends are gathered into one notification. Postgres
// commits transactions that notify one after the other, so the steps do not notify
// themselves, and not each time.
const announceDelay = 20 * time.Millisecond

const (
	sqlAnnounce = `SELECT pg_notify('` + channel + `', '')`
	sqlListen   = `LISTEN ` + channel
)

// Announcer tells those who wait for events that there are new ones.
type Announcer struct {
	db      *pgxpool.Pool
	pending atomic.Bool
}

// NewAnnouncer makes an Announcer on a pool.
func NewAnnouncer(db *pgxpool.Pool) *Announcer { return &Announcer{db: db} }

// Announce returns at once. The notification follows soon; it fails silently, as who
// waits also looks by himself.
func (a *Announcer) Announce() {
	if !a.pending.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(announceDelay, func() {
		a.pending.Store(false) // first: what is appended from here on is announced anew
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, _ = a.db.Exec(ctx, sqlAnnounce)
	})
}

// waker wakes who waits for events: when some are announced, and every poll.
type waker struct {
	announced chan struct{}
	poll      time.Duration
}

// newWaker listens on a connection of its own until ctx ends. A pooler in transaction
// mode passes no notifications on: then there is the poll.
func newWaker(ctx context.Context, db *pgxpool.Pool, poll time.Duration) *waker {
	w := &waker{make(chan struct{}, 1), poll}
	go func() {
		pause := backoff.NewExponentialBackOff()
		for ctx.Err() == nil {
			if w.listen(ctx, db.Config(), pause.Reset) != nil {
				sleep(ctx, pause.NextBackOff())
			}
		}
	}()
	return w
}

func (w *waker) listen(ctx context.Context, config *pgxpool.Config, connected func()) error {
	if config.BeforeConnect != nil { // it may know a newer password
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sqlListen); err != nil {
		return err
	}
	connected()
	for {
		select { // also right after connecting: something may have come before
		case w.announced <- struct{}{}:
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// wait returns when there may be something to read, or ctx has ended.
func (w *waker) wait(ctx context.Context) {
	timer := time.NewTimer(w.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.announced:
	case <-timer.C:
	}
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
