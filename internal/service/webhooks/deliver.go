package webhooks

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/migrations"
)

// Schedule is the pause before each further try: that of the Standard Webhooks specification,
// about three days in all.
var Schedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// leaseFor is how long a process has a wallet; the next one waits so long if it dies.
	leaseFor = time.Minute
	// turn is how long a wallet is sent before others have theirs. With the time limit of one
	// request it must be shorter than a lease.
	turn      = 10 * time.Second
	saveEvery = time.Second // what was sent after the last save is sent again if the process dies
	pageSize  = 50          // events that are read at a time

	// MaxTimeout of a request.
	MaxTimeout = 30 * time.Second

	// savePatience is how long a process that is to end tries to note what it has sent.
	savePatience = 5 * time.Second
)

// Options of a Deliverer.
type Options struct {
	DB     *pgxpool.Pool // its role is a member of RoleWebhooks
	Guard  *Guard
	Keys   *codec.Keys
	Logger *zap.Logger

	// Observe is told of each attempt, unless it is nil.
	Observe func(endpoint, result string, took time.Duration)

	Concurrency int             // wallets at once per endpoint; 8 if 0
	Timeout     time.Duration   // of a request; 15 s if 0
	Poll        time.Duration   // how often it looks for what is due; 500 ms if 0
	Schedule    []time.Duration // Schedule if empty
}

// Deliverer sends what is queued.
type Deliverer struct {
	Options
	client *http.Client
	lease  string // of this process
	wake   chan struct{}
	tasks  sync.WaitGroup

	mu        sync.Mutex
	endpoints map[string]*running
}

// running is what this process does for an endpoint.
type running struct {
	workers               int
	probing, redelivering bool
	firsts                int   // first failures in a row
	delivered             int64 // not yet noted
}

// NewDeliverer fills in the defaults.
func NewDeliverer(o Options) *Deliverer {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Poll <= 0 {
		o.Poll = 500 * time.Millisecond
	}
	if len(o.Schedule) == 0 {
		o.Schedule = Schedule
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration) {}
	}
	o.Timeout = min(o.Timeout, MaxTimeout)
	return &Deliverer{
		Options: o, client: o.Guard.client(o.Timeout), lease: rand.Text(), wake: make(chan struct{}, 1), endpoints: map[string]*running{},
	}
}

const (
	// Unlike clock_timestamp(), the time of the statement can be looked up in an index.
	sqlNow = `SELECT endpoint_id, retry_at IS NOT NULL,
			(SELECT count(*) FROM (
				SELECT FROM wallet_webhook_queue AS q
				WHERE q.endpoint_id = e.endpoint_id AND q.retry_at <= statement_timestamp() AND (lease_until IS NULL OR lease_until <= statement_timestamp())
				LIMIT $1) AS due),
			(redeliver_until IS NULL OR redeliver_until <= statement_timestamp()) AND EXISTS (
				SELECT FROM wallet_webhook_events AS r
				WHERE r.endpoint_id = e.endpoint_id AND r.retry_at <= statement_timestamp())
		FROM wallet_webhook_endpoints AS e
		WHERE state = 'active' AND (retry_at IS NULL OR retry_at <= statement_timestamp())`

	sqlDelivered = `UPDATE wallet_webhook_endpoints
		SET delivered = delivered + $2, delivered_at = clock_timestamp()
		WHERE endpoint_id = $1`
)

// Run consumes the feed and sends what is due until ctx ends, then waits for what is being sent.
// It only fails if it cannot start.
func (d *Deliverer) Run(ctx context.Context) error {
	if err := d.register(ctx); err != nil {
		return fmt.Errorf("register the consumer %q of the feed: %w", ConsumerName, err)
	}
	consumed := make(chan error, 1)
	go func() {
		consumed <- feed.Consume(ctx, d.DB, feed.Options{
			Name:    ConsumerName,
			OnError: func(err error) { d.Logger.Warn("could not queue events for webhooks", zap.Error(err)) },
		}, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
			defer time.AfterFunc(announceDelay, d.poke)
			return enqueue(ctx, tx, events)
		})
	}()
	defer d.client.CloseIdleConnections()
	ticks := time.NewTicker(d.Poll)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			d.tasks.Wait()
			d.noteDelivered(ctx)
			return <-consumed
		case err := <-consumed:
			if ctx.Err() == nil {
				d.tasks.Wait()
				return err
			}
			consumed <- err
			continue
		case <-ticks.C:
		case <-d.wake:
		}
		if err := d.start(ctx); err != nil && ctx.Err() == nil {
			d.Logger.Warn("could not look for webhooks to send", zap.Error(err))
		}
	}
}

// announceDelay is about how long a commit takes.
const announceDelay = 10 * time.Millisecond

func (d *Deliverer) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// register makes the consumer, where no endpoint has been added yet.
func (d *Deliverer) register(ctx context.Context) error {
	end, err := feed.End(ctx, d.DB)
	if err != nil {
		return err
	}
	_, err = d.DB.Exec(ctx, sqlAddConsumer, ConsumerName, migrations.RoleWebhooks, end.Row, end.Version)
	return err
}

// start starts as many tasks as there is work for.
func (d *Deliverer) start(ctx context.Context) error {
	d.noteDelivered(ctx)
	found, err := d.DB.Query(ctx, sqlNow, d.Concurrency)
	if err != nil {
		return err
	}
	type due struct {
		ID           string
		Down         bool
		Wallets      int
		Redeliveries bool
	}
	all, err := pgx.CollectRows(found, pgx.RowToStructByPos[due])
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range all {
		r := d.of(e.ID)
		switch {
		case e.Down && !r.probing:
			d.task(&r.probing, func() { d.probe(ctx, e.ID) })
		case !e.Down:
			for ; e.Wallets > 0 && r.workers < d.Concurrency; e.Wallets-- {
				r.workers++
				d.tasks.Go(func() {
					d.work(ctx, e.ID)
					d.mu.Lock()
					r.workers--
					d.mu.Unlock()
				})
			}
			if e.Redeliveries && !r.redelivering {
				d.task(&r.redelivering, func() { d.redeliver(ctx, e.ID) })
			}
		}
	}
	return nil
}

// of needs the mutex.
func (d *Deliverer) of(endpoint string) *running {
	r := d.endpoints[endpoint]
	if r == nil {
		r = &running{}
		d.endpoints[endpoint] = r
	}
	return r
}

// task runs do once at a time; it needs the mutex.
func (d *Deliverer) task(busy *bool, do func()) {
	*busy = true
	d.tasks.Go(func() {
		do()
		d.mu.Lock()
		*busy = false
		d.mu.Unlock()
	})
}

// noteDelivered adds up what this process has delivered.
func (d *Deliverer) noteDelivered(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	d.mu.Lock()
	counted := map[string]int64{}
	for id, r := range d.endpoints {
		if r.delivered > 0 {
			counted[id], r.delivered = r.delivered, 0
		}
	}
	d.mu.Unlock()
	for id, n := range counted {
		if _, err := d.DB.Exec(ctx, sqlDelivered, id, n); err != nil {
			d.Logger.Warn("could not count what was sent", zap.Error(err))
		}
	}
}
