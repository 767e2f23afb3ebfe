package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// life is a subscription whose wallets answer as the test says.
type life struct {
	t     *testing.T
	env   *testsuite.TestWorkflowEnvironment
	in    State
	plans map[string]Plan
	// refuse says why a payment is refused, if it is.
	refuse func(payment) wallet.Reason
	paid   []payment
	asked  []string // ids of all payments
}

const day = 24 * time.Hour

// payment is what Pay is asked for.
type payment struct {
	wallet.Transaction
	From time.Time
}

func newLife(t *testing.T) *life {
	l := &life{t: t, env: new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment(), refuse: func(payment) wallet.Reason { return "" }}
	l.in = State{ID: "order-1", Subscriber: "ann", Plan: "basic"}
	basic := Plan{ID: "basic", Price: wallet.MustAmount("10.00"), Currency: "USD", Scale: 2, Credits: wallet.MustAmount("100"), Payee: "shop", Grace: 3 * day, RetryAfter: []time.Duration{day, 3 * day, 5 * day}}
	pro := basic
	pro.ID, pro.Price, pro.Credits = "pro", wallet.MustAmount("30.00"), wallet.MustAmount("500")
	l.plans = map[string]Plan{"basic": basic, "pro": pro}
	l.env.SetStartTime(time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC))
	l.env.SetTestTimeout(10 * time.Second)
	l.env.RegisterActivityWithOptions(func(_ context.Context, plan string, started time.Time, _ string, number int, now time.Time) (p Period, err error) {
		p = periodAt(started, number, now)
		var known bool
		if p.Plan, known = l.plans[plan]; !known {
			return p, temporal.NewApplicationError("there is no plan", failureInvalid)
		}
		return p, nil
	}, activity.RegisterOptions{Name: "Quote"})
	l.env.RegisterActivityWithOptions(func(_ context.Context, transaction wallet.Transaction, from time.Time) (Outcome, error) {
		p := payment{transaction, from}
		require.NoError(t, p.Validate())
		require.False(t, l.env.Now().Before(from), "%s is early", p.ID)
		l.asked = append(l.asked, p.ID)
		if reason := l.refuse(p); reason != "" {
			return Outcome{reason, string(reason)}, nil
		}
		l.paid = append(l.paid, p)
		return Outcome{}, nil
	}, activity.RegisterOptions{Name: "Pay"})
	return l
}

// at does something after some time.
func (l *life) at(after time.Duration, do func()) { l.env.RegisterDelayedCallback(do, after) }

// update sends an update and calls answered with its error.
func (l *life) update(name string, argument any, answered func(error)) {
	l.env.UpdateWorkflow(name, "", &testsuite.TestUpdateCallback{
		OnReject: func(err error) { require.NoError(l.t, err) }, OnAccept: func() {},
		OnComplete: func(_ any, err error) { answered(err) },
	}, argument)
}

func (l *life) succeeds(name string, argument any) {
	l.update(name, argument, func(err error) { require.NoError(l.t, err) })
}

// end runs the subscription until it has ended.
func (l *life) end() (last State) {
	l.env.ExecuteWorkflow(Subscription, l.in)
	require.NoError(l.t, l.env.GetWorkflowError())
	require.NoError(l.t, l.env.GetWorkflowResult(&last))
	return last
}

func (l *life) refuseAfter(n int, reason wallet.Reason) {
	l.refuse = func(payment) wallet.Reason {
		if len(l.paid) >= n {
			return reason
		}
		return ""
	}
}

func TestAPeriodIsPaidAtItsBeginning(t *testing.T) {
	l := newLife(t)
	l.at(70*day, func() { l.succeeds("cancel_at_period_end", true) })
	last := l.end()
	require.Equal(t, "cancelled", last.Ended)
	require.Equal(t, []string{"sub/order-1/0/1", "sub/order-1/1/1", "sub/order-1/2/1"}, l.asked)
	var from []string
	for _, p := range l.paid {
		from = append(from, p.From.Format(time.DateOnly))
		require.Equal(t, p.NotAfter, p.Commands[2].ExpiresAt)
	}
	require.Equal(t, []string{"2027-01-31", "2027-02-28", "2027-03-31"}, from)
	require.Equal(t, "2027-05-03T12:00:00Z", l.paid[2].Metadata["access_until"])
}

