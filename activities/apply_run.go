package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

const (
	// runStepTime is how long a step runs before it reports its progress: long enough for a short
	// history, short enough for the Web UI.
	runStepTime = 10 * time.Second
	// runRetryPause is the time between two attempts at the waiting wallets, while there are other
	// lines to apply.
	runRetryPause = time.Second
	// maxWaitingWallets is how many wallets of a part may wait before it applies no new lines. The step
	// keeps them in memory.
	maxWaitingWallets = 1000
	// retriedTogether is how many waiting wallets are retried in one transaction.
	retriedTogether = 50
)

const (
	sqlRunPart = `SELECT r.state, p.done_line, p.saves
		FROM wallet_run_parts AS p
		JOIN wallet_runs AS r USING (run_id)
		WHERE p.run_id = $1 AND p.part = $2`

	sqlLockPart = `SELECT FROM wallet_run_parts WHERE run_id = $1 AND part = $2 FOR NO KEY UPDATE`

	sqlCurrencies = `SELECT code FROM currencies ORDER BY code`

	sqlNextLines = `SELECT line, user_id, currency, command
		FROM wallet_run_lines
		WHERE run_id = $1 AND part = $2 AND line > $3
		ORDER BY line
		LIMIT $4`

	// It looks for one wallet after the other, because a wallet may have millions of lines.
	sqlWaitingWallets = `WITH RECURSIVE w AS (
			(SELECT user_id, currency
			FROM wallet_run_waiting
			WHERE run_id = $1 AND part = $2
			ORDER BY user_id, currency
			LIMIT 1)
			UNION ALL
			SELECT following.*
			FROM w
			CROSS JOIN LATERAL (
				SELECT user_id, currency
				FROM wallet_run_waiting
				WHERE run_id = $1 AND part = $2 AND (user_id, currency) > (w.user_id, w.currency)
				ORDER BY user_id, currency
				LIMIT 1) AS following)
		SELECT user_id, currency FROM w`

	// The first lines of each wallet. OFFSET 0, here and below, keeps Postgres from joining the
	// tables: it looks up each line by its whole key.
	sqlWaitingLines = `SELECT l.line, l.user_id, l.currency, l.command
		FROM unnest($3::text[], $4::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT line
			FROM wallet_run_waiting
			WHERE run_id = $1 AND part = $2 AND user_id = wanted.u AND currency = wanted.c
			ORDER BY line
			LIMIT $5) AS w
		CROSS JOIN LATERAL (
			SELECT line, user_id, currency, command
			FROM wallet_run_lines
			WHERE run_id = $1 AND part = $2 AND line = w.line
			OFFSET 0) AS l`
)

// ApplyRunLines applies lines of one part of a run, up to 500 per transaction, for runStepTime or
// until the run is paused or cancelled. After recording the events of the lines it saves its progress
// in Postgres, where the next attempt continues. Lines that were applied but not saved are applied
// again, and count once by their ids.
//
// It waits for no wallet. If one is locked or cannot be read, its lines are set aside, and later lines
// of the same wallet queue up behind them. They are retried between the others.
func (a *Activities) ApplyRunLines(ctx context.Context, in wallet.ApplyRunLinesInput) (out wallet.ApplyRunLinesOutput, err error) {
	p, err := a.openRunPart(ctx, in)
	p.end, p.stopping = time.Now().Add(runStepTime), stopOf(ctx)
	for err == nil && !p.isOver() {
		if p.isDone() || p.blocked {
			break
		}
		if err = p.next(ctx); errors.Is(err, errNotRunning) {
			err = nil
		}
	}
	if err == nil {
		err = p.a.readInTransaction(ctx, func(batch *pgx.Batch) {
			batch.Queue(sqlRun, in.RunID).Query(readRun(&out.Status))
		})
	}
	if err != nil {
		return out, failure.Encode(fmt.Errorf("apply lines of part %d of run %q: %w", in.Part, in.RunID, err))
	}
	out.Done, out.Blocked, out.Cause = p.isDone(), p.blocked, p.cause
	return out, nil
}

