package webhooks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	cryptorand "crypto/rand"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
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

	// firstFailures is how many wallets in a row, each with nothing before that failed, make an
	// endpoint down. Further failures of a wallet say nothing: it may be the event's fault.
	firstFailures = 4
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
		Options: o, client: o.Guard.client(o.Timeout), lease: cryptorand.Text(), wake: make(chan struct{}, 1), endpoints: map[string]*running{},
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

	secretsOf = `(SELECT array_agg(secret ORDER BY secret_id DESC) FROM wallet_webhook_secrets AS s
			WHERE s.endpoint_id = e.endpoint_id AND (expires_at IS NULL OR expires_at > statement_timestamp()))`

	claim = `UPDATE wallet_webhook_queue AS q
		SET lease = $2, lease_until = clock_timestamp() + $3
		FROM due, wallet_webhook_endpoints AS e
		WHERE q.endpoint_id = due.endpoint_id AND q.user_id = due.user_id AND q.currency = due.currency AND e.endpoint_id = $1
		RETURNING q.user_id, q.currency, next_version, last_version, q.failures, url, e.events, ` + secretsOf + `,
			(SELECT array_agg(version) FROM wallet_feed_skipped AS s
				WHERE s.consumer = '` + ConsumerName + `' AND s.user_id = q.user_id AND s.currency = q.currency
					AND version BETWEEN next_version AND last_version AND ended_at IS NULL)`

	sqlClaim = `WITH due AS (
			SELECT endpoint_id, user_id, currency
			FROM wallet_webhook_queue AS q
			WHERE endpoint_id = $1 AND retry_at <= statement_timestamp() AND (lease_until IS NULL OR lease_until <= statement_timestamp())
				AND EXISTS (SELECT FROM wallet_webhook_endpoints AS e WHERE e.endpoint_id = $1 AND state = 'active' AND e.retry_at IS NULL)
			ORDER BY retry_at
			LIMIT 1
			FOR NO KEY UPDATE SKIP LOCKED)
		` + claim

	// Wallets that nothing is known of come first, then in turn those that failed.
	sqlClaimProbe = `WITH due AS (
			SELECT endpoint_id, user_id, currency
			FROM wallet_webhook_queue AS q
			WHERE endpoint_id = $1 AND (lease_until IS NULL OR lease_until <= statement_timestamp())
			ORDER BY failures > 0, retry_at
			LIMIT 1
			FOR NO KEY UPDATE SKIP LOCKED)
		` + claim

	whose = ` WHERE endpoint_id = $1 AND user_id = $2 AND currency = $3 AND lease = $4 AND next_version = $5`

	sqlProgress = `UPDATE wallet_webhook_queue
		SET next_version = $6, failures = 0, last_error = '', since = clock_timestamp(), lease_until = clock_timestamp() + $7` + whose

	sqlFinish = `DELETE FROM wallet_webhook_queue` + whose + ` AND last_version < $6`

	sqlRelease = `UPDATE wallet_webhook_queue
		SET next_version = $6, failures = $7, last_error = $8, retry_at = clock_timestamp() + $9, lease = NULL, lease_until = NULL,
			since = CASE WHEN next_version = $6 THEN since ELSE clock_timestamp() END` + whose

	sqlPark = `INSERT INTO wallet_webhook_events (endpoint_id, user_id, currency, version, failures, last_error, parked_at)
		VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
		ON CONFLICT (endpoint_id, user_id, currency, version) DO UPDATE
		SET failures = EXCLUDED.failures, last_error = EXCLUDED.last_error, parked_at = EXCLUDED.parked_at`

	sqlNoteError = `UPDATE wallet_webhook_endpoints
		SET last_error = $2, last_error_at = clock_timestamp()
		WHERE endpoint_id = $1`

	// Another process may have seen the same, or a person may have resumed it.
	sqlDown = `UPDATE wallet_webhook_endpoints
		SET retry_at = clock_timestamp() + $2
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at IS NULL`

	sqlParkEndpoint = `UPDATE wallet_webhook_endpoints
		SET state = 'parked', updated_at = now()
		WHERE endpoint_id = $1 AND state = 'active'`

	sqlClaimEndpoint = `UPDATE wallet_webhook_endpoints
		SET retry_at = clock_timestamp() + $2
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at <= statement_timestamp()
		RETURNING failures`

	sqlUp = `UPDATE wallet_webhook_endpoints
		SET failures = 0, retry_at = NULL
		WHERE endpoint_id = $1 AND state = 'active'`

	sqlStillDown = `UPDATE wallet_webhook_endpoints
		SET failures = $2, retry_at = clock_timestamp() + $3
		WHERE endpoint_id = $1 AND state = 'active' AND retry_at IS NOT NULL`
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

