package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// lookEvery is how often the primary is asked how far its log is. An answer's age counts from
	// the last time, so it is said to be up to so much older than it is.
	lookEvery    = time.Second
	lookPatience = 3 * time.Second
	// maxMarks is how many of these are kept. What is older than all of them has the age of the last
	// transaction that the standby has replayed.
	maxMarks = 3600
	// replayPause is how long a read waits before it asks a standby again.
	replayPause = 20 * time.Millisecond
)

// Reads is a pool that may lead to standbys, and what is known of their age.
//
// A standby cannot tell that it has everything: the last transaction that it has replayed may be an hour
// old because the primary was idle since then. So the primary is asked for the end of its log now and
// then. A standby that has replayed the log up to there has all that was committed before the question.
type Reads struct {
	Pool *pgxpool.Pool

	mu     sync.Mutex
	marks  []mark    // of the primary, in the order of time
	asOf   time.Time // of what Follow has read last
	failed error     // why Follow could not read
}

// mark is where the primary's log ended at a time.
type mark struct {
	at  time.Time
	wal int64
}

// NewReads makes a pool that does not connect before it is used. The reads of a view get connections
// to servers that have all that its earlier ones had. Those without a view in their context are of
// the view other, if that is not nil.
func NewReads(ctx context.Context, config *pgxpool.Config, other *View) (r *Reads, err error) {
	r = &Reads{asOf: time.Now()}
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		view, ok := ctx.Value(viewKey{}).(*View)
		if !ok {
			view = other
		}
		if view == nil {
			return true, nil
		}
		return view.prepare(ctx, conn)
	}
	r.Pool, err = pgxpool.NewWithConfig(ctx, config)
	return r, err
}

// Mark asks the primary how far its log is.
func (r *Reads) Mark(ctx context.Context, primary interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) error {
	at, wal := time.Now(), int64(0)
	if err := primary.QueryRow(ctx, sqlFlushed).Scan(&wal); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n := len(r.marks); {
	case n > 0 && r.marks[n-1].wal == wal:
		r.marks[n-1].at = at
		return nil
	case n > 0 && r.marks[n-1].wal > wal: // another primary, whose log has parted from that of the one before
		r.marks = nil
	case n == maxMarks:
		r.marks = slices.Clone(r.marks[n/2:])
	}
	r.marks = append(r.marks, mark{at, wal})
	return nil
}

// Follow asks the primary, and looks how old an answer would be, until ctx ends.
func (r *Reads) Follow(ctx context.Context, primary *pgxpool.Pool) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		r.look(ctx, primary)
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (r *Reads) look(ctx context.Context, primary *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	_ = r.Mark(ctx, primary) // without it, answers get older
	ctx, view := NewView(ctx)
	err := r.Pool.Ping(ctx)
	age, known := r.Age(view)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed = err; err == nil && known {
		r.asOf = time.Now().Add(-age)
	}
}

// Lag is how old an answer can be, and grows while there is none.
func (r *Reads) Lag() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.asOf)
}

// Check returns why nothing could be read when Follow tried last.
func (r *Reads) Check(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Age is how old what a view has read can be: it has all that was committed before. It is 0 if that
// came from a primary, and not known if neither the primary nor the standby can tell.
func (r *Reads) Age(v *View) (age time.Duration, known bool) {
	standby := v.Standby()
	if standby == nil {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.marks) {
		if m.wal <= standby.WAL {
			return time.Since(m.at), true
		}
	}
	return standby.Lag, standby.Replayed != nil
}

// Demand has a view wait for what the primary had when it was asked last.
func (r *Reads) Demand(v *View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.marks); n > 0 {
		v.demand(r.marks[n-1].wal)
	}
}

// View is what the reads of one request have seen: all come from a server that has at least what the
// first one had.
type View struct {
	mu      sync.Mutex
	standby *Standby // of the first read; nil if that was of a primary
	read    bool
	wal     int64 // that all later reads must have
}

type viewKey struct{}

// NewView makes a context for the reads of one request.
func NewView(ctx context.Context) (context.Context, *View) {
	v := &View{}
	return WithView(ctx, v), v
}

// WithView makes a context for more reads of a view.
func WithView(ctx context.Context, v *View) context.Context {
	return context.WithValue(ctx, viewKey{}, v)
}

// ViewOf returns the view of a context, or an empty one.
func ViewOf(ctx context.Context) *View {
	if v, ok := ctx.Value(viewKey{}).(*View); ok {
		return v
	}
	return &View{}
}

// Standby is where the first read came from; nil if it was a primary.
func (v *View) Standby() *Standby {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.standby
}

// Restart forgets how old earlier reads were, but not what they had: the next one counts as the first.
func (v *View) Restart() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.standby, v.read = nil, false
}

func (v *View) demand(wal int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wal = wal
}

// Forget takes back what was demanded.
func (v *View) Forget() { v.demand(0) }

// prepare waits until the server of a connection has what the view has seen.
func (v *View) prepare(ctx context.Context, conn *pgx.Conn) (bool, error) {
	for {
		standby, err := StandbyOf(ctx, conn)
		if err != nil && conn.IsClosed() && ctx.Err() == nil {
			return false, nil // the server has restarted: the pool takes another connection
		} else if err != nil {
			return false, err
		}
		if v.accept(standby) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return true, &BehindError{Standby: standby, Lacks: "what an earlier read of this request had"}
		case <-time.After(replayPause):
		}
	}
}

func (v *View) accept(standby *Standby) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if standby != nil && standby.WAL < v.wal {
		return false
	}
	if !v.read {
		v.read, v.standby = true, standby
	}
	if standby != nil {
		v.wal = standby.WAL
	}
	return true
}

// BehindError says that a standby does not have yet what a read demands.
type BehindError struct {
	*Standby
	Lacks string
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("the standby does not have %s yet", e.Lacks)
}
