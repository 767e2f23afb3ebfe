package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// sqlUneven counts the balances that are not those of their journal's end. A snapshot has none,
// whatever is being written.
const sqlUneven = `SELECT count(*)
	FROM wallet_assets AS a
	LEFT JOIN LATERAL (
		SELECT position, hash, total_after, hold_after
		FROM wallet_commands AS c
		WHERE c.user_id = a.user_id AND c.currency = a.currency
		ORDER BY position DESC
		LIMIT 1) AS last ON true
	WHERE a.position > 0 AND (a.position, a.hash, a.total_amount, a.hold_amount) IS DISTINCT FROM (last.position, last.hash, last.total_after, last.hold_after)`

// snapshotLooks is how often a snapshot's connection is used, to notice that it has ended.
const snapshotLooks = time.Second

// snapshot keeps a snapshot open for the fault's time, and takes a new one where Postgres ends
// it.
func (w *world) snapshot(ctx context.Context, f Fault, done *Inflicted) (err error) {
	ctx, cancel := context.WithTimeout(ctx, f.For)
	defer cancel()
	for ctx.Err() == nil {
		var taken time.Time
		err = w.keepSnapshot(ctx, &taken, done)
		if !taken.IsZero() {
			done.Snapshots = append(done.Snapshots, time.Since(taken))
		}
		sleep(ctx, superviseEvery)
	}
	if len(done.Snapshots) > 0 {
		return nil
	}
	return err
}

// keepSnapshot takes a snapshot and keeps it until until ends.
func (w *world) keepSnapshot(until context.Context, taken *time.Time, done *Inflicted) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(until)) // the last look comes after the end
	defer cancel()
	conn, err := pgx.Connect(until, w.owner.Config().ConnString())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	look := func(sql string) (uneven int, err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return uneven, tx.QueryRow(ctx, sql).Scan(&uneven)
	}
	if _, err := look(sqlUneven); err != nil {
		return err
	}
	*taken = time.Now()
	for sleep(until, snapshotLooks) {
		if _, err := look("SELECT 0"); err != nil {
			return err
		}
	}
	uneven, err := look(sqlUneven)
	if uneven > 0 {
		done.Inconsistent = fmt.Sprintf("in a snapshot of %s ago, %d balances are not those of their journal", time.Since(*taken), uneven)
	}
	return err
}
