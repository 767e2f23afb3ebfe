package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// frontTarget is the link between Postgres and everybody but the workers. No fault disturbs it;
// it only leads to another server after a promotion.
const frontTarget = "front->postgres"

// standbyTarget is the link through which a standby follows.
const standbyTarget = "standby->postgres"

// longestLag is how long a standby gets nothing any more before it takes over.
const longestLag = 300 * time.Millisecond

// promotionTakes is about as long as everything stands still: until there is a new standby,
// nothing is committed.
const promotionTakes = 8 * time.Second

// What a standby missed while Postgres was down must still be there.
const keepWAL = "wal_keep_size=1GB"

// sqlSynchronous is true once the standby has all that was committed, and commits wait for it.
const (
	sqlSynchronous = `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))`
	sqlPromote     = `SELECT pg_promote(true, 30)`
	// A promotion begins a new timeline; the first is 1.
	sqlTimeline = `SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int`
)

// openFront opens the links through which Temporal, the checks and standbys reach whichever
// Postgres is the primary.
func (w *world) openFront(o *devstack.Options) error {
	ports, err := devstack.FreePorts(3)
	if err != nil {
		return err
	}
	o.PostgresPort, o.PostgresProxyPort = ports[0], ports[1]
	o.PostgresSettings = append(o.PostgresSettings, keepWAL)
	primary := fmt.Sprint("127.0.0.1:", o.PostgresPort)
	if w.links[frontTarget], err = newLink(frontTarget, o.PostgresProxyPort, primary); err != nil {
		return err
	}
	w.standbyPort = ports[2]
	w.links[standbyTarget], err = newLink(standbyTarget, w.standbyPort, primary)
	return err
}

// addStandby starts the first standby. From then on every commit waits for one.
func (w *world) addStandby(ctx context.Context) error {
	if err := w.replaceStandby(ctx); err != nil {
		return err
	}
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if _, err := w.owner.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return w.eventually(ctx, startPatience, "a synchronous standby", w.checkStandby)
}

// replaceStandby makes a new standby of the primary.
func (w *world) replaceStandby(ctx context.Context) error {
	tries := 0
	return w.eventuallyIn(ctx, 2*startPatience, startPatience, "a new standby", func(ctx context.Context) (err error) {
		tries++
		dir := filepath.Join(w.dir, fmt.Sprintf("standby-%d-%d", len(w.retired), tries))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // the server's user must be able to enter it
			return err
		}
		w.standby, err = w.stack.Postgres.Through(w.standbyPort).Standby(ctx, dir, devstack.FindDeadlocks, nameDatabase, keepWAL, "synchronous_standby_names=*", "wal_retrieve_retry_interval=100ms")
		if err != nil {
			w.standby = nil
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	})
}

func (w *world) checkStandby(ctx context.Context) error {
	var synchronous bool
	if err := w.owner.QueryRow(ctx, sqlSynchronous).Scan(&synchronous); err != nil {
		return err
	}
	if !synchronous {
		return errors.New("the standby has not caught up")
	}
	return nil
}

// promote kills the primary for good, and lets the standby take over. Shortly before, the
// standby gets nothing any more: what is committed then is lost, so nobody may be told of it.
func (w *world) promote(ctx context.Context, f Fault) error {
	s := w.servers[postgresTarget]
	s.mu.Lock() // nobody starts it again
	defer s.mu.Unlock()
	if s.down || !s.process.Running() || w.standby == nil {
		return errors.New("the primary or its standby does not run")
	}
	look, cancel := context.WithTimeout(ctx, 2*time.Second)
	err := w.checkStandby(look)
	cancel()
	if err != nil {
		return err
	}
	old, next := w.stack.Postgres, w.standby
	lag := Fault{Kind: Silence}
	if err := w.links[standbyTarget].begin(lag); err != nil {
		return err
	}
	sleep(ctx, time.Duration(f.Strength*float64(longestLag)))
	s.down = true // and stays so unless the standby takes over
	s.process.Kill()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), startPatience) // there is no way back
	defer cancel()
	conn, err := pgx.Connect(ctx, next.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var promoted bool
	if err := conn.QueryRow(ctx, sqlPromote).Scan(&promoted); err != nil || !promoted {
		return errors.Join(fmt.Errorf("the standby was not promoted: %t", promoted), err)
	}
	w.stack.Postgres, w.standby, w.retired = next, nil, append(w.retired, old)
	s.process, s.down = next.Process(), false
	err = w.links[standbyTarget].end(lag)
	for _, l := range w.links {
		err = errors.Join(err, l.redirect(addressOf(old), addressOf(next)))
	}
	return err
}

func (r *Report) countPromotions(ctx context.Context, w *world) error {
	var timeline int
	err := w.owner.QueryRow(ctx, sqlTimeline).Scan(&timeline)
	r.Effects[promotions] = timeline - 1
	return err
}
