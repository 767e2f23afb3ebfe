package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// State starts a subscription, is what a run hands to the next, and what the query "state" returns.
type State struct {
	// ID is chosen by who starts the subscription, up to 60 characters, and never used for another:
	// the ids of its payments are made of it.
	ID         string    `json:"id"`
	Subscriber string    `json:"subscriber"` // the user whose wallet pays
	Plan       string    `json:"plan"`       // of the next charge
	TimeZone   string    `json:"time_zone"`  // of the calendar; UTC if empty
	Clock      Clock     `json:"clock,omitzero"`
	Status     string    `json:"status"`
	Started    time.Time `json:"started,omitzero"`
	// Period is the one that is paid or, if past due, to be paid. Its plan is in effect.
	Period            Period    `json:"period"`
	Next              int       `json:"next"` // number of the next period
	Paid              int       `json:"paid"` // periods
	Changes           int       `json:"changes"`
	Attempts          int       `json:"attempts"`          // of the charge
	Refusal           string    `json:"refusal,omitempty"` // of the last attempt
	RetryAt           time.Time `json:"retry_at,omitzero"`
	CancelAtPeriodEnd bool      `json:"cancel_at_period_end,omitempty"`
	Ended             string    `json:"ended,omitempty"` // why: cancelled or unpaid
}

// A subscription is past due while its period is not paid: it is being charged, or will be again.
const (
	statusActive, statusPastDue, statusEnded = "active", "past_due", "ended"
	failureInvalid, failureRefused           = "Invalid", "Refused"
	// periodsOfARun is after how many periods the workflow continues as new: of some 20 events each,
	// and 10 for each refusal.
	periodsOfARun = 12
)

type subscription struct {
	State
	paying workflow.Mutex // locked while a payment is under way: there is never more than one
}

// Subscription charges a subscriber each month, until it is cancelled or not paid. Its workflow id is
// "subscription/" and the subscriber, who so has one at a time.
func Subscription(ctx workflow.Context, in State) (State, error) {
	s := &subscription{State: in, paying: workflow.NewMutex(ctx)}
	if s.Started.IsZero() {
		s.Started = s.now(ctx).Truncate(time.Second)
	}
	err := s.answer(ctx)
	for run := 0; err == nil && s.Status != statusEnded && run < periodsOfARun && !workflow.GetInfo(ctx).GetContinueAsNewSuggested(); run++ {
		if err = s.bill(ctx); err == nil && s.Status == statusActive {
			err = s.await(ctx, s.Period.Until, func() bool { return false })
			if err == nil && s.CancelAtPeriodEnd {
				s.end(ctx, "cancelled")
			}
		}
	}
	if err == nil {
		err = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	}
	if err == nil && s.Status != statusEnded {
		err = workflow.NewContinueAsNewError(ctx, Subscription, s.State)
	}
	return s.State, err
}

// bill charges the next period, and tries again when that is refused, until it is paid or has ended.
func (s *subscription) bill(ctx workflow.Context) error {
	if s.Status == statusActive && s.now(ctx).Before(s.Period.Until) { // started again with its last state
		return nil
	}
	for s.Attempts = 0; ; {
		outcome, err := s.charge(ctx)
		if err != nil || s.Status == statusActive {
			return err
		}
		retryAt, more := s.Period.nextRetry(s.now(ctx))
		more = more && s.Paid > 0                   // who cannot begin may begin another
		if outcome.Reason == wallet.ReasonTooLate { // the wallets were down until it was over
			retryAt, more = s.Period.Until, true
		}
		if !more {
			s.end(ctx, "unpaid")
			return nil
		}
		s.RetryAt = retryAt
		s.show(ctx)
		plan := s.Plan
		if err := s.await(ctx, retryAt, func() bool { return s.CancelAtPeriodEnd || s.Plan != plan }); err != nil {
			return err
		}
		if s.CancelAtPeriodEnd { // the last period that is paid is over
			s.end(ctx, "cancelled")
			return nil
		}
	}
}

// charge tries once to have the next period paid, at the price of its beginning.
func (s *subscription) charge(ctx workflow.Context) (outcome Outcome, err error) {
	if err := s.paying.Lock(ctx); err != nil {
		return outcome, err
	}
	defer s.paying.Unlock()
	if s.Attempts == 0 || s.Period.Plan.ID != s.Plan || !s.now(ctx).Before(s.Period.Until) {
		if s.Period, err = s.quote(ctx, s.Plan, s.Next, s.Paid > 0); err != nil {
			return outcome, err
		}
		s.Status, s.Next = statusPastDue, s.Period.Number
	}
	s.Attempts++
	p := s.Period
	id := fmt.Sprintf("%s%s/%d/%d", idPrefix, s.ID, p.Number, s.Attempts)
	if outcome, err = s.pay(ctx, id, p, decimalOf(p.Plan.Price), decimalOf(p.Plan.Credits), s.Paid > 0); err != nil {
		return outcome, err
	}
	s.Status, s.Refusal, s.RetryAt = statusPastDue, outcome.Message, time.Time{}
	if outcome.Reason == "" {
		s.Status, s.Paid, s.Next = statusActive, s.Paid+1, p.Number+1
	}
	s.show(ctx)
	return outcome, nil
}

// ChangePlan is the argument of the update "change_plan".
type ChangePlan struct {
	Plan string `json:"plan"`
	// AtPeriodEnd is for a smaller plan if the credits are spent: nothing is given back.
	AtPeriodEnd bool `json:"at_period_end,omitempty"`
}

