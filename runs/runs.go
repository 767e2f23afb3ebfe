// Package runs stages runs in Postgres and reads their progress. A run is a list of commands for
// many wallets, which the workflow Run applies.
//
//	status, err := runs.StageFile(ctx, pool, runs.File{ID: "march-credits", Path: "march.csv"})
//	_, err = client.StartRun(ctx, wallet.RunInput{RunID: "march-credits"}) // package starter
package runs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// ErrNoRun says that no run is staged under an id.
var ErrNoRun = errors.New("no such run")

// Status reads the progress of a run. It returns ErrNoRun if it is not staged.
func Status(ctx context.Context, db *pgxpool.Pool, id string) (wallet.RunStatus, error) {
	found, err := db.Query(ctx, rows.SelectRuns+`WHERE r.run_id = $1`, id)
	if err != nil {
		return wallet.RunStatus{}, err
	}
	status, err := pgx.CollectExactlyOneRow(found, rows.ScanRun)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%w: none is staged under the id %q", ErrNoRun, id)
	}
	return status, err
}

// List reads the newest runs, newest first.
func List(ctx context.Context, db *pgxpool.Pool, limit int) ([]wallet.RunStatus, error) {
	return ListAfter(ctx, db, "", limit)
}

const sqlListRuns = rows.SelectRuns + `WHERE $1 = '' OR (r.created_at, r.run_id) < (SELECT created_at, run_id FROM wallet_runs WHERE run_id = $1)
	ORDER BY r.created_at DESC, r.run_id DESC
	LIMIT $2`

// ListAfter continues a List after the run with an id.
func ListAfter(ctx context.Context, db *pgxpool.Pool, after string, limit int) ([]wallet.RunStatus, error) {
	found, err := db.Query(ctx, sqlListRuns, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, rows.ScanRun)
}

// OfSameFile reads the ids of other runs of the same file. This run applies lines without an id
// again, because their ids are made from the run's.
func OfSameFile(ctx context.Context, db *pgxpool.Pool, of wallet.RunStatus) ([]string, error) {
	found, err := db.Query(ctx, `SELECT run_id FROM wallet_runs WHERE sha256 = $1 AND run_id <> $2 ORDER BY created_at DESC LIMIT 10`, of.SHA256[:], of.RunID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowTo[string])
}

// Failure is a refused or invalid line.
type Failure struct {
	Line      int64         `json:"line"`
	Status    string        `json:"status"` // refused or invalid
	UserID    string        `json:"user_id"`
	Currency  string        `json:"currency"`
	Type      string        `json:"type"`
	Amount    string        `json:"amount"`
	CommandID string        `json:"command_id"`
	Reason    wallet.Reason `json:"reason"`
	Message   string        `json:"message"`
}

const sqlFailures = `SELECT line, status, user_id, currency, type, amount, command_id, reason, message
	FROM wallet_run_failures
	WHERE run_id = $1 AND line > $2
	ORDER BY line
	FETCH FIRST ($3::bigint) ROWS WITH TIES`

// FailuresAfter reads a page of the failures of a run: those after a line, in the order of the file.
// There are more than limit only if lines of a run that was staged by SQL share the last number.
// While the run is not done, any line can still fail.
func FailuresAfter(ctx context.Context, db *pgxpool.Pool, id string, line int64, limit int) ([]Failure, error) {
	found, err := db.Query(ctx, sqlFailures, id, line, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowToStructByPos[Failure])
}

// Failures reads the failures of a run, in the order of their lines.
func Failures(ctx context.Context, db *pgxpool.Pool, id string) iter.Seq2[Failure, error] {
	return func(yield func(Failure, error) bool) {
		found, err := db.Query(ctx, sqlFailures, id, 0, math.MaxInt64)
		if err != nil {
			yield(Failure{}, err)
			return
		}
		defer found.Close()
		for found.Next() {
			f, err := pgx.RowToStructByPos[Failure](found)
			if !yield(f, err) || err != nil {
				return
			}
		}
		if err := found.Err(); err != nil {
			yield(Failure{}, err)
		}
	}
}
