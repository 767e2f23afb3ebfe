package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func readLine(ctx context.Context, tx pgx.Tx, where string, args ...any) (Line, error) {
	rows, _ := tx.Query(ctx, sqlLines+where, args...)
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Line])
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("the ledger has no such line: %w", err)
	}
	return l, err
}

// receipt is of the line's entry in the wallet's chain.
func (l Line) receipt() (r trail.Receipt, err error) {
	err = json.Unmarshal(l.Event, &r)
	r.UserID, r.Currency = l.UserID, l.Currency
	return r, err
}

// prove checks a line against the ledger's other lines and against the wallet's chain. It prints what
// it checks, and returns what is wrong.
func prove(ctx context.Context, db *pgxpool.Pool, number int64, out io.Writer) error {
	var wrong []error
	report := func(what string, problem error) {
		verdict := "ok"
		if problem != nil {
			verdict, wrong = "WRONG", append(wrong, problem)
		}
		fmt.Fprintf(out, "%-5s  %s\n", verdict, what)
	}
	var l, newest Line
	var before wallet.Amount // the running total
	var open string
	err := snapshot(ctx, db, func(tx pgx.Tx) (err error) {
		if l, err = readLine(ctx, tx, `WHERE line = $1`, number); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT coalesce(sum(available + held), 0)::text, `+openMonth("$2")+` FROM value_ledger.lines WHERE currency = $1 AND line < $2`, l.Currency, l.Line).Scan(&before, &open)
		if err != nil {
			return err
		}
		if _, closed, err := sealOf(ctx, tx, l.Month); closed || err != nil {
			report("the lines of its month are those that it was closed with", err)
		} else {
			fmt.Fprintf(out, "-      its month, %s, is not closed\n", l.Month)
		}
		newest, err = readLine(ctx, tx, `WHERE user_id = $1 AND currency = $2 ORDER BY version DESC LIMIT 1`, l.UserID, l.Currency)
		return err
	})
	if err != nil {
		return err
	}
	read := trail.New(db)
	receipt, _ := l.receipt() // if it is unreadable, no entry is found
	ref := wallet.AssetRef{UserID: l.UserID, Currency: l.Currency}
	entries, err := read.EntriesByID(ctx, ref, []string{receipt.CommandID})
	if err != nil {
		return err
	}
	report("the line says what the wallet's journal says", l.compare(ctx, db, entries[receipt.CommandID], before, open))
	// The hash of the newest entry covers all before it. CheckReceipts reads from an event what it needs.
	_, findings, err := read.CheckReceipts(ctx, io.MultiReader(bytes.NewReader(l.Event), bytes.NewReader(newest.Event)))
	if err != nil {
		return err
	}
	report("its receipt, and that of the wallet's newest line, are of the wallet's chain", problems(findings))
	chain, err := read.VerifyWallet(ctx, ref)
	if err != nil && !errors.Is(err, trail.ErrNoWallet) {
		return err
	}
	report("the wallet's chain is whole", errors.Join(err, problems(chain.Findings)))
	return errors.Join(wrong...)
}

func problems(findings []trail.Finding) (err error) {
	for _, f := range findings {
		err = errors.Join(err, fmt.Errorf("%s, position %d: %s", f.Table, f.Position, f.Problem))
	}
	return err
}

// sqlDiffers says how a line differs from what it should be.
const sqlDiffers = `
	SELECT format('%s is %s, and should be %s', key, l.value #>> '{}', should.value #>> '{}')
	FROM jsonb_each(to_jsonb(jsonb_populate_record(NULL::value_ledger.lines, $2))) AS should
	JOIN jsonb_each((SELECT to_jsonb(l) FROM value_ledger.lines AS l WHERE line = $1)) AS l USING (key)
	WHERE l.value <> should.value ORDER BY key`

// compare says how the line differs from what the ledger would write of the entry, after a running
// total and in an open month.
func (l Line) compare(ctx context.Context, db *pgxpool.Pool, e wallet.Entry, before wallet.Amount, open string) error {
	if e.Status != wallet.StatusApplied {
		return errors.New("the wallet's journal has no such command, or it was refused")
	}
	want, err := lineOf(trail.EventOf(e))
	if err != nil {
		return err
	}
	want.Line, want.RunningTotal, want.Month = l.Line, before.Add(want.Available).Add(want.Held), max(want.Month, open)
	rows, _ := db.Query(ctx, sqlDiffers, l.Line, want) // CollectRows returns the error
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "\n"))
	}
	return err
}

// printLine shows a line with its parties, its receipt and related lines, as JSON.
func printLine(ctx context.Context, db *pgxpool.Pool, number int64, out io.Writer) error {
	var d struct {
		Line
		Parties json.RawMessage `json:"parties,omitempty"` // the other side of a transaction
		Related []int64         `json:"related,omitempty"` // lines of the same hold, and of reversals
		Receipt trail.Receipt   `json:"receipt"`
	}
	err := snapshot(ctx, db, func(tx pgx.Tx) (err error) {
		if d.Line, err = readLine(ctx, tx, `WHERE line = $1`, number); err != nil {
			return err
		}
		if d.Receipt, err = d.receipt(); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT (SELECT parties FROM value_ledger.parties WHERE line = $1), ARRAY(
			SELECT o.line FROM value_ledger.lines AS o, value_ledger.lines AS l
			WHERE l.line = $1 AND o.line <> l.line AND (o.user_id, o.currency) = (l.user_id, l.currency)
			AND (o.event->'hold_id' = l.event->'hold_id' OR o.event->'command_id' = l.event->'original_id' OR o.event->'original_id' IN (l.event->'command_id', l.event->'original_id'))
			ORDER BY o.line)`, number).Scan(&d.Parties, &d.Related)
	})
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