// changePlan changes the plan at once, with a payment of the difference for the rest of the period.
// The credits change with it: all of that happens, or nothing.
func (s *subscription) changePlan(ctx workflow.Context, c ChangePlan) (State, error) {
	if err := s.paying.Lock(ctx); err != nil {
		return s.State, err
	}
	defer s.paying.Unlock()
	if s.Status == statusEnded {
		return s.State, temporal.NewApplicationError("the subscription has ended", failureRefused)
	}
	old, changed := s.Period.Plan, s.Period
	quoted, err := s.quote(ctx, c.Plan, s.Period.Number, false)
	if err != nil {
		return s.State, err
	}
	changed.Plan = quoted.Plan
	now := s.now(ctx)
	if s.Status == statusActive && !c.AtPeriodEnd && c.Plan != old.ID && now.Before(changed.Until) {
		money := changed.prorate(old.Price, changed.Plan.Price, now, old.Scale)
		credits := changed.prorate(old.Credits, changed.Plan.Credits, now, 0)
		if money.IsZero() || changed.Plan.Currency != old.Currency || changed.Plan.Payee != old.Payee {
			return s.State, temporal.NewApplicationError("the difference cannot be paid: set at_period_end", failureRefused)
		}
		s.Changes++
		outcome, err := s.pay(ctx, fmt.Sprintf("%s%s/%d/change-%d", idPrefix, s.ID, changed.Number, s.Changes), changed, money, credits, false)
		if err != nil {
			return s.State, err
		}
		if outcome.Reason != "" {
			return s.State, temporal.NewApplicationError(outcome.Message, failureRefused, outcome)
		}
		s.Period = changed
	}
	s.Plan = c.Plan // if past due, it is charged now
	s.show(ctx)
	return s.State, nil
}

// pay moves money to the payee and credits to the subscriber, what is negative the other way, in one
// transaction.
func (s *subscription) pay(ctx workflow.Context, id string, p Period, money, credits decimal.Decimal, mend bool) (outcome Outcome, err error) {
	until := s.Clock.real(p.Until)
	leg := func(user, currency string, amount decimal.Decimal) wallet.Leg {
		l := wallet.Leg{AssetRef: wallet.AssetRef{UserID: user, Currency: currency}}
		l.Type, l.Amount = wallet.TypeAdd, wallet.MustAmount(amount.Abs().String())
		if amount.IsNegative() {
			l.Type = wallet.TypeSubtract
		}
		return l
	}
	t := wallet.Transaction{
		ID: id, Actor: actor, Description: "plan " + p.Plan.ID,
		NotAfter: until, // nobody pays for a period that is over
		Commands: []wallet.Leg{leg(s.Subscriber, p.Plan.Currency, money.Neg()), leg(p.Plan.Payee, p.Plan.Currency, money)},
		Metadata: map[string]string{ // for consume
			"subscription": s.ID, "plan": p.Plan.ID, "period": fmt.Sprint(p.Number),
			"paid_until": until.Format(time.RFC3339Nano), "access_until": s.Clock.real(p.Until.Add(p.Plan.Grace)).Format(time.RFC3339Nano),
		},
	}
	if !credits.IsZero() {
		l := leg(s.Subscriber, "CREDIT", credits)
		if credits.IsPositive() {
			l.ExpiresAt = until
		}
		t.Commands = append(t.Commands, l)
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 15 * time.Second, RetryPolicy: retry(mend), Summary: id})
	var a *Activities
	err = workflow.ExecuteActivity(ctx, a.Pay, t, s.Clock.real(p.From)).Get(ctx, &outcome)
	return outcome, err
}

func (s *subscription) quote(ctx workflow.Context, plan string, number int, mend bool) (p Period, err error) {
	now := s.now(ctx)
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 5 * time.Second, RetryPolicy: retry(mend)})
	var a *Activities
	err = workflow.ExecuteLocalActivity(ctx, a.Quote, plan, s.Started, s.TimeZone, number, now).Get(ctx, &p)
	return p, err
}

// retry is for ever, but what is invalid fails unless somebody will mend it, such as a plan that was
// deleted: those who have it keep it.
func retry(mend bool) *temporal.RetryPolicy {
	policy := &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute}
	if !mend {
		policy.NonRetryableErrorTypes = []string{failureInvalid}
	}
	return policy
}

// answer answers the query and the updates.
func (s *subscription) answer(ctx workflow.Context) error {
	return errors.Join(
		workflow.SetQueryHandler(ctx, "state", func() (State, error) { return s.State, nil }),
		workflow.SetUpdateHandler(ctx, "change_plan", s.changePlan),
		// It takes effect at the end of what is paid; until then, false takes it back.
		workflow.SetUpdateHandler(ctx, "cancel_at_period_end", func(ctx workflow.Context, cancel bool) (State, error) {
			s.CancelAtPeriodEnd = cancel
			s.show(ctx)
			return s.State, nil
		}),
	)
}

func (s *subscription) end(ctx workflow.Context, why string) {
	s.Status, s.Ended = statusEnded, why
	s.show(ctx)
}

// show tells people in the Web UI.
func (s *subscription) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("%s %s, plan %s, period %d until %s, cancelled then: %t\n\nlast refusal: %s\n\nnext attempt: %s",
		s.Status, s.Ended, s.Period.Plan.ID, s.Period.Number, s.Period.Until, s.CancelAtPeriodEnd, s.Refusal, s.RetryAt))
}

func (s *subscription) now(ctx workflow.Context) time.Time { return s.Clock.show(workflow.Now(ctx)) }

// await waits until a time, or until a condition is met.
func (s *subscription) await(ctx workflow.Context, until time.Time, met func() bool) error {
	for !met() && s.now(ctx).Before(until) {
		if _, err := workflow.AwaitWithTimeout(ctx, s.Clock.real(until).Sub(workflow.Now(ctx)), met); err != nil {
			return err
		}
	}
	return nil
}
