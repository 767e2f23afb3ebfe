package trail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// sqlClockOf is now for a wallet: an entry may be ahead of a clock that was put back. A
	// statement ends right before its end.
	sqlClockOf = `SELECT greatest(now(), (SELECT updated_at + interval '1 microsecond' FROM wallet_assets WHERE user_id = $1 AND currency = $2))`

	sqlDueAt = `SELECT coalesce(sum(amount - captured - released), 0)::text
		FROM wallet_holds
		WHERE user_id = $1 AND currency = $2 AND state = 'open' AND expires_at <= $3`

	sqlDueGrantsAt = `SELECT ` + dueGrantsAmount + `
		FROM wallet_assets AS a
		WHERE user_id = $1 AND currency = $2`

	sqlTurnover = `SELECT
			count(*) FILTER (WHERE total_after > total_before),
			coalesce(sum(total_after - total_before) FILTER (WHERE total_after > total_before), 0)::text,
			count(*) FILTER (WHERE total_after < total_before),
			coalesce(sum(total_before - total_after) FILTER (WHERE total_after < total_before), 0)::text
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND version > $3 AND version <= $4`
)

var sqlStatementLines = `SELECT ` + rows.EntryColumns + `
	FROM wallet_commands
	WHERE user_id = $1 AND currency = $2 AND version > $3 AND version <= $4
	ORDER BY version
	LIMIT $5`

// Statement shows how a balance changed in a period: Opening plus what was added minus what was
// subtracted equals Closing.
//
// It comes from the journal, so it is complete even if a crash has left events unwritten. One
// snapshot fixes the range of versions and entries never change, so the lines read afterwards
// match the balances whatever is written meanwhile.
type Statement struct {
	From       time.Time    // inclusive
	To         time.Time    // exclusive
	Opening    wallet.Asset // right before From; version 0 if the wallet did not exist yet
	Closing    wallet.Asset // right before To; includes what is due if To is now
	Added      Turnover
	Subtracted Turnover

	reader Reader
}

// Turnover is the total moved in one direction.
type Turnover struct {
	Count int64         `json:"count"`
	Sum   wallet.Amount `json:"sum"`
}

// Statement reads the balances before and after a period and what moved in between. A zero from
// is the wallet's beginning, a zero to is now, by Postgres's clock. It returns ErrNoWallet if
// the wallet did not exist before to. Balances are looked up as in AssetAt; the turnover takes
// one pass over the period.
func (r Reader) Statement(ctx context.Context, userID, currency string, from, to time.Time) (Statement, error) {
	return r.statement(ctx, userID, currency, from, to, true)
}

// Period is a Statement without Added and Subtracted, for which it need not read the period.
func (r Reader) Period(ctx context.Context, userID, currency string, from, to time.Time) (Statement, error) {
	return r.statement(ctx, userID, currency, from, to, false)
}

func (r Reader) statement(ctx context.Context, userID, currency string, from, to time.Time, turnover bool) (Statement, error) {
	s := Statement{From: from, To: to, reader: r}
	err := pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) (err error) {
		toNow := s.To.IsZero()
		if toNow {
			if err := tx.QueryRow(ctx, sqlClockOf, userID, currency).Scan(&s.To); err != nil {
				return err
			}
			s.To = s.To.UTC()
		}
		if s.From.After(s.To) {
			return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "to", Value: rfc3339(s.To),
				Message: fmt.Sprintf("a statement from %s to %s: it cannot end before it begins", rfc3339(s.From), rfc3339(s.To))}
		}
		if s.Closing, err = assetAt(ctx, tx, userID, currency, justBefore(s.To)); err != nil {
			return err
		}
		if toNow && !s.Closing.Hold.IsZero() {
			if err := s.readDue(ctx, tx); err != nil {
				return err
			}
		}
		if toNow {
			var due wallet.Amount
			if err := tx.QueryRow(ctx, sqlDueGrantsAt, userID, currency).Scan(&due); err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			if !due.IsZero() {
				s.Closing.DueGrants, _ = due.AtScale(s.Closing.Scale)
			}
		}
		if s.Opening, err = s.opening(ctx, tx); err != nil {
			return err
		}
		if !turnover {
			return nil
		}
		return s.turnover(ctx, tx)
	})
	return s, err
}

// readDue reads what is due of the balance at the end, which is now.
func (s *Statement) readDue(ctx context.Context, tx pgx.Tx) error {
	var due wallet.Amount
	err := tx.QueryRow(ctx, sqlDueAt, s.Closing.UserID, s.Closing.Currency, s.To).Scan(&due)
	if err == nil && !due.IsZero() {
		s.Closing.Due, _ = due.AtScale(s.Closing.Scale)
	}
	return err
}

// opening reads the balance right before From, and sets From if it is zero.
func (s *Statement) opening(ctx context.Context, tx pgx.Tx) (wallet.Asset, error) {
	userID, currency := s.Closing.UserID, s.Closing.Currency
	journals, err := readJournals(ctx, tx, userID)
	if err != nil {
		return wallet.Asset{}, err
	}
	for _, j := range journals {
		if j.currency != currency {
			continue
		}
		if s.From.IsZero() {
			s.From = j.since
		}
		if j.since.Before(s.From) {
			return assetAt(ctx, tx, userID, currency, justBefore(s.From))
		}
	}
	zero, _ := wallet.Amount{}.AtScale(s.Closing.Scale)
	return wallet.Asset{UserID: userID, Currency: currency, Scale: s.Closing.Scale, Total: zero, Hold: zero}, nil
}

func (s *Statement) turnover(ctx context.Context, tx pgx.Tx) error {
	row := tx.QueryRow(ctx, sqlTurnover, s.Closing.UserID, s.Closing.Currency, s.Opening.Version, s.Closing.Version)
	if err := row.Scan(&s.Added.Count, &s.Added.Sum, &s.Subtracted.Count, &s.Subtracted.Sum); err != nil {
		return err
	}
	for _, sum := range []*wallet.Amount{&s.Added.Sum, &s.Subtracted.Sum} {
		*sum, _ = sum.AtScale(s.Closing.Scale) // an empty sum has no decimals
	}
	return nil
}

// Lines reads the events of the period, oldest first, one page at a time. It stops at the first
// error.
func (s Statement) Lines(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for after := s.Opening.Version; after < s.Closing.Version; {
			page, err := s.Page(ctx, after, MaxPage)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, line := range page {
				if !yield(line, nil) {
					return
				}
				after = line.Version
			}
		}
	}
}

// Page reads at most limit events of the period, those after a version.
func (s Statement) Page(ctx context.Context, after int64, limit int) (lines []Event, err error) {
	if after = max(after, s.Opening.Version); after >= s.Closing.Version {
		return nil, nil
	}
	found, err := s.reader.db.Query(ctx, sqlStatementLines, s.Closing.UserID, s.Closing.Currency, after, s.Closing.Version, pageSize(limit))
	if err != nil {
		return nil, err
	}
	page, err := rows.CollectEntries(found)
	if err == nil && len(page) == 0 {
		err = gaps(s.Closing.UserID, s.Closing.Currency)
	}
	if err != nil {
		return nil, err
	}
	reversed, err := s.reader.Reversed(ctx, page)
	if err != nil {
		return nil, err
	}
	for i, e := range page {
		line := EventOf(e)
		line.Reversed = reversed[i]
		lines = append(lines, line)
	}
	return lines, nil
}

// justBefore returns the last instant before a time. Postgres's times are whole microseconds
// and pgx truncates anything finer, so "at or before" this instant is the same as "before" the
// time.
func justBefore(t time.Time) time.Time { return t.Add(-time.Nanosecond) }
