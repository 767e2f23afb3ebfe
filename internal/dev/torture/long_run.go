package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/serviceerror"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

// Interruption is what somebody does to a run while it applies its lines.
type Interruption struct {
	After time.Duration // since the run was running
	Kind  InterruptionKind
}

// InterruptionKind is what an Interruption does.
type InterruptionKind string

// Kinds of interruptions. All but the last two stop the run, look whether lines are applied all the
// same, and have it go on.
const (
	PauseRun  InterruptionKind = "pause"
	CancelRun InterruptionKind = "cancel"
	// LoseRun terminates the workflow and cancels the run in Postgres, as "wallet run cancel" does then.
	LoseRun InterruptionKind = "lose"
	// StartRun starts the run again while it is running.
	StartRun InterruptionKind = "start"
	// StrayRun applies lines outside the workflow, like a worker that was presumed dead.
	StrayRun InterruptionKind = "stray"
)

// longRun is a run of many lines for several wallets.
type longRun struct {
	ID            string
	Interruptions []Interruption
	Cancelled     bool // and it stays so
	wallets       []int
	commands      []wallet.Command

	// ended is the status with which it ended.
	ended wallet.RunStatus
	// recorded are the ids of lines that are in journals, read after the end of a cancelled run.
	recorded []string
	problems []string
}

// everyInvalid: after so many lines there is one that is invalid.
const everyInvalid = 40

// lineOf is the number of a command's line: even ones are left to invalid lines.
func lineOf(command int) int64 { return int64(2*command + 1) }

func (r *longRun) invalidLines() (lines []int64) {
	for i := everyInvalid; i <= len(r.commands); i += everyInvalid {
		lines = append(lines, lineOf(i)-1)
	}
	return lines
}

// longRun makes a run of hundreds of lines.
func (s *Script) longRun() Send {
	run := &longRun{ID: fmt.Sprintf("long-%d-%d", s.client, s.steps), Cancelled: s.r.IntN(3) == 0}
	wallets := make([]int, 2+s.r.IntN(10))
	for i := range wallets {
		wallets[i] = s.wallet()
	}
	for i := range 100 + s.r.IntN(300) {
		of := wallets[s.r.IntN(len(wallets))]
		run.wallets, run.commands = append(run.wallets, of), append(run.commands, s.command(of, i))
	}
	for range 2 + s.r.IntN(4) {
		run.Interruptions = append(run.Interruptions, Interruption{
			After: between(s.r, 0, 300*time.Millisecond),
			Kind:  pick(s.r, []weighted[InterruptionKind]{{3, PauseRun}, {2, CancelRun}, {5, LoseRun}, {1, StartRun}, {3, StrayRun}}),
		})
	}
	return Send{Way: LongRun, Commands: run.commands, Wallets: run.wallets, Run: run}
}

// runDriver drives a long run for a caller.
type runDriver struct {
	*caller
	*longRun
	strays errgroup.Group
}

// longRun sends a run, interrupts it and waits for its end, until ctx ends.
func (c *caller) longRun(ctx context.Context, send Send) {
	numbers := c.history.begin(c.number, send.Wallets[0], send)
	d := &runDriver{caller: c, longRun: send.Run}
	err := d.drive(ctx)
	_ = d.strays.Wait() // none fails
	if err != nil {
		c.history.end(numbers, nil, false, err)
		return
	}
	c.history.endRun(numbers, d.longRun)
}

func (d *runDriver) drive(ctx context.Context) error {
	if err := until(ctx, d.stage); err != nil {
		return err
	}
	if err := until(ctx, d.start); err != nil {
		return err
	}
	for _, i := range d.Interruptions {
		d.awaitBegin(ctx)
		if !sleep(ctx, i.After) {
			return ctx.Err()
		}
		if err := d.interrupt(ctx, i.Kind); err != nil {
			return err
		}
	}
	if d.Cancelled {
		return d.endCancelled(ctx)
	}
	return until(ctx, func(ctx context.Context) (err error) {
		d.ended, err = d.starter.AwaitRun(ctx, d.ID)
		if err == nil && d.ended.State == wallet.RunDone {
			return nil
		}
		return errors.Join(fmt.Errorf("the run is %s: %w", d.ended.State, err), d.start(context.WithoutCancel(ctx)))
	})
}

// awaitBegin waits a while until the run is running: otherwise most interruptions would come before its
// first line.
func (d *runDriver) awaitBegin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	for sleep(ctx, beginPoll) {
		status, err := runs.Status(ctx, d.database, d.ID)
		if err == nil && (status.State == wallet.RunRunning || status.State == wallet.RunDone) {
			return
		}
	}
}

const beginPoll = 20 * time.Millisecond

// tryPatience is how long one try of a call may take.
const tryPatience = 5 * time.Second

// until retries until it succeeds, or ctx ends.
func until(ctx context.Context, try func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, tryPatience)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if !sleep(ctx, retryPause) {
			return err
		}
	}
}

const sqlStageLongRun = `WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING run_id)
	INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command)
	SELECT run_id, l.*
	FROM run, unnest($2::bigint[], $3::text[], $4::text[], $5::json[]) AS l`

