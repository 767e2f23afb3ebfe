// Package failover kills a primary Postgres under load, promotes its standby, and says for how long
// nobody got an answer, what was lost, and whether "wallet salvage" finds all of it.
package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Options of a failover.
type Options struct {
	Program string // the program wallet
	Dir     string // for the servers' data and logs
	// Async replication; else commits wait for the standby.
	Async bool
	// Behind is how many answers come, at least, while an asynchronous standby gets nothing any more.
	Behind  int
	Clients int
	Answers int // before and after the failover, at least
	Say     func(format string, args ...any)
}

// Report is what came of it.
type Report struct {
	Replication string  `json:"replication"`
	Answers     int     `json:"answers"`
	Promoted    float64 `json:"promoted_s"` // from the kill until the standby takes writes
	Silence     float64 `json:"silence_s"`  // the longest time in which nobody got an answer
	Lost        int     `json:"lost"`       // answered, and not in the journal of the promoted server
	Reported    int     `json:"reported"`   // by "wallet salvage --since"
	Noticed     int     `json:"noticed"`    // by wallets with a next command, in the workers' logs
	Recovered   int     `json:"recovered"`  // of the lost ones, by "wallet salvage --apply"
	// Problems are promises that were broken.
	Problems []string `json:"problems"`
}

const (
	database    = "wallet"
	appPassword = "app" // for a server that lives as long as the run
	workers     = 2
	patience    = 2 * time.Minute
	sqlWaits    = `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))`
	sqlFollows  = `SELECT EXISTS (SELECT FROM pg_stat_replication)`
)

// world is everything that is running.
type world struct {
	o         Options
	stack     *devstack.Stack
	standby   *devstack.Postgres
	temporal  client.Client
	callers   []*starter.Client // one that uses a lane, and one that does not
	processes []*devstack.Process
	env       []string
	begun     time.Time

	mu       sync.Mutex
	answered []answer
	count    atomic.Int64
	ended    atomic.Bool
}

// answer is what a caller was told of a command, or of a transaction.
type answer struct {
	wallet.AssetRef
	id            string
	isTransaction bool
	at            time.Time
}

func (a answer) String() string { return a.id }

// Run does it.
func Run(ctx context.Context, o Options) (r Report, err error) {
	w := &world{o: o}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.start(ctx); err != nil {
		return r, err
	}
	r.Replication = map[bool]string{true: "asynchronous", false: "synchronous"}[o.Async]
	var load sync.WaitGroup
	for i := range o.Clients {
		load.Go(func() { w.send(ctx, i) })
	}
	defer load.Wait()
	defer w.ended.Store(true)
	if err := w.awaitAnswers(ctx, o.Answers); err != nil {
		return r, err
	}
	if o.Async {
		if err := w.cutOff(ctx); err != nil {
			return r, err
		}
	}
	killed := time.Now()
	w.stack.Postgres.Process().Kill()
	if err := execOn(ctx, w.standby, `SELECT pg_promote(true, 60)`); err != nil {
		return r, fmt.Errorf("promote the standby: %w", err)
	}
	r.Promoted = time.Since(killed).Seconds()
	w.stack.Postgres, w.standby = w.standby, nil
	if err := w.awaitAnswers(ctx, o.Answers); err != nil {
		return r, err
	}
	w.ended.Store(true)
	load.Wait()
	return r, w.judge(ctx, &r)
}

