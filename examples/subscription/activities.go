package main

import (
	"context"
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

// QuoteInput asks for the terms of a period: of the one with a number, or later if that is over.
type QuoteInput struct {
	Plan     string    `json:"plan"`
	Started  time.Time `json:"started"`
	TimeZone string    `json:"time_zone"`
	Number   int       `json:"number"`
	Now      time.Time `json:"now"`
}

// Quote reads today's terms of a plan, and the calendar, which is so in the workflow's history: a
// worker with other time zone data comes to no other end of the period.
func (a *Activities) Quote(ctx context.Context, in QuoteInput) (p Period, err error) {
	zone, err := time.LoadLocation(in.TimeZone)
	if err != nil {
		return p, temporal.NewApplicationError(err.Error(), failureInvalid)
	}
	p = periodAt(in.Started.In(zone), in.Number, in.Now)
	p.Plan.ID = in.Plan
	err = a.db.QueryRow(ctx, `
		SELECT round(price, scale)::text, currency, scale, credits::text, payee, (extract(epoch FROM grace) * 1e9)::bigint,
			ARRAY(SELECT (extract(epoch FROM pause) * 1e9)::bigint FROM unnest(retry_after) AS pause ORDER BY pause)
		FROM subscription.plans JOIN currencies ON code = currency WHERE id = $1`, in.Plan).
		Scan(&p.Plan.Price, &p.Plan.Currency, &p.Plan.Scale, &p.Plan.Credits, &p.Plan.Payee, &p.Plan.Grace, &p.Plan.RetryAfter)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, temporal.NewApplicationError(fmt.Sprintf("there is no plan %q", in.Plan), failureInvalid)
	}
	return p, err
}

// Payment is a transaction of the period that begins at From.
type Payment struct {
	wallet.Transaction
	From time.Time `json:"from"`
}

// Outcome is the wallets' answer to a Payment.
type Outcome struct {
	Reason  wallet.Reason `json:"reason,omitempty"` // why it was refused; empty if it was applied
	Message string        `json:"message,omitempty"`
}

// clocksDiffer is by how much the clocks of machines may.
const clocksDiffer = time.Minute

// Pay has the wallets make a payment. Each attempt sends the same, so it counts once.
func (a *Activities) Pay(ctx context.Context, p Payment) (Outcome, error) {
	if early := time.Until(p.From); early > clocksDiffer { // Temporal's clock has said that the period begins
		return Outcome{}, fmt.Errorf("payment %q is %s early: a clock is wrong", p.ID, early)
	}
	result, err := a.wallets.Transaction(ctx, p.Transaction)
	if errors.Is(err, wallet.ReasonIDConflict) {
		// The workflow was reset, or started again, and asks for something else. What was paid first counts.
		var recorded trail.Transaction
		recorded, err = a.journal.Transaction(ctx, p.ID)
		result = recorded.TransactionResult
		if err == nil && (result.Results[0].UserID != p.Commands[0].UserID || result.RecordedAt.Before(p.From.Add(-clocksDiffer))) {
			return Outcome{}, temporal.NewNonRetryableApplicationError(fmt.Sprintf("payment %q is of an earlier subscription with this id", p.ID), failureInvalid, nil)
		}
	}
	var refused *wallet.TransactionRefusedError
	if err != nil && !errors.As(err, &refused) {
		return Outcome{}, err
	}
	return Outcome{result.Reason, result.Message}, nil
}
