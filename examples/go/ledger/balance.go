package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sqlCompare compares the ledger with the journals, line by line, and with the balances if $1 is
// infinity, and sums up. Only what was before $1 counts. A wallet may be ahead of the ledger: an entry
// without a line waits, unless the consumer $2 has passed it. What the consumer set aside waits too.
const sqlCompare = `
	WITH lines AS (
		SELECT user_id, currency, version, available + held AS total, held FROM value_ledger.lines WHERE occurred_at < $1::text::timestamptz),
	journal AS (
		SELECT user_id, currency, version, total_after - total_before AS total, hold_after - hold_before AS held FROM wallet_commands
		WHERE version IS NOT NULL AND recorded_at < $1::text::timestamptz AND (total_after <> total_before OR hold_after <> hold_before)),
	entries AS (
		SELECT user_id, currency, l.total AS booked, l.held AS booked_held, j.total, j.held, CASE WHEN l.version IS NULL THEN coalesce((
			SELECT j.version > last_version OR (f.id, j.version) > (after_id, after_version) OR coalesce(from_id <= f.id AND from_version <= j.version, false) OR s.version IS NOT NULL
			FROM wallet_feed AS f JOIN wallet_feed_consumers ON name = $2
			LEFT JOIN wallet_feed_parked AS p ON (p.consumer, p.user_id, p.currency) = (name, f.user_id, f.currency)
			LEFT JOIN wallet_feed_skipped AS s ON (s.consumer, s.user_id, s.currency, s.version) = (name, f.user_id, f.currency, j.version) AND ended_at IS NULL
			WHERE f.user_id = j.user_id AND f.currency = j.currency AND first_version <= j.version ORDER BY first_version DESC LIMIT 1), true) ELSE false END AS waits
		FROM lines AS l FULL JOIN journal AS j USING (user_id, currency, version)),
	wallets AS (
		SELECT user_id, currency, sum(booked) AS booked, sum(booked_held) AS booked_held, sum(total) AS total, sum(held) AS held, sum(total) FILTER (WHERE waits) AS waiting,
			count(*) FILTER (WHERE waits) AS entries, bool_or(NOT waits AND (booked, booked_held) IS DISTINCT FROM (total, held)) AS differs
		FROM entries GROUP BY user_id, currency)
	SELECT concat_ws(E'\t', currency, coalesce(sum(booked), 0), coalesce(sum(booked_held), 0), coalesce(sum(total), 0) - coalesce(sum(waiting), 0),
			coalesce(sum(waiting), 0), coalesce(sum(total_amount), 0)) AS amounts, currency, coalesce(sum(entries), 0)::bigint AS entries,
		coalesce((array_agg(user_id ORDER BY user_id) FILTER (WHERE differs
			OR $1 = 'infinity' AND (coalesce(total, 0), coalesce(w.held, 0)) <> (coalesce(total_amount, 0), coalesce(hold_amount, 0))))[1:10], '{}') AS wrong
	FROM wallets AS w FULL JOIN wallet_assets USING (user_id, currency) GROUP BY currency ORDER BY currency`

// sqlWrongLines finds lines by what the lines before them, and the closes, say of them.
var sqlWrongLines = `SELECT line FROM (
		SELECT line, running_total = sum(available + held) OVER (PARTITION BY currency ORDER BY line)
			AND month = greatest(to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM'), ` + openMonth("lines.line") + `)
			AND available + held + outside + transactions + expired = 0 AS consistent -- so the trial balance is zero
		FROM value_ledger.lines) AS checked
	WHERE NOT consistent ORDER BY line LIMIT 10`

// Totals is what all wallets own in a currency.
type Totals struct {
	Currency, Amounts string
	Entries           int64    // of the journals that are not in the ledger yet
	Wrong             []string // users whose wallets differ from the ledger, ten at most
}

// sqlTrialBalance is of the lines up to a month; what moved is of that month, or of all if it is empty.
// What the users own is a debt, so credits raise it.
const sqlTrialBalance = `
	SELECT concat_ws(E'\t', currency, account, coalesce(sum(amount) FILTER (WHERE month < $1), 0), -- opening
		coalesce(-sum(amount) FILTER (WHERE $1 IN ('', month) AND amount < 0), 0), -- debit
		coalesce(sum(amount) FILTER (WHERE $1 IN ('', month) AND amount > 0), 0), sum(amount)) -- credit, closing
	FROM value_ledger.lines, LATERAL (VALUES (1, 'available', available), (2, 'held', held), (3, 'outside', outside), (4, 'transactions', transactions),
		(5, 'expired', expired)) AS p (n, account, amount)
	WHERE $1 = '' OR month <= $1 GROUP BY currency, n, account ORDER BY currency, n`