func (w *world) start(ctx context.Context) (err error) {
	w.begun = time.Now()
	if w.stack, err = devstack.Start(ctx, devstack.Options{Dir: filepath.Join(w.o.Dir, "servers"), Log: w.o.Say}); err != nil {
		return err
	}
	primary := w.stack.Postgres
	if err := primary.CreateDatabase(ctx, database); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, primary.URL(database)); err != nil {
		return err
	}
	if err := migrations.AllowLogin(ctx, primary.URL(database), migrations.RoleApp, appPassword); err != nil {
		return err
	}
	dir := filepath.Join(w.o.Dir, "standby")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if w.standby, err = primary.Standby(ctx, dir); err != nil {
		return err
	}
	await := sqlFollows
	if !w.o.Async {
		await = sqlWaits
		if err := execOn(ctx, primary, `ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`); err != nil {
			return err
		}
	}
	if err := awaitTrue(ctx, primary, await); err != nil {
		return err
	}
	w.env = append(os.Environ(), "TEMPORAL_ADDRESS="+w.stack.Temporal.Address(), "TEMPORAL_NAMESPACE="+client.DefaultNamespace,
		fmt.Sprintf("WALLET_DATABASE_URL=postgres://%s:%s@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable&target_session_attrs=read-write",
			migrations.RoleApp, appPassword, primary.Port(), w.standby.Port(), database))
	for i := range workers {
		cmd := exec.Command(w.o.Program, "worker", "--log-format", "json", "--log-level", "warn", "--http-address", service.HTTPOff)
		cmd.Env = w.env
		process, err := devstack.StartProcess(fmt.Sprint("worker-", i), cmd, w.log(i))
		if err != nil {
			return err
		}
		w.processes = append(w.processes, process)
	}
	quiet := log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if w.temporal, err = client.DialContext(ctx, client.Options{HostPort: w.stack.Temporal.Address(), Logger: quiet}); err != nil {
		return err
	}
	for _, lanes := range []int{1, 0} {
		caller, err := starter.New(w.temporal, starter.Options{Lanes: lanes})
		if err != nil {
			return err
		}
		w.callers = append(w.callers, caller)
	}
	return nil
}

func (w *world) log(i int) string { return filepath.Join(w.o.Dir, fmt.Sprintf("worker-%d.log", i)) }

