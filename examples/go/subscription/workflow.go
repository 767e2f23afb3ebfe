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
	Next              int       `json:"next"`                 // number of the next period
	Paid              int       `json:"paid"`                 // periods
	Changes           int       `json:"changes"`              // that were answered
	Attempts          int       `json:"attempts"`             // of the period's charge that were answered
	RefusedAt         time.Time `json:"refused_at,omitzero"`  // the first of them
	Refusal           string    `json:"refusal,omitempty"`    // of the last
	NextCharge        time.Time `json:"next_charge,omitzero"` // unless it is cancelled
	CancelAtPeriodEnd bool      `json:"cancel_at_period_end,omitempty"`
	Ended             string    `json:"ended,omitempty"` // why: cancelled or unpaid
}

// A subscription is past due while its period is not paid: it is being charged, or will be again.
const (
	statusActive, statusPastDue, statusEnded = "active", "past_due", "ended"
	failureInvalid, failureRefused           = "Invalid", "Refused"
	clocksDiffer                             = time.Minute // at most, those of machines
	chargesOfARun                            = 12          // of some 12 events each; then the workflow continues as new
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
	for charges := 0; err == nil && s.Status != statusEnded && charges < chargesOfARun && !workflow.GetInfo(ctx).GetContinueAsNewSuggested(); charges++ {
		err = s.await(ctx, s.NextCharge, func() bool { return s.Status == statusPastDue && (s.CancelAtPeriodEnd || s.Plan != s.Period.Plan.ID) })
		if err == nil && s.CancelAtPeriodEnd && s.Status != "" { // the last period that is paid is over
			s.Status, s.Ended = statusEnded, "cancelled"
		} else if err == nil {
			err = s.charge(ctx)
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

// charge tries once to have the next period paid, at the price of its beginning.
func (s *subscription) charge(ctx workflow.Context) error {
	asked, plan, p, due := s.now(ctx), s.Plan, Period{}, s.Status != statusPastDue || s.Period.Plan.ID != s.Plan || !s.now(ctx).Before(s.Period.Until)
	if due { // it waits for a plan that was deleted, but not if another is chosen, or none
		waiting, giveUp := workflow.WithCancel(ctx)
		defer giveUp()
		quoted := ask(waiting, plan, s.Paid > 0, (*Activities).Quote, s.State, plan, s.Next, asked, false)
		changed := func() bool { return s.Plan != plan || s.Paid > 0 && s.CancelAtPeriodEnd }
		if err := workflow.Await(ctx, func() bool { return quoted.IsReady() || changed() }); err != nil || changed() {
			return err
		} else if err = quoted.Get(ctx, &p); err != nil {
			return err
		}
	}
	if err := s.paying.Lock(ctx); err != nil {
		return err
	}
	defer s.paying.Unlock()
	if s.Plan != plan { // while a change of it was under way
		return nil
	}
	if due {
		if p.Number != s.Period.Number {
			s.Attempts, s.RefusedAt = 0, time.Time{}
		}
		s.Status, s.Next, s.Period = statusPastDue, p.Number, p
	}
	outcome, err := s.pay(ctx, "", &s.Attempts, &s.Period, decimalOf(s.Period.Plan.Price), decimalOf(s.Period.Plan.Credits), s.Paid > 0)
	if err != nil {
		return err
	}
	s.Refusal, s.NextCharge = outcome.Message, s.Period.Until
	switch outcome.Reason {
	case "":
		s.Status, s.Paid, s.Next = statusActive, s.Paid+1, s.Period.Number+1
	case wallet.ReasonTooLate: // the wallets were down until it was over
	default:
		if s.RefusedAt.IsZero() {
			s.RefusedAt = s.Clock.show(outcome.At)
		}
		s.NextCharge = s.Period.nextRetry(s.RefusedAt, asked)
		if s.Paid == 0 || s.NextCharge.IsZero() { // who cannot begin may begin another
			s.Status, s.Ended = statusEnded, "unpaid"
		}
	}
	return nil
}

// ChangePlan is the argument of the update "change_plan".
type ChangePlan struct {
	Plan        string `json:"plan"`
	AtPeriodEnd bool   `json:"at_period_end,omitempty"` // for a smaller plan if the credits are spent: nothing is given back
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
	old, changed, quoted, now := s.Period.Plan, s.Period, Period{}, s.now(ctx)
	atOnce := s.Status == statusActive && !c.AtPeriodEnd && c.Plan != old.ID && now.Before(changed.Until)
	if err := ask(ctx, c.Plan, false, (*Activities).Quote, s.State, c.Plan, s.Period.Number, now, atOnce).Get(ctx, &quoted); err != nil {
		return s.State, err
	}
	changed.Plan = quoted.Plan
	if atOnce { // rounded so that up and down again gives nothing
		money := changed.prorate(old.Price, changed.Plan.Price, now).RoundCeil(old.Scale)
		credits := changed.prorate(old.Credits, changed.Plan.Credits, now).RoundFloor(0)
		if money.IsZero() || changed.Plan.Currency != old.Currency || changed.Plan.Payee != old.Payee {
			return s.State, temporal.NewApplicationError("the difference cannot be paid: set at_period_end", failureRefused)
		}
		outcome, err := s.pay(ctx, "change-", &s.Changes, &changed, money, credits, false)
		if err != nil {
			return s.State, err
		}
		if outcome.Reason != "" {
			return s.State, temporal.NewApplicationError(outcome.Message, failureRefused, outcome)
		}
		if s.Period = changed; changed.Plan.ID != c.Plan {
			s.Plan = changed.Plan.ID
			return s.State, temporal.NewApplicationError("an earlier change was paid, to the plan "+s.Plan, failureRefused)
		}
	}
	s.Plan = c.Plan // if past due, it is charged now
	return s.State, nil
}

// pay moves money to the payee and credits to the subscriber, what is negative the other way, in one
// transaction. Its id counts the answers, so if one is lost with the run, the next run gets it: if
// that was paid, it counts, and p gets its plan.
func (s *subscription) pay(ctx workflow.Context, kind string, n *int, p *Period, money, credits decimal.Decimal, mend bool) (outcome Outcome, err error) {
	if err = workflow.Sleep(ctx, time.Millisecond); err != nil { // so what is paid, and why, is in the history before
		return outcome, err
	}
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
		Actor: actor, Description: "plan " + p.Plan.ID,
		NotAfter: until, // nobody pays for a period that is over
		Commands: []wallet.Leg{leg(s.Subscriber, p.Plan.Currency, money.Neg()), leg(p.Plan.Payee, p.Plan.Currency, money)},
		Metadata: map[string]string{ // for consume
			"subscription": s.ID, "plan": p.Plan.ID, "period": fmt.Sprint(p.Number),
			"paid_until": until.Format(time.RFC3339Nano), "access_until": s.Clock.real(p.Until.Add(p.Plan.Grace)).Format(time.RFC3339Nano),
		},
	}
	if !credits.IsZero() {
		t.Commands = append(t.Commands, leg(s.Subscriber, "CREDIT", credits))
	}
	if credits.IsPositive() {
		t.Commands[2].ExpiresAt = until
	}
	outcome.Earlier = true
	for asked := workflow.Now(ctx); outcome.Earlier; *n++ { // an earlier refusal is no answer to it
		t.ID, outcome = fmt.Sprintf("%s%s/%d/%s%d", idPrefix, s.ID, p.Number, kind, *n+1), Outcome{}
		if err := ask(ctx, t.ID, mend, (*Activities).Pay, t, p.Plan, s.Clock.real(p.From), asked).Get(ctx, &outcome); err != nil {
			return outcome, err
		}
	}
	if outcome.Reason == "" && outcome.Terms != nil {
		p.Plan = *outcome.Terms
	}
	return outcome, nil
}

// ask has an activity answer. It is tried once within the workflow's task, so a period costs two tasks, then for ever as an activity of its own, whose retries add none. But what is invalid fails
// unless somebody will mend it, such as a plan that was deleted: those who have it keep it.
func ask(ctx workflow.Context, summary string, mend bool, activity any, arguments ...any) workflow.Future {
	answered, answer := workflow.NewFuture(ctx)
	policy := &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute}
	if !mend {
		policy.NonRetryableErrorTypes = []string{failureInvalid}
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 15 * time.Second, RetryPolicy: policy, Summary: summary})
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{ScheduleToCloseTimeout: 5 * time.Second, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}, Summary: summary})
	workflow.Go(ctx, func(ctx workflow.Context) {
		asked := workflow.ExecuteLocalActivity(ctx, activity, arguments...)
		if asked.Get(ctx, nil) != nil {
			asked = workflow.ExecuteActivity(ctx, activity, arguments...)
		}
		answer.Chain(asked)
	})
	return answered
}

func (s *subscription) answer(ctx workflow.Context) error {
	return errors.Join(
		workflow.SetQueryHandler(ctx, "state", func() (State, error) { return s.State, nil }),
		workflow.SetUpdateHandler(ctx, "change_plan", s.changePlan),
		workflow.SetUpdateHandler(ctx, "cancel_at_period_end", func(ctx workflow.Context, cancel bool) (State, error) {
			s.CancelAtPeriodEnd = cancel // false takes it back, until the end of what is paid
			return s.State, nil
		}),
	)
}

func (s *subscription) now(ctx workflow.Context) time.Time { return s.Clock.show(workflow.Now(ctx)) }

// await waits until a time, or until a condition is met.
func (s *subscription) await(ctx workflow.Context, until time.Time, met func() bool) (err error) {
	for err == nil && !met() && s.now(ctx).Before(until) {
		_, err = workflow.AwaitWithTimeout(ctx, s.Clock.real(until).Sub(workflow.Now(ctx)), met)
	}
	return err
}