// balance prints up to where the ledger is, the totals of what was before a time, and the trial balance
// of a month, and says what is wrong: wallets that differ from the ledger, or lines from one another.
// It returns how many entries of the wallets are not booked yet.
func balance(ctx context.Context, tx pgx.Tx, before, month string, out io.Writer) (waiting int64, err error) {
	var last int64
	var place string
	err = tx.QueryRow(ctx, `SELECT (SELECT coalesce(max(line), 0) FROM value_ledger.lines),
		coalesce((SELECT after_id || '-' || after_version FROM wallet_feed_consumers WHERE name = $1), '0-0')`, consumer).Scan(&last, &place)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "up to line %d, at %s of the feed:\n\n", last, place)
	rows, _ := tx.Query(ctx, sqlCompare, before, consumer) // CollectRows returns the error
	totals, err := pgx.CollectRows(rows, pgx.RowToStructByName[Totals])
	rows, _ = tx.Query(ctx, sqlTrialBalance, month)
	balances, err2 := pgx.CollectRows(rows, pgx.RowTo[string])
	rows, _ = tx.Query(ctx, sqlWrongLines)
	lines, err3 := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err := errors.Join(err, err2, err3); err != nil {
		return 0, err
	}
	var wrong []error
	if len(lines) > 0 {
		wrong = append(wrong, fmt.Errorf("running total or month of lines %d, ten at most, are not what the lines before them say, or they do not add up to 0: prove the first", lines))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "currency\tledger\tof it held\tjournals\tnot booked yet\tbalances now\t")
	for _, t := range totals {
		fmt.Fprintln(w, t.Amounts+"\t")
		if waiting += t.Entries; len(t.Wrong) > 0 {
			wrong = append(wrong, fmt.Errorf("in %s, the ledger differs from the wallets of %q: prove their lines, and run \"wallet verify\"", t.Currency, t.Wrong))
		}
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\ncurrency\taccount\topening\tdebit\tcredit\tclosing\t")
	for _, b := range balances {
		fmt.Fprintln(w, b+"\t")
	}
	return waiting, errors.Join(append(wrong, w.Flush())...)
}

// snapshot calls do with a transaction that sees ledger and wallets at one moment.
func snapshot(ctx context.Context, db *pgxpool.Pool, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, do)
}

// closeMonth closes a month for good: it compares the ledger with the wallets at its end, prints the
// trial balance, and seals the lines. What comes later is booked in the next month. The same month
// again prints and checks the same again.
func closeMonth(ctx context.Context, db *pgxpool.Pool, m string, out io.Writer) error {
	start, err := time.Parse(layoutMonth, m)
	if err != nil {
		return fmt.Errorf("%q is no month: write it as 2026-11", m)
	}
	end := start.AddDate(0, 1, 0)
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		// So that nothing is booked meanwhile. Row security hides the row from roles that may not book.
		locked, err := tx.Exec(ctx, `SELECT FROM wallet_feed_consumers WHERE name = $1 FOR UPDATE`, consumer)
		if err == nil && locked.RowsAffected() != 1 {
			err = errors.New("cannot lock the ledger's place in the feed: it was never started, or another role owns the place (\"wallet feed list\")")
		}
		if err != nil {
			return err
		}
		var over bool
		var first, open string
		err = tx.QueryRow(ctx, `SELECT clock_timestamp() >= $1, coalesce(min(month), ''), `+openMonth("max(line) + 1")+` FROM value_ledger.lines`, end).Scan(&over, &first, &open)
		open = cmp.Or(open, first)
		switch {
		case err != nil:
			return err
		case !over:
			return fmt.Errorf("%s is not over yet", m)
		case m < first, m > open:
			return fmt.Errorf("%s cannot be closed: the month to close is %q", m, open)
		}
		waiting, err := balance(ctx, tx, end.Format(time.RFC3339), m, out)
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d entries from before the end of %s are not booked yet: try again soon (\"wallet feed list\" shows what waits)", waiting, m)
		}
		if err != nil {
			return err
		}
		seal, closed, err := sealOf(ctx, tx, m)
		if err == nil && !closed {
			_, err = tx.Exec(ctx, `INSERT INTO value_ledger.closes (month, last_line, seal) SELECT $1, max(line), $2 FROM value_ledger.lines`, m, seal)
		}
		if err == nil {
			fmt.Fprintf(out, "\n%s is closed. Keep its seal elsewhere: %s\n", m, seal)
		}
		return err
	})
}

// sealOf is the SHA-256 of the seal before, of the last line at the close, and of all lines of a month.
// It fails if the month was closed with another, or if only a later month is closed.
func sealOf(ctx context.Context, tx pgx.Tx, m string) (seal string, closed bool, err error) {
	var before, stored string
	var last int64
	var later bool
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT seal FROM value_ledger.closes WHERE month < $1 ORDER BY month DESC LIMIT 1), ''), c.month IS NOT NULL, coalesce(seal, ''),
			coalesce(last_line, (SELECT max(line) FROM value_ledger.lines)), EXISTS (SELECT FROM value_ledger.closes WHERE month > $1)
		FROM (VALUES (0)) AS one LEFT JOIN value_ledger.closes AS c ON month = $1`, m).Scan(&before, &closed, &stored, &last, &later)
	if err != nil {
		return "", false, err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, before, last)
	rows, _ := tx.Query(ctx, sqlLines+`WHERE month = $1 ORDER BY line`, m)
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (nothing struct{}, err error) {
		l, err := pgx.RowToStructByName[Line](row)
		return nothing, errors.Join(err, json.NewEncoder(sum).Encode(l))
	})
	if seal = hex.EncodeToString(sum.Sum(nil)); err == nil && (closed || later) && stored != seal {
		err = errors.New("the lines of the month are not those that it was closed with")
	}
	return seal, closed, err
}
