package feed

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// channel is notified after events were appended. A notification only wakes readers: they find
// what to read by cursor, so a lost notification only costs time.
const channel = "wallet_feed"

// announceDelay is how long appends are collected into one notification. Postgres commits
// transactions that notify one after the other, so the steps do not notify themselves, and not
// for every append.
const announceDelay = 20 * time.Millisecond

const (
	sqlAnnounce = `SELECT pg_notify('` + channel + `', '')`
	sqlListen   = `LISTEN ` + channel
)

// Announcer notifies readers that there are new events.
type Announcer struct {
	db      *pgxpool.Pool
	pending atomic.Bool
}

// NewAnnouncer makes an Announcer on a pool.
func NewAnnouncer(db *pgxpool.Pool) *Announcer { return &Announcer{db: db} }

// Announce returns at once. The notification follows soon. If it fails, nothing is reported,
// because readers also poll.
func (a *Announcer) Announce() {
	if !a.pending.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(announceDelay, func() {
		a.pending.Store(false) // first: appends from here on get another notification
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, _ = a.db.Exec(ctx, sqlAnnounce)
	})
}

// waker wakes a reader when events are announced, and at every poll interval.
type waker struct {
	announced chan struct{}
	poll      time.Duration
}

// newWaker listens on its own connection until ctx ends. A pooler in transaction mode does not
// pass on notifications: the poll covers that.
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
	if config.BeforeConnect != nil { // it may have a newer password
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
		select { // also right after connecting: something may have arrived before
		case w.announced <- struct{}{}:
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// wait returns when there may be something to read or ctx has ended.
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