// stopOf returns a channel that is closed when the worker stops; nil outside a regular activity.
func stopOf(ctx context.Context) <-chan struct{} {
	if !activity.IsActivity(ctx) || activity.GetInfo(ctx).IsLocalActivity {
		return nil
	}
	return activity.GetWorkerStopChannel(ctx)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// readInTransaction reads with the settings of the steps, which make the planner use the right index
// even if the statistics are older than the table's rows.
func (a *Activities) readInTransaction(ctx context.Context, queue func(*pgx.Batch)) error {
	_, err := inTransaction(ctx, a, func(t transaction) (struct{}, error) {
		batch := &pgx.Batch{}
		queue(batch)
		batch.Queue(sqlCommit)
		return struct{}{}, t.begin(ctx, batch)
	})
	return err
}

// runPart is the part of a run that a step applies.
type runPart struct {
	a          *Activities
	in         wallet.ApplyRunLinesInput
	currencies map[string]bool
	end        time.Time       // of the step
	stopping   <-chan struct{} // of the worker

	state     wallet.RunState
	doneLine  int64
	saves     int64
	noneLeft  bool                     // no line after doneLine
	waiting   map[wallet.AssetRef]bool // wallets with waiting lines
	order     []wallet.AssetRef        // the same wallets, in the order of their retries
	lastTried time.Time
	blocked   bool   // only waiting wallets can be tried, and none succeeded
	cause     string // why one wallet waits
}

func (p *runPart) isDone() bool { return p.noneLeft && len(p.waiting) == 0 }

// isOver reports whether the step applies no further lines, though there may be some.
func (p *runPart) isOver() bool {
	return p.state != wallet.RunRunning || !time.Now().Before(p.end) || isClosed(p.stopping)
}

func (a *Activities) openRunPart(ctx context.Context, in wallet.ApplyRunLinesInput) (*runPart, error) {
	p := &runPart{a: a, in: in, currencies: map[string]bool{}, lastTried: time.Now()}
	err := a.readInTransaction(ctx, func(batch *pgx.Batch) {
		batch.Queue(sqlRunPart, in.RunID, in.Part).QueryRow(func(row pgx.Row) error { return row.Scan(&p.state, &p.doneLine, &p.saves) })
		batch.Queue(sqlWaitingWallets, in.RunID, in.Part).Query(p.readWaiting)
		batch.Queue(sqlCurrencies).Query(func(found pgx.Rows) error {
			codes, err := pgx.CollectRows(found, pgx.RowTo[string])
			for _, code := range codes {
				p.currencies[code] = true
			}
			return err
		})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "part", Value: fmt.Sprint(in.Part), Message: fmt.Sprintf("run %q has no part %d, or has not begun", in.RunID, in.Part)}
	}
	return p, err
}

func (p *runPart) readWaiting(found pgx.Rows) (err error) {
	p.order, err = pgx.CollectRows(found, pgx.RowToStructByPos[wallet.AssetRef])
	p.waiting = make(map[wallet.AssetRef]bool, len(p.order))
	for _, ref := range p.order {
		p.waiting[ref] = true
	}
	return err
}

// next applies the next lines, or retries the waiting ones.
func (p *runPart) next(ctx context.Context) error {
	onlyWaiting := p.noneLeft || len(p.waiting) >= maxWaitingWallets
	if len(p.waiting) > 0 && (onlyWaiting || time.Since(p.lastTried) >= runRetryPause) {
		stuck, err := p.retry(ctx)
		p.lastTried = time.Now()
		p.blocked = onlyWaiting && stuck
		return err
	}
	var lines []*runLine
	if err := p.a.readInTransaction(ctx, func(batch *pgx.Batch) {
		batch.Queue(sqlNextLines, p.in.RunID, p.in.Part, p.doneLine, wallet.MaxBatch).Query(p.readLines(&lines))
	}); err != nil {
		return err
	}
	if len(lines) == 0 {
		p.noneLeft = true
		return nil
	}
	if err := p.apply(ctx, p.groups(lines, p.waiting), nil); err != nil {
		return err
	}
	return p.save(ctx, lines, lines[len(lines)-1].number, false)
}

// retry tries the wallets that wait, some at a time, until the step is over. They are stuck if all
// were tried and no line is done. It begins anywhere, so that none is always left out.
func (p *runPart) retry(ctx context.Context) (stuck bool, err error) {
	first := rand.IntN(len(p.order))
	asked := p.order[first] // why it waits
	rest := slices.Concat(p.order[first:], p.order[:first])
	for stuck = true; len(rest) > 0; {
		if p.isOver() {
			return false, nil
		}
		some := rest[:min(retriedTogether, len(rest))]
		rest = rest[len(some):]
		lines, err := p.waitingLines(ctx, some)
		if err != nil {
			return false, err
		}
		if err := p.apply(ctx, p.groups(lines, nil), &asked); err != nil {
			return false, err
		}
		if err := p.save(ctx, lines, p.doneLine, true); err != nil {
			return false, err
		}
		stuck = stuck && !slices.ContainsFunc(lines, (*runLine).isDone)
	}
	return stuck, p.a.readInTransaction(ctx, func(batch *pgx.Batch) {
		batch.Queue(sqlWaitingWallets, p.in.RunID, p.in.Part).Query(p.readWaiting)
	})
}

// waitingLines reads the first lines that wait of some wallets, in their order.
func (p *runPart) waitingLines(ctx context.Context, of []wallet.AssetRef) (lines []*runLine, err error) {
	var users, currencies []string
	for _, ref := range of {
		users, currencies = append(users, ref.UserID), append(currencies, ref.Currency)
	}
	err = p.a.readInTransaction(ctx, func(batch *pgx.Batch) {
		batch.Queue(sqlWaitingLines, p.in.RunID, p.in.Part, users, currencies, wallet.MaxBatch/len(of)).Query(p.readLines(&lines))
	})
	slices.SortFunc(lines, func(a, b *runLine) int { return cmp.Compare(a.number, b.number) })
	return lines, err
}

// apply applies groups and records their events, like a lane. If the wallet asked is among those that
// failed, it tries that one alone, to find out why.
func (p *runPart) apply(ctx context.Context, groups []*laneGroup, asked *wallet.AssetRef) error {
	applied := applyInHalves(ctx, groups, p.a.applyFree(p.guard))
	for _, g := range groups {
		if applied == nil && asked != nil && g.AssetRef == *asked && g.done == nil {
			applied = p.applyAlone(ctx, g)
		}
	}
	if applied != nil && !isGuarded(applied) {
		return applied
	}
	if err := p.a.recordLane(ctx, groups); err != nil {
		return err
	}
	countLane(ctx, groups)
	return applied // what the guard has let through is recorded
}

// guard is checked in each transaction that applies lines: the run is running, and no other try has
// gone on with the part. SetRunState locks the parts too, so once it has set a state, nothing is
// applied that its steps began before.
//
// Everybody locks in one order: the run's row, its parts in their order, then wallets. Each may
// begin anywhere in it, and none goes back, so there is no deadlock. The state is read by a statement
// of its own: one that has waited for a lock still reads other tables as of its beginning.
func (p *runPart) guard(batch *pgx.Batch) {
	batch.Queue(sqlLockPart, p.in.RunID, p.in.Part)
	batch.Queue(sqlRunPart, p.in.RunID, p.in.Part).QueryRow(func(row pgx.Row) error {
		var doneLine, saves int64
		err := row.Scan(&p.state, &doneLine, &saves)
		switch {
		case err != nil:
			return err
		case p.state != wallet.RunRunning:
			return errNotRunning
		case saves != p.saves:
			return errPartMoved
		}
		return nil
	})
}

// isGuarded reports whether an error is that of a guard.
func isGuarded(err error) bool { return errors.Is(err, errNotRunning) || errors.Is(err, errPartMoved) }

// applyAlone applies a group as the workflow of its wallet does, and notes why that failed. It
// returns an error of the guard.
func (p *runPart) applyAlone(ctx context.Context, g *laneGroup) error {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	err := withoutPanic(func() error {
		outcomes, err := inTransaction(ctx, p.a, func(t transaction) ([]outcome, error) {
			t.guard = p.guard
			return t.applyGroups(ctx, []group{g.group})
		})
		if err == nil {
			g.done = &outcomes[0]
		}
		return err
	})
	if isGuarded(err) {
		return err
	}
	if p.cause = ""; err != nil {
		p.cause = fmt.Sprintf("the %s wallet of %q: %v", g.Currency, g.UserID, err)
	}
	return nil
}

// errNotRunning says that the run was paused or cancelled.
var errNotRunning = errors.New("the run is not running")

// errPartMoved says that another attempt has saved progress of the same part.
var errPartMoved = errors.New("another attempt of this step has saved progress meanwhile")
