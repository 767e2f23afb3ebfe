package torture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tampering is what an owner of the tables could try. A changed value stays if the statement
// succeeds, so that the checks of the record must notice it too. A delete is rolled back, or
// there would be no record left to check.
var tampering = []struct {
	sql  string
	stay bool
}{
	{`UPDATE wallet_commands SET total_after = total_after + 1 WHERE position = 1`, true},
	{`UPDATE wallet_asset_events SET total_after = total_after + 1 WHERE version = 2`, true},
	{`DELETE FROM wallet_commands WHERE position = 2`, false},
	{`DELETE FROM wallet_asset_events WHERE version = 1`, false},
	{`DELETE FROM wallet_feed`, false},
	{`TRUNCATE wallet_commands`, false},
	{`TRUNCATE wallet_asset_events`, false},
	{`TRUNCATE wallet_feed`, false},
}

// SQLSTATEs of the triggers, and of a TRUNCATE that waits for a snapshot.
const (
	restrictViolation = "23001"
	lockNotAvailable  = "55P03"
)

// tamper tries each statement in its own transaction and returns those that succeeded.
func (w *world) tamper(ctx context.Context) (succeeded []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, t := range tampering {
		done, err := w.try(ctx, t.sql, t.stay)
		if err != nil {
			return succeeded, err
		}
		if done {
			succeeded = append(succeeded, t.sql)
		}
	}
	return succeeded, nil
}

// try reports whether a statement changed anything. It returns an error if the statement could
// not be tried, but not if it was refused. It gives up soon on a lock: a TRUNCATE that waits for
// somebody's snapshot makes everybody else wait behind it.
func (w *world) try(ctx context.Context, sql string, stay bool) (done bool, err error) {
	undone := errors.New("taken back")
	err = pgx.BeginFunc(ctx, w.owner, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '300ms'"); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sql)
		done = err == nil && (tag.RowsAffected() > 0 || tag.String() == "TRUNCATE TABLE")
		if err == nil && !stay {
			return undone
		}
		return err
	})
	var refused *pgconn.PgError
	if errors.Is(err, undone) || errors.As(err, &refused) && (refused.Code == restrictViolation || refused.Code == lockNotAvailable) {
		return done, nil
	}
	return done && err == nil, err
}
