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

	"github.com/valueledger/wallet"
)

// sqlCompare compares the ledger with the journals, and with the balances if $1 is infinity, wallet by
// wallet, and sums up. A wallet may be ahead of the ledger, by what waits in the feed or has no event
// yet: it is compared at the version that the ledger has reached. Only what was before $1 counts.
const sqlCompare = `
	WITH booked AS (
		SELECT user_id, currency, max(version) AS reached, sum(available + held) AS total, sum(held) AS held
		FROM value_ledger.lines WHERE occurred_at < $1::text::timestamptz GROUP BY user_id, currency),
	moved AS (
		SELECT user_id, currency, total_after - total_before AS total, hold_after - hold_before AS held, version > coalesce(reached, 0) AS waits
		FROM wallet_commands LEFT JOIN booked USING (user_id, currency)
		WHERE version IS NOT NULL AND recorded_at < $1::text::timestamptz AND (total_after <> total_before OR hold_after <> hold_before)),
	journal AS (
		SELECT user_id, currency, sum(total) FILTER (WHERE NOT waits) AS total, sum(held) FILTER (WHERE NOT waits) AS held,
			sum(total) FILTER (WHERE waits) AS waiting, sum(held) FILTER (WHERE waits) AS waiting_held, count(*) FILTER (WHERE waits) AS entries
		FROM moved GROUP BY user_id, currency),
	compared AS (
		SELECT user_id, currency, coalesce(b.total, 0) AS booked, coalesce(b.held, 0) AS booked_held, coalesce(j.total, 0) AS journal, coalesce(j.held, 0) AS journal_held,
			coalesce(waiting, 0) AS waiting, coalesce(waiting_held, 0) AS waiting_held, coalesce(entries, 0) AS entries, coalesce(total_amount, 0) AS balance, coalesce(hold_amount, 0) AS balance_held
		FROM booked AS b FULL JOIN journal AS j USING (user_id, currency) FULL JOIN wallet_assets USING (user_id, currency))
	SELECT currency, sum(booked)::text AS booked, sum(booked_held)::text AS held, sum(journal)::text AS journal, sum(waiting)::text AS waiting, sum(entries)::bigint AS entries,
		sum(balance)::text AS balance, coalesce((array_agg(user_id ORDER BY user_id) FILTER (WHERE (booked, booked_held) <> (journal, journal_held)
			OR $1 = 'infinity' AND (booked + waiting, booked_held + waiting_held) <> (balance, balance_held)))[1:10], '{}') AS wrong
	FROM compared GROUP BY currency ORDER BY currency`

// Totals is what all wallets own in a currency.
type Totals struct {
	Currency string
	Booked   wallet.Amount // by the ledger, up to its place in the feed
	Held     wallet.Amount // of that
	Journal  wallet.Amount // by the wallets' journals, up to the same place
	Waiting  wallet.Amount // in the journals, and not in the ledger yet
	Entries  int64         // that wait
	Balance  wallet.Amount // sum of balances now
	Wrong    []string      // users whose wallets differ from the ledger, ten at most
}

// sqlTrialBalance is of the lines up to a month; what moved is of that month, or of all if it is ”.
const sqlTrialBalance = `
	SELECT currency, account, coalesce(sum(amount) FILTER (WHERE month < $1), 0)::text AS opening,
		coalesce(-sum(amount) FILTER (WHERE $1 IN ('', month) AND amount < 0), 0)::text AS debit,
		coalesce(sum(amount) FILTER (WHERE $1 IN ('', month) AND amount > 0), 0)::text AS credit, sum(amount)::text AS closing
	FROM value_ledger.lines, LATERAL (VALUES (1, 'available', available), (2, 'held', held), (3, 'outside', outside), (4, 'transactions', transactions),
		(5, 'expired', expired)) AS p (n, account, amount)
	WHERE $1 = '' OR month <= $1 GROUP BY currency, n, account ORDER BY currency, n`

// Balance is that of an account. What the users own is a debt, so credits raise it.
type Balance struct {
	Currency, Account               string
	Opening, Debit, Credit, Closing wallet.Amount
}

