package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/trail"
)

// Line is a row of value_ledger.lines.
type Line struct {
	Line          int64           `json:"line"`
	Month         string          `json:"month"`
	OccurredAt    time.Time       `json:"occurred_at"`
	UserID        string          `json:"user_id"`
	Currency      string          `json:"currency"`
	Version       int64           `json:"version"`
	TransactionID string          `json:"transaction_id"`
	Available     wallet.Amount   `json:"available"`
	Held          wallet.Amount   `json:"held"`
	Outside       wallet.Amount   `json:"outside"`
	Transactions  wallet.Amount   `json:"transactions"`
	Expired       wallet.Amount   `json:"expired"`
	RunningTotal  wallet.Amount   `json:"running_total"`
	Event         json.RawMessage `json:"event"`
}

const sqlLines = `SELECT line, month, occurred_at AT TIME ZONE 'UTC' AS occurred_at, user_id, currency, version, transaction_id, available::text,
		held::text, outside::text, transactions::text, expired::text, running_total::text, event
	FROM value_ledger.lines `

// lineOf makes the double entry of an event from what became of the totals, whatever its type.
func lineOf(e trail.Event) (l Line, err error) {
	change, held := e.TotalAfter.Sub(e.TotalBefore), e.HoldAfter.Sub(e.HoldBefore)
	l = Line{
		Month: month(e.OccurredAt), OccurredAt: e.OccurredAt.UTC(), UserID: e.UserID, Currency: e.Currency, Version: e.Version,
		TransactionID: e.TransactionID, Available: change.Sub(held), Held: held,
	}
	switch counter := (wallet.Amount{}).Sub(change); {
	case e.TransactionID != "":
		l.Transactions = counter
	case strings.HasSuffix(e.EventType, "_expired"): // by the service itself; of a hold, the change is 0
		l.Expired = counter
	default:
		l.Outside = counter
	}
	l.Event, err = json.Marshal(e)
	return l, err
}

// sqlBook numbers lines, in their order, and adds the running totals. What "wallet repair" restores may
// come late: if its month is closed, it is booked in the open one.
var sqlBook = `
	INSERT INTO value_ledger.lines
	SELECT last + n, greatest(month, open), occurred_at, user_id, currency, version, transaction_id, available, held, outside, transactions, expired,
		coalesce((SELECT running_total FROM value_ledger.lines AS l WHERE l.currency = new.currency ORDER BY line DESC LIMIT 1), 0)
			+ sum(available + held) OVER (PARTITION BY currency ORDER BY n), event
	FROM jsonb_array_elements($1) WITH ORDINALITY AS e (e, n), jsonb_populate_record(NULL::value_ledger.lines, e) AS new,
		(SELECT coalesce(max(line), 0) AS last, ` + openMonth("max(line) + 1") + ` AS open FROM value_ledger.lines) AS ledger`

// book writes the lines of events, in the transaction that moves the ledger's place in the feed. It
// has that place locked, so nobody else writes lines or closes a month.
func book(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
	lines := []Line{}
	for _, e := range events {
		l, err := lineOf(e.Event)
		if err != nil {
			return err
		}
		if !l.Available.IsZero() || !l.Held.IsZero() { // a freeze moves nothing
			lines = append(lines, l)
		}
	}
	_, err := tx.Exec(ctx, sqlBook, lines)
	return err
}

const layoutMonth = "2006-01"

func month(at time.Time) string { return at.UTC().Format(layoutMonth) }

// openMonth is SQL for the month after the last that was closed before a line was booked, if any was.
func openMonth(line string) string {
	return `(SELECT coalesce(to_char(to_date(max(closes.month), 'YYYY-MM') + interval '1 month', 'YYYY-MM'), '') FROM value_ledger.closes WHERE last_line < ` + line + `)`
}