// send sends one command after the other until the load ends: to a wallet of its own and a common one,
// and transfers between them. Each is sent again until it is answered.
func (w *world) send(ctx context.Context, client int) {
	own, common := wallet.AssetRef{UserID: fmt.Sprint("client-", client), Currency: "USD"}, wallet.AssetRef{UserID: "common", Currency: "USD"}
	caller := w.callers[client%len(w.callers)]
	for i := 0; !w.ended.Load() && ctx.Err() == nil; i++ {
		a := answer{AssetRef: own, id: fmt.Sprintf("%d-%d", client, i), isTransaction: i%3 == 2}
		if i%6 == 1 {
			a.AssetRef = common
		}
		for ctx.Err() == nil {
			var err error
			if a.isTransaction {
				_, err = caller.Transfer(ctx, starter.Transfer{ID: a.id, FromUserID: own.UserID, ToUserID: common.UserID, Currency: "USD", Amount: wallet.MustAmount("0.5")})
			} else {
				_, err = caller.Add(ctx, starter.Change{UserID: a.UserID, Currency: "USD", CommandID: a.id, Amount: wallet.MustAmount("1")})
			}
			if err == nil || errors.As(err, new(*wallet.UnappliedError)) || errors.As(err, new(*wallet.TransactionRefusedError)) {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
		a.at = time.Now()
		w.mu.Lock()
		w.answered = append(w.answered, a)
		w.mu.Unlock()
		w.count.Add(1)
	}
}

// awaitAnswers waits for so many more.
func (w *world) awaitAnswers(ctx context.Context, more int) error {
	until, deadline := w.count.Load()+int64(more), time.Now().Add(patience)
	for w.count.Load() < until {
		if time.Now().After(deadline) {
			return fmt.Errorf("there were %d answers in %s; see the logs in %s", w.count.Load(), patience, w.o.Dir)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cutOff has the standby get nothing any more, while the primary answers.
func (w *world) cutOff(ctx context.Context) error {
	if err := execOn(ctx, w.standby, `ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	if err := awaitTrue(ctx, w.stack.Postgres, `SELECT NOT EXISTS (SELECT FROM pg_stat_replication)`); err != nil {
		return err
	}
	return w.awaitAnswers(ctx, w.o.Behind)
}

// judge compares what callers were told with what the promoted server has, before and after
// "wallet salvage".
func (w *world) judge(ctx context.Context, r *Report) error {
	r.Answers, r.Silence = len(w.answered), w.silence()
	pool, err := pgxpool.New(ctx, w.stack.Postgres.URL(database))
	if err != nil {
		return err
	}
	defer pool.Close()
	lost, err := w.lost(ctx, trail.New(pool))
	if err != nil {
		return err
	}
	r.Lost = len(lost)
	if r.Lost > 0 && !w.o.Async {
		r.problem("the synchronous standby lacked %d answered commands: %v", len(lost), lost[:min(len(lost), 10)])
	}
	for i := range w.processes {
		text, err := os.ReadFile(w.log(i))
		if err != nil {
			return err
		}
		r.Noticed += strings.Count(string(text), "the journal has lost entries that were answered")
	}
	since := w.begun.UTC().Format(time.RFC3339)
	listed, err := w.salvage(ctx, "--since", since)
	if err != nil {
		return err
	}
	for _, a := range lost {
		if slices.Contains(listed, a.id) {
			r.Reported++
		} else {
			r.problem("%q was lost, and wallet salvage does not say so", a.id)
		}
	}
	if len(listed) > r.Reported {
		r.problem("wallet salvage lists %d commands, of which only %d were lost", len(listed), r.Reported)
	}
	if _, err := w.salvage(ctx, "--since", since, "--apply"); err != nil {
		return err
	}
	still, err := w.lost(ctx, trail.New(pool))
	if err != nil {
		return err
	}
	r.Recovered = r.Lost - len(still)
	for _, a := range still {
		r.problem("%q is still missing after wallet salvage --apply", a.id)
	}
	return w.verify(ctx, pool, r)
}

// verify checks that each answered add counts once, whatever was sent again.
func (w *world) verify(ctx context.Context, pool *pgxpool.Pool, r *Report) error {
	adds := 0
	for _, a := range w.answered {
		if !a.isTransaction {
			adds++
		}
	}
	var total string
	if err := pool.QueryRow(ctx, `SELECT trim_scale(sum(total_amount))::text FROM wallet_assets`).Scan(&total); err != nil {
		return err
	}
	if total != fmt.Sprint(adds) {
		r.problem("the wallets have %s, and %d adds of 1 were answered", total, adds)
	}
	if out, err := w.wallet(ctx, "verify"); err != nil {
		r.problem("wallet verify: %s: %s", err, out)
	}
	return nil
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// silence is the longest time between two answers, in seconds.
func (w *world) silence() (longest float64) {
	slices.SortFunc(w.answered, func(a, b answer) int { return a.at.Compare(b.at) })
	for i := 1; i < len(w.answered); i++ {
		longest = max(longest, w.answered[i].at.Sub(w.answered[i-1].at).Seconds())
	}
	return longest
}

// lost are the answers that the journal does not have.
func (w *world) lost(ctx context.Context, read trail.Reader) (lost []answer, err error) {
	for _, a := range w.answered {
		if a.isTransaction {
			if _, err := read.Transaction(ctx, a.id); errors.Is(err, trail.ErrNoTransaction) {
				lost = append(lost, a)
			} else if err != nil {
				return nil, err
			}
			continue
		}
		entries, err := read.EntriesByID(ctx, a.AssetRef, []string{a.id})
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			lost = append(lost, a)
		}
	}
	return lost, nil
}

// wallet runs the program, on both servers.
func (w *world) wallet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.o.Program, append(args, "--output", "json")...)
	cmd.Env = w.env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("wallet %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), err
}

// salvage returns the ids of what it lists. Exit code 1 is that it lists some.
func (w *world) salvage(ctx context.Context, args ...string) (ids []string, err error) {
	out, err := w.wallet(ctx, append([]string{"salvage"}, args...)...)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && out != "") {
		return nil, err
	}
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var line struct {
			Command     wallet.Command      `json:"command"`
			Transaction *wallet.Transaction `json:"transaction"`
		}
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return ids, nil
		} else if err != nil {
			return nil, err
		}
		if line.Transaction != nil {
			line.Command.ID = line.Transaction.ID
		}
		ids = append(ids, line.Command.ID)
	}
}

func (w *world) close() error {
	for _, process := range w.processes {
		process.Kill()
	}
	if w.temporal != nil {
		w.temporal.Close()
	}
	var errs []error
	if w.stack != nil {
		errs = append(errs, w.stack.Stop())
	}
	if w.standby != nil {
		errs = append(errs, w.standby.Stop())
	}
	return errors.Join(errs...)
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

func execOn(ctx context.Context, server *devstack.Postgres, statements ...string) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func awaitTrue(ctx context.Context, server *devstack.Postgres, sql string) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for deadline := time.Now().Add(patience); ; {
		var is bool
		if err := conn.QueryRow(ctx, sql).Scan(&is); err != nil || is {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("never true: %s", sql)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