// destination is where, and signed with what.
type destination struct {
	url     string
	secrets []string
}

// claimed is a wallet that this process sends.
type claimed struct {
	endpoint string
	wallet.AssetRef
	next, last int64
	failures   int
	events     []string
	skipped    []int64 // versions; see feed.Skip
	to         destination
	unreadable error // of the secrets
	base       int64 // next_version as it is stored
}

func (d *Deliverer) claim(ctx context.Context, sql, endpoint string) (*claimed, error) {
	c := &claimed{endpoint: endpoint}
	var sealed [][]byte
	err := d.DB.QueryRow(ctx, sql, endpoint, d.lease, leaseFor).
		Scan(&c.UserID, &c.Currency, &c.next, &c.last, &c.failures, &c.to.url, &c.events, &sealed, &c.skipped)
	if err != nil {
		return nil, err
	}
	c.base = c.next
	c.to.secrets, c.unreadable = d.openAll(sealed)
	return c, nil
}

func (d *Deliverer) openAll(sealed [][]byte) (secrets []string, err error) {
	for _, s := range sealed {
		secret, err := open(d.Keys, s)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// work sends one wallet after the other, until none is due.
func (d *Deliverer) work(ctx context.Context, endpoint string) {
	for ctx.Err() == nil {
		c, err := d.claim(ctx, sqlClaim, endpoint)
		if err == nil {
			var a attempt
			if a, err = d.sendWallet(ctx, c); err == nil {
				err = d.settle(ctx, c, a)
			}
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				d.Logger.Warn("could not send webhooks of a wallet", zap.String("endpoint", endpoint), zap.Error(err))
			}
			return
		}
	}
}

// errLost says that another process has the wallet, or that it was changed meanwhile: this one's lease
// has ended.
var errLost = errors.New("the lease of the wallet has ended")

// sendWallet sends a wallet's events in order, until one fails or its turn is over. It returns
// the last attempt; what was sent is in c.next.
func (d *Deliverer) sendWallet(ctx context.Context, c *claimed) (attempt, error) {
	if c.unreadable != nil {
		return attempt{result: throttled, reason: c.unreadable.Error(), after: time.Minute}, nil
	}
	started, saved := time.Now(), time.Now()
	for c.next <= c.last && ctx.Err() == nil && time.Since(started) < turn {
		events, err := feed.OfWallet(ctx, d.DB, c.AssetRef, c.next, c.last, pageSize)
		if len(events) == 0 && errors.Is(err, feed.ErrEventMissing) {
			return attempt{result: failed, reason: err.Error()}, nil
		} else if len(events) == 0 && err != nil {
			return attempt{}, err
		}
		for _, e := range events {
			if ctx.Err() != nil || time.Since(started) >= turn {
				break
			}
			if wants(c.events, e.EventType) && !slices.Contains(c.skipped, e.Version) {
				if a := d.sendObserved(ctx, c.endpoint, c.to, e); a.result != delivered {
					return a, nil
				}
			}
			c.next, c.failures = e.Version+1, 0
			if time.Since(saved) >= saveEvery {
				if err := d.change(ctx, sqlProgress, c, c.next, leaseFor); err != nil {
					return attempt{}, err
				}
				c.base, saved = c.next, time.Now()
			}
		}
	}
	return attempt{result: delivered}, nil
}

func (d *Deliverer) sendObserved(ctx context.Context, endpoint string, to destination, e feed.Event) attempt {
	started := time.Now()
	a := d.send(ctx, to, e)
	d.Observe(endpoint, string(a.result), time.Since(started))
	if a.result == delivered {
		d.mu.Lock()
		r := d.of(endpoint)
		r.firsts = 0
		r.delivered++
		d.mu.Unlock()
	}
	return a
}

// change changes the row of a wallet that this process has.
func (d *Deliverer) change(ctx context.Context, sql string, c *claimed, args ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	return changeIn(ctx, d.DB, d.lease, sql, c, args...)
}

func (d *Deliverer) release(ctx context.Context, c *claimed, failures int, reason string, pause time.Duration) error {
	return d.change(ctx, sqlRelease, c, c.next, failures, reason, pause)
}

// settle notes what became of a wallet.
func (d *Deliverer) settle(ctx context.Context, c *claimed, a attempt) error {
	if a.result == delivered {
		return d.finish(ctx, c)
	}
	if err := d.noteError(ctx, c.endpoint, a.reason); err != nil {
		return err
	}
	switch a.result {
	case gone:
		return errors.Join(d.parkEndpoint(ctx, c.endpoint, a.reason), d.release(ctx, c, c.failures, a.reason, 0))
	case throttled:
		return errors.Join(d.exec(ctx, sqlDown, c.endpoint, a.after), d.release(ctx, c, c.failures, a.reason, a.after))
	}
	c.failures++
	if c.failures == 1 && d.isDown(c.endpoint) {
		d.Logger.Warn("an endpoint of webhooks is down, and only probed from now on", zap.String("endpoint", c.endpoint), zap.String("error", a.reason))
		if err := d.exec(ctx, sqlDown, c.endpoint, d.pause(0)); err != nil {
			return err
		}
	}
	if c.failures > len(d.Schedule) {
		return d.park(ctx, c, a.reason)
	}
	return d.release(ctx, c, c.failures, a.reason, d.pause(c.failures-1))
}

// isDown counts a first failure, and reports whether there are too many in a row.
func (d *Deliverer) isDown(endpoint string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.of(endpoint)
	r.firsts++
	if r.firsts < firstFailures {
		return false
	}
	r.firsts = 0
	return true
}

// pause is one of the schedule, give or take a tenth, so that not all come at once.
func (d *Deliverer) pause(i int) time.Duration {
	pause := d.Schedule[min(i, len(d.Schedule)-1)]
	return pause*9/10 + rand.N(pause/5+1)
}

// finish forgets a wallet, unless it has more to send by now.
func (d *Deliverer) finish(ctx context.Context, c *claimed) error {
	if err := d.change(ctx, sqlFinish, c, c.next); !errors.Is(err, errLost) {
		return err
	}
	return d.release(ctx, c, 0, "", 0)
}

// park sets the next event of a wallet aside: the others go on.
func (d *Deliverer) park(ctx context.Context, c *claimed, reason string) error {
	d.Logger.Warn("an event is parked for an endpoint of webhooks", zap.String("endpoint", c.endpoint), zap.Int64("version", c.next), zap.String("error", reason))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	return pgx.BeginFunc(ctx, d.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlPark, c.endpoint, c.UserID, c.Currency, c.next, c.failures, reason); err != nil {
			return err
		}
		err := changeIn(ctx, tx, d.lease, sqlFinish, c, c.next+1)
		if errors.Is(err, errLost) {
			err = changeIn(ctx, tx, d.lease, sqlRelease, c, c.next+1, 0, "", time.Duration(0))
		}
		return err
	})
}

func (d *Deliverer) parkEndpoint(ctx context.Context, endpoint, reason string) error {
	d.Logger.Error("an endpoint of webhooks is parked: nothing is sent to it until \"wallet webhook resume\"", zap.String("endpoint", endpoint), zap.String("error", reason))
	return d.exec(ctx, sqlParkEndpoint, endpoint)
}

func (d *Deliverer) noteError(ctx context.Context, endpoint, reason string) error {
	return d.exec(ctx, sqlNoteError, endpoint, reason)
}

// exec changes an endpoint. If it was removed there is nothing to change.
func (d *Deliverer) exec(ctx context.Context, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	_, err := d.DB.Exec(ctx, sql, args...)
	return err
}
