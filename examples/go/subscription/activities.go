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

// Quote reads today's terms of a plan, for the period with a number, or a later one if that is over. It
// reads the calendar too, so the workflow's history has it, whatever time zone data a worker has.
func (a *Activities) Quote(ctx context.Context, plan string, started time.Time, timeZone string, number int, now time.Time) (p Period, err error) {
	zone, err := time.LoadLocation(timeZone)
	if err != nil {
		return p, temporal.NewApplicationError(err.Error(), failureInvalid)
	}
	p = periodAt(started.In(zone), number, now)
	p.Plan.ID = plan
	err = a.db.QueryRow(ctx, `
		SELECT round(price, scale)::text, currency, scale, credits::text, payee, (extract(epoch FROM grace) * 1e9)::bigint,
			ARRAY(SELECT (extract(epoch FROM pause) * 1e9)::bigint FROM unnest(retry_after) AS pause ORDER BY pause)
		FROM subscription.plans JOIN currencies ON code = currency WHERE id = $1`, plan).
		Scan(&p.Plan.Price, &p.Plan.Currency, &p.Plan.Scale, &p.Plan.Credits, &p.Plan.Payee, &p.Plan.Grace, &p.Plan.RetryAfter)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, temporal.NewApplicationError(fmt.Sprintf("there is no plan %q", plan), failureInvalid)
	}
	return p, err
}

// Outcome is the wallets' answer to a payment.
type Outcome struct {
	Reason  wallet.Reason `json:"reason,omitempty"` // why it was refused; empty if it was applied
	Message string        `json:"message,omitempty"`
}

// clocksDiffer is by how much the clocks of machines may.
const clocksDiffer = time.Minute

// Pay has the wallets make the payment of a period. Each attempt sends the same, so it counts once.
func (a *Activities) Pay(ctx context.Context, t wallet.Transaction, from time.Time) (Outcome, error) {
	if early := time.Until(from); early > clocksDiffer { // Temporal's clock has said that the period begins
		return Outcome{}, fmt.Errorf("payment %q is %s early: a clock is wrong", t.ID, early)
	}
	result, err := a.wallets.Transaction(ctx, t)
	if errors.Is(err, wallet.ReasonIDConflict) {
		// The workflow was reset, or started again, and asks for something else. What was paid first counts.
		var recorded trail.Transaction
		recorded, err = a.journal.Transaction(ctx, t.ID)
		result = recorded.TransactionResult
		if err == nil && (result.Results[0].UserID != t.Commands[0].UserID || result.RecordedAt.Before(from.Add(-clocksDiffer))) {
			return Outcome{}, temporal.NewNonRetryableApplicationError(fmt.Sprintf("payment %q is of an earlier subscription with this id", t.ID), failureInvalid, nil)
		}
	}
	if invalid := new(wallet.InvalidError); errors.As(err, &invalid) {
		return Outcome{}, temporal.NewApplicationError(err.Error(), failureInvalid)
	}
	if refused := new(wallet.TransactionRefusedError); err != nil && !errors.As(err, &refused) {
		return Outcome{}, err
	}
	return Outcome{result.Reason, result.Message}, nil
}
