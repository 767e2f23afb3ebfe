package activities

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/sdk/activity"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
)

const (
	sqlSavePart = `UPDATE wallet_run_parts
		SET done_line = $4, saves = saves + 1, applied = applied + $5, refused = refused + $6, invalid = invalid + $7,
			replayed = replayed + $8, updated_at = clock_timestamp()
		WHERE run_id = $1 AND part = $2 AND saves = $3`

	sqlInsertFailures = `INSERT INTO wallet_run_failures (run_id, part, line, status, user_id, currency, type, amount, command_id, reason, message)
		SELECT $1, $2, *
		FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[])
		ON CONFLICT DO NOTHING`

	sqlInsertWaiting = `INSERT INTO wallet_run_waiting (run_id, part, line, user_id, currency)
		SELECT $1, $2, *
		FROM unnest($3::bigint[], $4::text[], $5::text[])`

	sqlDeleteWaiting = `DELETE FROM wallet_run_waiting
		WHERE ctid = ANY (ARRAY(
			SELECT w.ctid
			FROM unnest($3::bigint[], $4::text[], $5::text[]) AS done (l, u, c)
			CROSS JOIN LATERAL (
				SELECT ctid
				FROM wallet_run_waiting
				WHERE run_id = $1 AND part = $2 AND user_id = done.u AND currency = done.c AND line = done.l
				OFFSET 0) AS w))`

	sqlRunState = `SELECT state FROM wallet_runs WHERE run_id = $1`
)

// save saves the outcomes of lines and the progress of the part in one transaction. It takes lines
// that had waited and are now done out of wallet_run_waiting, and puts new lines that are not done
// into it.
func (p *runPart) save(ctx context.Context, lines []*runLine, doneLine int64, hadWaited bool) error {
	o := outcomesOf(lines)
	sqlMove, moved := sqlInsertWaiting, o.undone
	if hadWaited {
		sqlMove, moved = sqlDeleteWaiting, o.done
		if len(moved) == 0 {
			return p.readState(ctx)
		}
	}
	_, err := inTransaction(ctx, p.a, func(t transaction) (struct{}, error) {
		first, saved := &pgx.Batch{}, int64(0)
		first.Queue(sqlSavePart, p.in.RunID, p.in.Part, p.saves, doneLine, o.applied, o.refused, o.invalid, o.replayed).Exec(func(tag pgconn.CommandTag) error {
			saved = tag.RowsAffected()
			return nil
		})
		if err := t.begin(ctx, first); err != nil {
			return struct{}{}, err
		}
		if saved == 0 {
			return struct{}{}, errPartMoved
		}
		last := &pgx.Batch{}
		if len(o.failed) > 0 {
			last.Queue(sqlInsertFailures, append([]any{p.in.RunID, p.in.Part}, failureColumns(o.failed)...)...)
		}
		if len(moved) > 0 {
			last.Queue(sqlMove, append([]any{p.in.RunID, p.in.Part}, lineColumns(moved)...)...)
		}
		last.Queue(sqlRunState, p.in.RunID).QueryRow(p.scanState)
		return struct{}{}, t.commit(ctx, last)
	})
	if err != nil {
		return err
	}
	p.doneLine, p.saves = doneLine, p.saves+1
	for _, l := range o.undone { // those that had waited are known
		if !p.waiting[l.AssetRef] {
			p.waiting[l.AssetRef], p.order = true, append(p.order, l.AssetRef)
		}
	}
	countLines(ctx, o)
	return nil
}

// lineOutcomes are what became of lines.
type lineOutcomes struct {
	applied, refused, invalid, replayed int64
	done, undone, failed                []*runLine
}

func outcomesOf(lines []*runLine) (o lineOutcomes) {
	for _, l := range lines {
		r := l.result()
		switch {
		case l.invalid != nil:
			o.invalid++
		case r == nil:
			o.undone = append(o.undone, l)
			continue
		case r.Status == wallet.StatusApplied:
			o.applied++
		default:
			o.refused++
		}
		o.done = append(o.done, l)
		if r == nil || r.Status != wallet.StatusApplied {
			o.failed = append(o.failed, l)
		}
		if r != nil && r.Replayed {
			o.replayed++
		}
	}
	return o
}

func (p *runPart) scanState(row pgx.Row) error { return row.Scan(&p.state) }

func (p *runPart) readState(ctx context.Context) error {
	return p.a.readInTransaction(ctx, func(batch *pgx.Batch) { batch.Queue(sqlRunState, p.in.RunID).QueryRow(p.scanState) })
}

func countLines(ctx context.Context, o lineOutcomes) {
	if activity.IsActivity(ctx) {
		metrics := activity.GetMetricsHandler(ctx)
		counts.RunLines(metrics, "applied", o.applied)
		counts.RunLines(metrics, "refused", o.refused)
		counts.RunLines(metrics, "invalid", o.invalid)
	}
}
