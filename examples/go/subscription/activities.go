package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Activities are tried again until they have an answer. A refusal is one.
type Activities struct {
	db      *pgxpool.Pool
	wallets *starter.Client
	journal trail.Reader
}

// Quote reads today's terms of a plan, for the period with a number, or a later one if that is over. It
// reads the calendar too, so the workflow's history has it, whatever time zone data a worker has. For
// a change, nothing of the period may have been given back: it would be given back twice.
func (a *Activities) Quote(ctx context.Context, s State, plan string, number int, now time.Time, change bool) (p Period, err error) {
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil || zone == time.Local { // which is another on each worker
		return p, temporal.NewApplicationError(fmt.Sprintf("the time zone %q is unknown", s.TimeZone), failureInvalid)
	}
	p = periodAt(s.Started.In(zone), number, now)
	var refunded bool
	err = a.db.QueryRow(ctx, `
		SELECT id, round(price, scale)::text, currency, scale, credits::text, payee, (extract(epoch FROM grace) * 1e9)::bigint,
			ARRAY(SELECT (extract(epoch FROM pause) * 1e9)::bigint FROM unnest(retry_after) AS pause ORDER BY pause),
			$4 AND EXISTS (SELECT FROM wallet_commands WHERE user_id = $2 AND status = 'applied' AND starts_with(original_id, $3))
		FROM subscription.plans JOIN currencies ON code = currency WHERE id = $1`, plan, s.Subscriber, fmt.Sprintf("%s%s%s/%d/", wallet.LegPrefix, idPrefix, s.ID, number), change).
		Scan(&p.Plan.ID, &p.Plan.Price, &p.Plan.Currency, &p.Plan.Scale, &p.Plan.Credits, &p.Plan.Payee, &p.Plan.Grace, &p.Plan.RetryAfter, &refunded)
	if refunded {
		return p, temporal.NewNonRetryableApplicationError("a payment of this period was given back: set at_period_end", failureRefused, nil)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return p, temporal.NewApplicationError(fmt.Sprintf("there is no plan %q", plan), failureInvalid)
	}
	return p, err
}

// Outcome is the wallets' answer to a payment.
type Outcome struct {
	Reason  wallet.Reason `json:"reason,omitempty"` // why it was refused; empty if it was applied
	Message string        `json:"message,omitempty"`
	At      time.Time     `json:"at"`                // when the wallets recorded it
	Earlier bool          `json:"earlier,omitempty"` // it was refused before the workflow asked
	Terms   *Plan         `json:"terms,omitempty"`   // of what was paid, if the workflow asked for something else
}

// Pay has the wallets make the payment of a period. Each attempt sends the same, so it counts once.
func (a *Activities) Pay(ctx context.Context, t wallet.Transaction, terms Plan, from, asked time.Time) (o Outcome, err error) {
	if early := time.Until(from); early > clocksDiffer { // Temporal's clock has said that the period begins
		return o, fmt.Errorf("payment %q is %s early: a clock is wrong", t.ID, early)
	}
	encoded, _ := json.Marshal(terms) // cannot fail: texts and numbers
	t.Metadata["terms"] = string(encoded)
	result, err := a.wallets.Transaction(ctx, t)
	if errors.Is(err, wallet.ReasonIDConflict) {
		// The workflow was reset, or started again, and asks for something else. What was paid first
		// counts, on its terms.
		recorded, err := a.journal.Transaction(ctx, t.ID)
		if err != nil {
			return o, err
		}
		result, result.Replayed = recorded.TransactionResult, true
		first := result.Results[0]
		entries, err := a.journal.EntriesByID(ctx, first.AssetRef, []string{first.CommandID})
		if err != nil {
			return o, err
		}
		if e := entries[first.CommandID]; e.UserID != t.Commands[0].UserID || e.Actor != actor || e.RecordedAt.Before(from.Add(-clocksDiffer)) || json.Unmarshal([]byte(e.Metadata["terms"]), &o.Terms) != nil {
			return o, temporal.NewNonRetryableApplicationError(fmt.Sprintf("payment %q is of something else that has this id", t.ID), failureInvalid, nil)
		}
	} else if invalid := new(wallet.InvalidError); errors.As(err, &invalid) {
		return o, temporal.NewApplicationError(err.Error(), failureInvalid)
	} else if refused := new(wallet.TransactionRefusedError); err != nil && !errors.As(err, &refused) {
		return o, err
	}
	o.Reason, o.Message, o.At, o.Earlier = result.Reason, result.Message, result.RecordedAt, result.Reason != "" && result.Replayed && result.RecordedAt.Before(asked)
	return o, nil
}
