package feed_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/feed"
)

// sink is a consumer that writes each event to a table, and fails for some.
type sink struct {
	t    *testing.T
	db   *pgxpool.Pool
	stop func()

	mu       sync.Mutex
	bad      map[string]error // by place
	down     error            // for all
	idle     string           // but for this user
	attempts map[string]int   // calls that the event was in
	errs     []error
}

func newSink(t *testing.T, db *pgxpool.Pool) *sink {
	_, err := db.Exec(t.Context(), `CREATE TABLE sink (id bigint GENERATED ALWAYS AS IDENTITY, user_id text, version bigint, PRIMARY KEY (user_id, version))`)
	require.NoError(t, err)
	return &sink{t: t, db: db, bad: map[string]error{}, attempts: map[string]int{}}
}

// start consumes in the background, until stop.
func (s *sink) start(o feed.Options) {
	o.Name, o.PollInterval = "sink", 20*time.Millisecond
	o.OnError = func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := feed.Consume(ctx, s.db, o, s.handle); err != nil {
			s.t.Error(err)
		}
	})
	s.stop = func() { cancel(); running.Wait() }
	s.t.Cleanup(s.stop)
}

func (s *sink) handle(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
	for _, e := range events {
		if _, err := tx.Exec(ctx, `INSERT INTO sink (user_id, version) VALUES ($1, $2)`, e.UserID, e.Version); err != nil {
			return err
		}
		s.mu.Lock()
		s.attempts[place(e)]++
		err := s.bad[place(e)]
		if e.UserID != s.idle {
			err = errors.Join(err, s.down)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *sink) count(sql string, args ...any) (n int) {
	require.NoError(s.t, s.db.QueryRow(s.t.Context(), sql, args...).Scan(&n))
	return n
}

func (s *sink) eventually(n int, sql string, args ...any) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.count(sql, args...) == n }, time.Minute, 10*time.Millisecond, sql)
}

// requireOrder checks that each wallet's events came once and in order. The primary key of
// the table sees to the first.
func (s *sink) requireOrder() {
	s.t.Helper()
	require.Zero(s.t, s.count(`SELECT count(*) FROM (
		SELECT version, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM sink) AS s WHERE version <> n`))
}

const (
	sqlDelivered = `SELECT count(*) FROM sink`
	sqlWaiting   = `SELECT count(*) FROM wallet_feed_parked`
	sqlParked    = `SELECT count(*) FROM wallet_feed_parked WHERE parked`
)