func TestARefusedChargeIsTriedAgainUntilItEnds(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	last := l.end()
	require.Equal(t, "unpaid", last.Ended)
	require.Equal(t, []string{"sub/order-1/0/1", "sub/order-1/1/1", "sub/order-1/1/2", "sub/order-1/1/3", "sub/order-1/1/4"}, l.asked)
	require.Equal(t, "2027-03-05", l.env.Now().Format(time.DateOnly))
}

func TestAFirstChargeThatIsRefusedIsTheEnd(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(0, wallet.ReasonInsufficientFunds)
	require.Equal(t, "unpaid", l.end().Ended)
	require.Len(t, l.asked, 1)
}

func TestAPeriodThatIsPaidLateKeepsItsDates(t *testing.T) {
	l := newLife(t)
	l.refuse = func(p payment) wallet.Reason {
		if p.ID == "sub/order-1/1/1" || p.ID == "sub/order-1/1/2" {
			l.plans["basic"] = l.plans["pro"] // costs 30.00 now
			return wallet.ReasonFrozen
		}
		return ""
	}
	l.at(40*day, func() { l.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 2, l.end().Paid)
	require.Equal(t, "2027-03-31T12:00:00Z", l.paid[1].Metadata["paid_until"])
	require.Equal(t, "10", l.paid[1].Commands[0].Amount.String(), "the price when the period began")
}

func TestCancellingWhilePastDueEndsAtOnce(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	l.at(28*day+2*time.Hour, func() { l.succeeds("cancel_at_period_end", true) })
	require.Equal(t, "cancelled", l.end().Ended)
	require.Len(t, l.asked, 2)
	require.Equal(t, "2027-02-28T14:00:00Z", l.env.Now().UTC().Format(time.RFC3339))
}

func TestACancellationCanBeTakenBack(t *testing.T) {
	l := newLife(t)
	l.at(2*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.at(3*day, func() { l.succeeds("cancel_at_period_end", false) })
	l.at(30*day, func() { l.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 2, l.end().Paid)
}

func TestAChangeOfPlanCostsTheRestOfThePeriod(t *testing.T) {
	l := newLife(t)
	l.at(7*day, func() { l.succeeds("change_plan", ChangePlan{Plan: "pro"}) })
	l.at(8*day, func() { l.succeeds("change_plan", ChangePlan{Plan: "pro"}) }) // its answer was lost
	l.at(14*day, func() { l.succeeds("change_plan", ChangePlan{Plan: "basic"}) })
	l.at(15*day, func() { l.succeeds("cancel_at_period_end", true) })
	last := l.end()
	require.Equal(t, "basic", last.Plan)
	require.Len(t, l.paid, 3)
	type leg struct{ user, what string }
	legs := func(p payment) (all []leg) {
		for _, c := range p.Commands {
			all = append(all, leg{c.UserID, fmt.Sprint(c.Type, " ", c.Amount, " ", c.Currency)})
		}
		return all
	}
	require.Equal(t, []leg{{"ann", "subtract 15 USD"}, {"shop", "add 15 USD"}, {"ann", "add 300 CREDIT"}}, legs(l.paid[1]))
	require.Equal(t, []leg{{"ann", "add 10 USD"}, {"shop", "subtract 10 USD"}, {"ann", "subtract 200 CREDIT"}}, legs(l.paid[2]))
}

func TestAChangeThatIsRefusedChangesNothing(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	refused := 0
	fails := func(name string, argument any, kind string) {
		l.update(name, argument, func(err error) {
			var failure *temporal.ApplicationError
			require.True(t, errors.As(err, &failure), err)
			require.Equal(t, kind, failure.Type())
			refused++
		})
	}
	l.at(7*day, func() { fails("change_plan", ChangePlan{Plan: "pro"}, failureRefused) })
	l.at(8*day, func() { fails("change_plan", ChangePlan{Plan: "gold"}, failureInvalid) })
	l.at(9*day, func() {
		value, err := l.env.QueryWorkflow("state")
		require.NoError(t, err)
		var now State
		require.NoError(t, value.Get(&now))
		require.Equal(t, []any{"basic", "basic", statusActive}, []any{now.Plan, now.Period.Plan.ID, now.Status})
		l.refuseAfter(5, "")
		l.succeeds("change_plan", ChangePlan{Plan: "pro", AtPeriodEnd: true})
	})
	l.at(30*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.end()
	require.Equal(t, 2, refused)
	require.Equal(t, "30", l.paid[1].Commands[0].Amount.String())
}

func TestAnotherPlanIsChargedAtOnceWhilePastDue(t *testing.T) {
	l := newLife(t)
	l.in.Plan = "pro"
	l.refuse = func(p payment) wallet.Reason {
		if len(l.paid) == 1 && p.Metadata["plan"] == "pro" {
			return wallet.ReasonInsufficientFunds
		}
		return ""
	}
	l.at(28*day+2*time.Hour, func() { l.succeeds("change_plan", ChangePlan{Plan: "basic"}) })
	l.at(28*day+3*time.Hour, func() {
		require.Len(t, l.paid, 2)
		l.succeeds("cancel_at_period_end", true)
	})
	require.Equal(t, 2, l.end().Paid)
	require.Equal(t, []string{"sub/order-1/0/1", "sub/order-1/1/1", "sub/order-1/1/2"}, l.asked)
	require.Equal(t, "10", l.paid[1].Commands[0].Amount.String())
}

// TestNobodyPaysForAPeriodThatIsOver has the wallets away for longer than a period.
func TestNobodyPaysForAPeriodThatIsOver(t *testing.T) {
	l := newLife(t)
	l.refuse = func(p payment) wallet.Reason {
		if p.ID == "sub/order-1/1/1" {
			return wallet.ReasonTooLate
		}
		return ""
	}
	l.at(70*day, func() { l.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 2, l.end().Paid)
	require.Equal(t, []string{"sub/order-1/0/1", "sub/order-1/1/1", "sub/order-1/2/2"}, l.asked)
}

func TestALongSubscriptionContinuesAsNew(t *testing.T) {
	l := newLife(t)
	l.env.ExecuteWorkflow(Subscription, l.in)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, l.env.GetWorkflowError(), &next)
	require.Len(t, l.paid, periodsOfARun)

	again := newLife(t)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &again.in))
	again.env.SetStartTime(l.env.Now())
	again.at(day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, periodsOfARun+1, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/12/1"}, again.asked)
	require.Equal(t, "2028-01-31", again.paid[0].From.Format(time.DateOnly))
}

// TestASubscriptionIsStartedAgainWithItsLastState is for one whose workflow was terminated.
func TestASubscriptionIsStartedAgainWithItsLastState(t *testing.T) {
	l, again := newLife(t), newLife(t)
	l.at(40*day, func() {
		value, err := l.env.QueryWorkflow("state")
		require.NoError(t, err)
		require.NoError(t, value.Get(&again.in))
		again.env.SetStartTime(l.env.Now())
		l.env.CancelWorkflow()
	})
	l.env.ExecuteWorkflow(Subscription, l.in)
	require.True(t, temporal.IsCanceledError(l.env.GetWorkflowError()))
	again.at(30*day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 3, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/2/1"}, again.asked)
}

// TestNobodyPaysWhenOnlyTemporalsClockSaysSo calls the activity a month before its period.
func TestNobodyPaysWhenOnlyTemporalsClockSaysSo(t *testing.T) {
	_, err := new(Activities).Pay(t.Context(), wallet.Transaction{ID: "sub/order-1/1/1"}, time.Now().AddDate(0, 1, 0))
	require.ErrorContains(t, err, "a clock is wrong")
}

func TestAPlanThatIsUnknownFailsAtOnce(t *testing.T) {
	l := newLife(t)
	l.in.Plan = "gold"
	l.env.ExecuteWorkflow(Subscription, l.in)
	require.ErrorContains(t, l.env.GetWorkflowError(), "there is no plan")
}