func (d *runDriver) stage(ctx context.Context) error {
	var numbers []int64
	var users, currencies []string
	var lines [][]byte
	for i, c := range d.commands {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		of := d.caller.wallets[d.longRun.wallets[i]]
		numbers, users, currencies, lines = append(numbers, lineOf(i)), append(users, of.UserID), append(currencies, of.Currency), append(lines, line)
	}
	for i, number := range d.invalidLines() {
		numbers, users, currencies, lines = append(numbers, number), append(users, users[i]), append(currencies, "NONE"), append(lines, []byte(`{"type":"create"}`))
	}
	_, err := d.database.Exec(ctx, sqlStageLongRun, d.ID, numbers, users, currencies, lines)
	return err
}

// start starts the run, or has it go on.
func (d *runDriver) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	return d.starter.StartRun(ctx, wallet.RunInput{RunID: d.ID, Resume: true})
}

func (d *runDriver) interrupt(ctx context.Context, kind InterruptionKind) error {
	switch kind {
	case StartRun:
		return until(ctx, func(ctx context.Context) error { return d.starter.StartRun(ctx, wallet.RunInput{RunID: d.ID}) })
	case StrayRun:
		d.strays.Go(func() error { d.stray(ctx); return nil })
		return nil
	case PauseRun:
		return d.pause(ctx)
	default:
		if err := d.cancel(ctx, kind); err != nil {
			return err
		}
		return until(ctx, d.start)
	}
}

// stray applies lines of one part after the other. The run may not have begun, or be over.
func (d *runDriver) stray(ctx context.Context) {
	defer func() {
		if cause := recover(); cause != nil {
			d.history.problem(d.longRun, fmt.Sprintf("the step panicked: %v", cause))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	for _, part := range rand.Perm(wallet.RunParts) {
		_, _ = d.steps.ApplyRunLines(ctx, wallet.ApplyRunLinesInput{RunID: d.ID, Part: part})
	}
}

// pause pauses the run and resumes it. A run whose workflow has ended stays as it is.
func (d *runDriver) pause(ctx context.Context) error {
	var status wallet.RunStatus
	err := until(ctx, func(ctx context.Context) (err error) {
		status, err = d.starter.PauseRun(ctx, d.ID)
		if errors.Is(err, starter.ErrRunNotRunning) {
			return nil
		}
		return err
	})
	if err == nil && status.State == wallet.RunPaused {
		err = d.staysAsItIs(ctx, "paused")
	}
	if err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		if err := d.start(ctx); err != nil {
			return err
		}
		_, err := d.starter.ResumeRun(ctx, d.ID)
		if errors.Is(err, starter.ErrRunNotRunning) { // it is done
			return nil
		}
		return err
	})
}

// cancel cancels the run. One that is done stays so.
func (d *runDriver) cancel(ctx context.Context, kind InterruptionKind) error {
	err := until(ctx, func(ctx context.Context) (err error) {
		if kind == LoseRun {
			err := d.temporal.TerminateWorkflow(ctx, wallet.RunWorkflowID(d.ID), "", "torture")
			if ended := new(serviceerror.NotFound); err != nil && !errors.As(err, &ended) {
				return err // a workflow that lives would have the run go on
			}
		} else if d.ended, err = d.starter.CancelRun(ctx, d.ID); err == nil || !errors.Is(err, starter.ErrRunNotRunning) {
			return err
		}
		d.ended, err = d.steps.SetRunState(ctx, wallet.SetRunStateInput{RunID: d.ID, State: wallet.RunCancelled})
		return err
	})
	if err != nil || d.ended.State == wallet.RunDone {
		return err
	}
	return d.staysAsItIs(ctx, "cancelled")
}

func (d *runDriver) endCancelled(ctx context.Context) (err error) {
	if err := d.cancel(ctx, CancelRun); err != nil {
		return err
	}
	d.recorded, err = d.readRecorded(ctx)
	return err
}

const sqlRecordedLines = `SELECT c.command_id
	FROM unnest($1::text[], $2::text[], $3::text[]) AS l (u, c, id)
	JOIN wallet_commands AS c ON c.user_id = l.u AND c.currency = l.c AND c.command_id = l.id`

// readRecorded reads the ids of the lines that are in journals, until ctx ends.
func (d *runDriver) readRecorded(ctx context.Context) (recorded []string, err error) {
	var users, currencies, ids []string
	for i, c := range d.commands {
		of := d.caller.wallets[d.longRun.wallets[i]]
		users, currencies, ids = append(users, of.UserID), append(currencies, of.Currency), append(ids, c.ID)
	}
	err = until(ctx, func(ctx context.Context) error {
		found, err := d.database.Query(ctx, sqlRecordedLines, users, currencies, ids)
		if err != nil {
			return err
		}
		recorded, err = pgx.CollectRows(found, pgx.RowTo[string])
		return err
	})
	slices.Sort(recorded)
	return recorded, err
}

// stillFor is how long a run is watched that is paused or cancelled.
const stillFor = 700 * time.Millisecond

// staysAsItIs watches whether lines are applied though the run is not running.
func (d *runDriver) staysAsItIs(ctx context.Context, state string) error {
	before, err := d.readRecorded(ctx)
	if err != nil {
		return err
	}
	sleep(ctx, stillFor)
	after, err := d.readRecorded(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		d.history.problem(d.longRun, fmt.Sprintf("%d lines were in journals once it was %s, and then %d", len(before), state, len(after)))
	}
	return nil
}