// balance prints up to where the ledger is, the totals of what was before a time, and the trial balance
// of a month, and says what is wrong: wallets that differ from the ledger, or accounts that do not add
// up to 0. It returns how many entries of the wallets are not booked yet.
func balance(ctx context.Context, tx pgx.Tx, before, month string, out io.Writer) (waiting int64, err error) {
	var last int64
	var place string
	err = tx.QueryRow(ctx, `SELECT (SELECT coalesce(max(line), 0) FROM value_ledger.lines),
		coalesce((SELECT after_id || '-' || after_version FROM wallet_feed_consumers WHERE name = $1), '0-0')`, consumer).Scan(&last, &place)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "up to line %d, at %s of the feed:\n\n", last, place)
	rows, _ := tx.Query(ctx, sqlCompare, before) // CollectRows returns the error
	totals, err := pgx.CollectRows(rows, pgx.RowToStructByName[Totals])
	if err != nil {
		return 0, err
	}
	rows, _ = tx.Query(ctx, sqlTrialBalance, month)
	balances, err := pgx.CollectRows(rows, pgx.RowToStructByName[Balance])
	if err != nil {
		return 0, err
	}
	var wrong []error
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "currency\tledger\tof it held\tjournals\tnot booked yet\tbalances now\t")
	for _, t := range totals {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", t.Currency, t.Booked, t.Held, t.Journal, t.Waiting, t.Balance)
		if waiting += t.Entries; len(t.Wrong) > 0 {
			wrong = append(wrong, fmt.Errorf("in %s, the ledger differs from the wallets of %q: prove their lines, and run \"wallet verify\"", t.Currency, t.Wrong))
		}
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\ncurrency\taccount\topening\tdebit\tcredit\tclosing\t")
	var sum wallet.Amount
	for i, b := range balances {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", b.Currency, b.Account, b.Opening, b.Debit, b.Credit, b.Closing)
		if sum = sum.Add(b.Closing); i < len(balances)-1 && balances[i+1].Currency == b.Currency {
			continue
		}
		if fmt.Fprintf(w, "%s\ttrial balance\t\t\t\t%s\t\n", b.Currency, sum); !sum.IsZero() {
			wrong = append(wrong, fmt.Errorf("the trial balance in %s is %s, not 0", b.Currency, sum))
		}
		sum = wallet.Amount{}
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
		if _, err := tx.Exec(ctx, `SELECT FROM wallet_feed_consumers WHERE name = $1 FOR UPDATE`, consumer); err != nil { // so that nothing is booked meanwhile
			return err
		}
		var over bool
		var first, open string
		err := tx.QueryRow(ctx, `SELECT clock_timestamp() >= $1, coalesce(min(month), ''), `+sqlOpenMonth+` FROM value_ledger.lines`, end).Scan(&over, &first, &open)
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
			_, err = tx.Exec(ctx, `INSERT INTO value_ledger.closes (month, seal) VALUES ($1, $2)`, m, seal)
		}
		if err == nil {
			fmt.Fprintf(out, "\n%s is closed. Keep its seal elsewhere: %s\n", m, seal)
		}
		return err
	})
}

var errSeal = errors.New("the lines of the month are not those that it was closed with")

// sealOf is the SHA-256 of the seal before and of all lines of a month. It fails with errSeal if the
// month was closed with another.
func sealOf(ctx context.Context, tx pgx.Tx, m string) (seal string, closed bool, err error) {
	var before, stored string
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT seal FROM value_ledger.closes WHERE month < $1 ORDER BY month DESC LIMIT 1), ''),
		coalesce((SELECT seal FROM value_ledger.closes WHERE month = $1), '')`, m).Scan(&before, &stored)
	if err != nil {
		return "", false, err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, before)
	encoder := json.NewEncoder(sum)
	rows, _ := tx.Query(ctx, sqlLines+`WHERE month = $1 ORDER BY line`, m)
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (nothing struct{}, err error) {
		l, err := pgx.RowToStructByName[Line](row)
		return nothing, errors.Join(err, encoder.Encode(l))
	})
	if seal = hex.EncodeToString(sum.Sum(nil)); err == nil && stored != "" && stored != seal {
		err = errSeal
	}
	return seal, stored != "", err
}
