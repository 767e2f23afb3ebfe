package activities

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	sqlLockRun = `SELECT FROM wallet_runs WHERE run_id = $1 FOR NO KEY UPDATE`

	sqlLockParts = `SELECT FROM wallet_run_parts WHERE run_id = $1 ORDER BY part FOR NO KEY UPDATE`

	sqlRun = rows.SelectRuns + `WHERE r.run_id = $1`

	sqlMakeParts = `INSERT INTO wallet_run_parts (run_id, part, lines)
		SELECT run_id, part, count(*)
		FROM wallet_run_lines
		WHERE run_id = $1
			AND NOT EXISTS (SELECT FROM wallet_run_parts WHERE run_id = $1)
		GROUP BY run_id, part`

	// The lines of a file were counted when it was staged.
	sqlBeginRun = `UPDATE wallet_runs
		SET state = CASE state WHEN 'paused' THEN state ELSE 'running' END, updated_at = clock_timestamp(),
			lines = coalesce(lines, skipped + (SELECT coalesce(sum(lines), 0) FROM wallet_run_parts WHERE run_id = $1))
		WHERE run_id = $1`

	// Invalid lines that were staged by SQL are in parts, skipped ones of a file are not.
	sqlLinesOfParts = `SELECT coalesce(sum(lines), 0)::bigint, (SELECT skipped FROM wallet_runs WHERE run_id = $1)
		FROM wallet_run_parts
		WHERE run_id = $1`

	sqlParts = `SELECT part FROM wallet_run_parts WHERE run_id = $1 ORDER BY part`

	sqlSetRunState = `UPDATE wallet_runs SET state = $2, updated_at = clock_timestamp() WHERE run_id = $1`
)

// BeginRun counts the lines of each part of a run when it begins for the first time, and sets its
// state to running, unless it is paused. A run that is done stays so.
func (a *Activities) BeginRun(ctx context.Context, in wallet.RunInput) (wallet.BeginRunOutput, error) {
	out, err := inTransaction(ctx, a, func(t transaction) (out wallet.BeginRunOutput, err error) {
		status, err := t.lockRun(ctx, in.RunID)
		if err != nil {
			return out, err
		}
		if err := checkBegin(status, in); err != nil {
			return out, err
		}
		last := &pgx.Batch{}
		if status.State != wallet.RunDone {
			last.Queue(sqlMakeParts, in.RunID) // not where it has begun before
			last.Queue(sqlBeginRun, in.RunID)
		}
		last.Queue(sqlParts, in.RunID).Query(func(found pgx.Rows) (err error) {
			out.Parts, err = pgx.CollectRows(found, pgx.RowTo[int])
			return err
		})
		last.Queue(sqlRun, in.RunID).Query(readRun(&out.Status))
		var lines, skipped int64
		last.Queue(sqlLinesOfParts, in.RunID).QueryRow(func(row pgx.Row) error { return row.Scan(&lines, &skipped) })
		if err := t.send(ctx, last); err != nil {
			return out, err
		}
		if status.State != wallet.RunDone && out.Status.Lines != lines+skipped {
			return out, &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "run_id", Value: in.RunID,
				Message: fmt.Sprintf("run %q was staged with %d lines but now has %d: stage it again under another id", in.RunID, out.Status.Lines-skipped, lines)}
		}
		return out, t.commit(ctx, &pgx.Batch{})
	})
	if err != nil {
		err = fmt.Errorf("begin run %q: %w", in.RunID, err)
	}
	return out, failure.Encode(err)
}

func checkBegin(status wallet.RunStatus, in wallet.RunInput) error {
	switch {
	case status.RunID == "":
		return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "run_id", Value: in.RunID,
			Message: fmt.Sprintf("no run %q is staged: stage its lines first, with \"wallet run start FILE --id %s\" or by SQL", in.RunID, in.RunID)}
	case status.State == wallet.RunCancelled && !in.Resume:
		return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "run_id", Value: in.RunID,
			Message: fmt.Sprintf("run %q was cancelled after %d of %d lines: \"wallet run resume %s\" continues it", in.RunID, status.Done(), status.Lines, in.RunID)}
	}
	return nil
}

// lockRun begins a transaction that locks the row of a run, and those of its parts: no step is then
// applying lines. The order of locks is that of runPart.guard. The status is empty if there is
// none.
func (t transaction) lockRun(ctx context.Context, runID string) (status wallet.RunStatus, err error) {
	batch := &pgx.Batch{}
	batch.Queue(sqlLockRun, runID)
	batch.Queue(sqlLockParts, runID)
	batch.Queue(sqlRun, runID).Query(readRun(&status))
	err = t.begin(ctx, batch)
	return status, err
}

func readRun(into *wallet.RunStatus) func(pgx.Rows) error {
	return func(found pgx.Rows) error {
		list, err := pgx.CollectRows(found, rows.ScanRun)
		if len(list) == 1 {
			*into = list[0]
		}
		return err
	}
}

// SetRunState sets the state of a run. It waits for transactions that apply lines: none that comes
// after it applies any, unless the run is running. A run that is done stays so.
func (a *Activities) SetRunState(ctx context.Context, in wallet.SetRunStateInput) (wallet.RunStatus, error) {
	status, err := inTransaction(ctx, a, func(t transaction) (wallet.RunStatus, error) {
		status, err := t.lockRun(ctx, in.RunID)
		if err != nil {
			return status, err
		}
		if status.State == wallet.RunDone {
			return status, t.rollback(ctx)
		}
		if undone := status.Lines - status.Done(); in.State == wallet.RunDone && undone != 0 {
			return status, fmt.Errorf("%d of its %d lines are not done", undone, status.Lines)
		}
		last := &pgx.Batch{}
		last.Queue(sqlSetRunState, in.RunID, string(in.State))
		last.Queue(sqlRun, in.RunID).Query(readRun(&status))
		return status, t.commit(ctx, last)
	})
	if err != nil {
		err = fmt.Errorf("set the state of run %q to %s: %w", in.RunID, in.State, err)
	}
	return status, failure.Encode(err)
}
