package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// lost says whether a payment's answer never comes.
	lost     func(payment) bool
	recorded map[string]answer // of the wallets
	failed   int               // updates
}

type answer struct {
	payment
	reason wallet.Reason
	at     time.Time
}

const day = 24 * time.Hour

// later is for failures that last for days: the test environment has 10 attempts.
var later = temporal.ApplicationErrorOptions{NextRetryDelay: 22 * time.Hour}

// payment is what Pay is asked for.
type payment struct {
	wallet.Transaction
	From time.Time
}

func newLife(t *testing.T) *life {
	l := &life{t: t, env: new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment(), refuse: func(payment) wallet.Reason { return "" }, lost: func(payment) bool { return false }, recorded: map[string]answer{}}
	l.in = State{ID: "order-1", Subscriber: "ann", Plan: "basic"}
	basic := Plan{ID: "basic", Price: wallet.MustAmount("10.00"), Currency: "USD", Scale: 2, Credits: wallet.MustAmount("100"), Payee: "shop", Grace: 3 * day, RetryAfter: []time.Duration{day, 3 * day, 5 * day}}
	pro := basic
	pro.ID, pro.Price, pro.Credits = "pro", wallet.MustAmount("30.00"), wallet.MustAmount("500")
	l.plans = map[string]Plan{"basic": basic, "pro": pro}
	l.env.SetStartTime(time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC))
	l.env.SetTestTimeout(10 * time.Second)
	l.env.RegisterActivityWithOptions(func(_ context.Context, s State, plan string, number int, now time.Time, _ bool) (p Period, err error) {
		p = periodAt(s.Started, number, now)
		var known bool
		if p.Plan, known = l.plans[plan]; !known {
			return p, temporal.NewApplicationErrorWithOptions("there is no plan", failureInvalid, later)
		}
		return p, nil
	}, activity.RegisterOptions{Name: "Quote"})
	l.env.RegisterActivityWithOptions(func(_ context.Context, transaction wallet.Transaction, terms Plan, from, asked time.Time) (o Outcome, err error) {
		encoded, err := json.Marshal(terms)
		require.NoError(t, err)
		transaction.Metadata["terms"] = string(encoded)
		p := payment{transaction, from}
		require.NoError(t, p.Validate())
		require.False(t, l.env.Now().Before(from), "%s is early", p.ID)
		l.asked = append(l.asked, p.ID)
		first, known := l.recorded[p.ID]
		if !known {
			first = answer{p, l.refuse(p), l.env.Now()}
			l.recorded[p.ID] = first
			if first.reason == "" {
				l.paid = append(l.paid, p)
			}
		} else if first.Metadata["terms"] != p.Metadata["terms"] {
			require.NoError(t, json.Unmarshal([]byte(first.Metadata["terms"]), &o.Terms))
		}
		if l.lost(p) {
			return o, temporal.NewApplicationErrorWithOptions("no answer", "", later)
		}
		o.Reason, o.Message, o.At, o.Earlier = first.reason, string(first.reason), first.at, first.reason != "" && first.at.Before(asked)
		return o, nil
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

// terminated runs the subscription until some time, and returns one that starts after a pause with the
// last state, or the state of an earlier time, beside the same wallets.
func (l *life) terminated(state, after, pause time.Duration) (again *life) {
	again = newLife(l.t)
	again.plans, again.recorded = l.plans, l.recorded
	l.at(state, func() { again.in = l.state() })
	l.at(after, func() {
		again.env.SetStartTime(l.env.Now().Add(pause))
		l.env.CancelWorkflow()
	})
	l.env.ExecuteWorkflow(Subscription, l.in)
	require.True(l.t, temporal.IsCanceledError(l.env.GetWorkflowError()), l.env.GetWorkflowError())
	return again
}

func (l *life) state() (now State) {
	value, err := l.env.QueryWorkflow("state")
	require.NoError(l.t, err)
	require.NoError(l.t, value.Get(&now))
	return now
}

// fails sends an update that is to fail.
func (l *life) fails(name string, argument any, kind string) {
	l.update(name, argument, func(err error) {
		var failure *temporal.ApplicationError
		require.True(l.t, errors.As(err, &failure), err)
		require.Equal(l.t, kind, failure.Type())
		l.failed++
	})
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
	l.at(7*day, func() { l.fails("change_plan", ChangePlan{Plan: "pro"}, failureRefused) })
	l.at(8*day, func() { l.fails("change_plan", ChangePlan{Plan: "gold"}, failureInvalid) })
	l.at(9*day, func() {
		now := l.state()
		require.Equal(t, []any{"basic", "basic", statusActive}, []any{now.Plan, now.Period.Plan.ID, now.Status})
		l.refuseAfter(5, "")
		l.succeeds("change_plan", ChangePlan{Plan: "pro", AtPeriodEnd: true})
	})
	l.at(30*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.end()
	require.Equal(t, 2, l.failed)
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
	require.Equal(t, []string{"sub/order-1/0/1", "sub/order-1/1/1", "sub/order-1/2/1"}, l.asked)
}

func TestALongSubscriptionContinuesAsNew(t *testing.T) {
	l := newLife(t)
	l.env.ExecuteWorkflow(Subscription, l.in)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, l.env.GetWorkflowError(), &next)
	require.Len(t, l.paid, chargesOfARun)

	again := newLife(t)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &again.in))
	again.env.SetStartTime(l.env.Now())
	again.at(40*day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, chargesOfARun+1, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/12/1"}, again.asked)
	require.Equal(t, "2028-01-31", again.paid[0].From.Format(time.DateOnly))
}

// TestASubscriptionIsStartedAgainWithItsLastState is for one whose workflow was terminated.
func TestASubscriptionIsStartedAgainWithItsLastState(t *testing.T) {
	again := newLife(t).terminated(40*day, 40*day, 0)
	again.at(30*day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 3, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/2/1"}, again.asked)
}

// TestNobodyPaysWhenOnlyTemporalsClockSaysSo calls the activity a month before its period.
func TestNobodyPaysWhenOnlyTemporalsClockSaysSo(t *testing.T) {
	_, err := new(Activities).Pay(t.Context(), wallet.Transaction{ID: "sub/order-1/1/1"}, Plan{}, time.Now().AddDate(0, 1, 0), time.Now())
	require.ErrorContains(t, err, "a clock is wrong")
}

func TestAPlanThatIsUnknownFailsAtOnce(t *testing.T) {
	l := newLife(t)
	l.in.Plan = "gold"
	l.env.ExecuteWorkflow(Subscription, l.in)
	require.ErrorContains(t, l.env.GetWorkflowError(), "there is no plan")
}

func TestACancelledSubscriptionThatIsStartedAgainAfterItsEndIsNotCharged(t *testing.T) {
	l := newLife(t)
	l.at(7*day, func() { l.succeeds("cancel_at_period_end", true) })
	again := l.terminated(27*day, 27*day, 10*day)
	require.Equal(t, "cancelled", again.end().Ended)
	require.Empty(t, again.asked)
}

func TestAChangeWhoseAnswerWasLostIsPaidOnce(t *testing.T) {
	l := newLife(t)
	l.lost = func(p payment) bool { return p.Metadata["plan"] == "pro" }
	l.at(7*day, func() { l.update("change_plan", ChangePlan{Plan: "pro"}, func(error) {}) })
	again := l.terminated(8*day, 8*day, 0)
	require.Len(t, l.paid, 2)
	require.Equal(t, "basic", again.in.Plan)
	again.plans["max"] = again.plans["pro"]
	again.at(day, func() { again.fails("change_plan", ChangePlan{Plan: "max"}, failureRefused) }) // it was another
	again.at(2*day, func() {
		require.Equal(t, []string{"pro", "pro"}, []string{again.state().Plan, again.state().Period.Plan.ID})
		again.succeeds("change_plan", ChangePlan{Plan: "pro"})
		again.succeeds("cancel_at_period_end", true)
	})
	again.end()
	require.Equal(t, 1, again.failed)
	require.Equal(t, []string{"sub/order-1/0/change-1"}, again.asked)
	require.Empty(t, again.paid)
}

func TestARefusalBeforeARestartIsNotTheAnswerToAChange(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	l.lost = func(p payment) bool { return p.Metadata["plan"] == "pro" }
	l.at(7*day, func() { l.update("change_plan", ChangePlan{Plan: "pro"}, func(error) {}) })
	again := l.terminated(8*day, 8*day, 0)
	again.at(day, func() { again.succeeds("change_plan", ChangePlan{Plan: "pro"}) })
	again.at(2*day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, "pro", again.end().Period.Plan.ID)
	require.Equal(t, []string{"sub/order-1/0/change-1", "sub/order-1/0/change-2"}, again.asked)
}

// TestATopUpBeforeARestartCounts has refusals from before, whose answers were lost or are not in the
// state.
func TestATopUpBeforeARestartCounts(t *testing.T) {
	for state, asked := range map[time.Duration][]string{
		32 * day: {"sub/order-1/1/2", "sub/order-1/1/3"},
		27 * day: {"sub/order-1/1/1", "sub/order-1/1/2", "sub/order-1/1/3"},
	} {
		l := newLife(t)
		l.refuseAfter(1, wallet.ReasonInsufficientFunds)
		l.lost = func(p payment) bool { return p.ID == "sub/order-1/1/2" }
		again := l.terminated(state, 32*day, 0)
		again.at(day, func() { again.succeeds("cancel_at_period_end", true) })
		last := again.end()
		require.Equal(t, []any{"cancelled", 2}, []any{last.Ended, last.Paid})
		require.Equal(t, asked, again.asked)
		require.Equal(t, "2027-03-04", again.recorded["sub/order-1/1/3"].at.Format(time.DateOnly), "at once")
	}
}

// TestAPaymentWhoseAnswerWasLostCounts is started again after the payment, even of a period that
// followed one in which the wallets were away.
func TestAPaymentWhoseAnswerWasLostCounts(t *testing.T) {
	l := newLife(t)
	l.refuse = func(p payment) wallet.Reason {
		if p.ID == "sub/order-1/1/1" {
			return wallet.ReasonTooLate
		}
		return ""
	}
	l.lost = func(p payment) bool { return p.Metadata["period"] == "2" }
	again := l.terminated(60*day, 60*day, 0)
	again.at(day, func() { again.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 2, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/2/1"}, again.asked)
	require.Empty(t, again.paid)
}

func TestWhatWasPaidBeforeARestartKeepsItsTerms(t *testing.T) {
	l := newLife(t)
	l.at(29*day, func() {
		basic := l.plans["pro"]
		basic.ID = "basic"
		l.plans["basic"] = basic
	})
	again := l.terminated(20*day, 30*day, 0)
	again.at(day, func() {
		require.Equal(t, "10.00", again.state().Period.Plan.Price.String())
		again.succeeds("cancel_at_period_end", true)
	})
	require.Equal(t, 2, again.end().Paid)
	require.Equal(t, []string{"sub/order-1/1/1"}, again.asked)
}

// TestWhoChangesUpAndDownGetsNothing does so within a moment, at any time.
func TestWhoChangesUpAndDownGetsNothing(t *testing.T) {
	l := newLife(t)
	for i := range 20 {
		l.at(day+time.Duration(i)*12345*time.Second, func() {
			l.update("change_plan", ChangePlan{Plan: "pro"}, func(err error) {
				require.NoError(t, err)
				l.succeeds("change_plan", ChangePlan{Plan: "basic"})
			})
		})
	}
	l.at(20*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.end()
	require.Len(t, l.paid, 41)
	for i := 1; i < len(l.paid); i += 2 {
		up, down := l.paid[i].Commands, l.paid[i+1].Commands
		require.GreaterOrEqual(t, up[0].Amount.Cmp(down[0].Amount), 0, "%s back of %s", down[0].Amount, up[0].Amount)
		require.GreaterOrEqual(t, down[2].Amount.Cmp(up[2].Amount), 0, "%s back of %s", down[2].Amount, up[2].Amount)
		whole := decimalOf(l.plans["pro"].Credits).Sub(decimalOf(l.plans["basic"].Credits))
		paid := decimalOf(up[0].Amount).Div(decimalOf(wallet.MustAmount("20")))
		require.True(t, decimalOf(up[2].Amount).LessThanOrEqual(whole.Mul(paid)), "no more credits than were paid")
	}
}

// TestWhatHasNoAnswerSoonIsAskedForByAnActivity has a plan that is away for 8 days: as retries within the
// workflow's task, each would add to the history.
func TestWhatHasNoAnswerSoonIsAskedForByAnActivity(t *testing.T) {
	l, inTask, own := newLife(t), 0, 0
	basic := l.plans["basic"]
	l.env.SetOnLocalActivityStartedListener(func(*activity.Info, context.Context, []any) { inTask++ })
	l.env.SetOnActivityStartedListener(func(*activity.Info, context.Context, converter.EncodedValues) { own++ })
	l.at(day, func() {
		require.Equal(t, []int{2, 0}, []int{inTask, own})
		delete(l.plans, "basic")
	})
	l.at(35*day, func() { l.plans["basic"] = basic })
	l.at(45*day, func() { l.succeeds("cancel_at_period_end", true) })
	require.Equal(t, 2, l.end().Paid)
	require.Equal(t, 4, inTask)
	require.Greater(t, own, 5)
}

func TestAChangeIsInTheHistoryBeforeItIsPaid(t *testing.T) {
	l, written := newLife(t), false
	l.env.SetOnTimerFiredListener(func(string) { written = true }) // so the task before it is in the history
	l.at(day, func() {
		written = false
		l.env.SetOnLocalActivityStartedListener(func(info *activity.Info, _ context.Context, _ []any) {
			require.True(t, written || info.ActivityType.Name != "Pay")
		})
		l.succeeds("change_plan", ChangePlan{Plan: "pro"})
	})
	l.at(2*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.end()
	require.Len(t, l.paid, 2)
}

func TestWhoCancelsWhileThePlanIsAwayIsNotCharged(t *testing.T) {
	l := newLife(t)
	basic := l.plans["basic"]
	l.at(day, func() { delete(l.plans, "basic") })
	l.at(30*day, func() { l.succeeds("cancel_at_period_end", true) })
	l.at(31*day, func() { l.plans["basic"] = basic })
	require.Equal(t, "cancelled", l.end().Ended)
	require.Len(t, l.asked, 1)
}

// TestRetriesCountFromTheFirstRefusal has the wallets away for 8 days.
func TestRetriesCountFromTheFirstRefusal(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	back := l.env.Now().Add(36 * day)
	l.lost = func(p payment) bool {
		away := p.ID == "sub/order-1/1/1" && l.env.Now().Before(back)
		if away {
			delete(l.recorded, p.ID) // they were not asked
		}
		return away
	}
	require.Equal(t, "unpaid", l.end().Ended)
	require.Len(t, l.recorded, 5)
	require.Equal(t, "2027-03-13", l.env.Now().Format(time.DateOnly), "5 days after the 8th")
}

// TestARetryWhoseTimePassedIsMade has the answer to the second attempt come a week late, after the times
// of all retries.
func TestARetryWhoseTimePassedIsMade(t *testing.T) {
	l := newLife(t)
	l.refuseAfter(1, wallet.ReasonInsufficientFunds)
	back := l.env.Now().Add(36 * day)
	l.lost = func(p payment) bool { return p.ID == "sub/order-1/1/2" && l.env.Now().Before(back) }
	require.Equal(t, "unpaid", l.end().Ended)
	require.Equal(t, []string{"sub/order-1/1/1", "sub/order-1/1/2", "sub/order-1/1/3"}, slices.Compact(l.asked[1:]))
	require.Equal(t, "2027-03-08", l.env.Now().Format(time.DateOnly), "at once, and once")
}

// TestAPlanThatIsGoneHoldsNoChangeUp has a change at the period's end wait for a plan that was deleted.
func TestAPlanThatIsGoneHoldsNoChangeUp(t *testing.T) {
	l := newLife(t)
	l.at(day, func() { l.succeeds("change_plan", ChangePlan{Plan: "pro", AtPeriodEnd: true}) })
	l.at(2*day, func() { delete(l.plans, "pro") })
	l.at(30*day, func() { l.fails("change_plan", ChangePlan{Plan: "gold"}, failureInvalid) })
	l.at(31*day, func() {
		require.Len(t, l.paid, 1)
		l.succeeds("change_plan", ChangePlan{Plan: "basic"})
	})
	l.at(32*day, func() {
		require.Len(t, l.paid, 2)
		l.succeeds("cancel_at_period_end", true)
	})
	require.Equal(t, 2, l.end().Paid)
	require.Equal(t, 1, l.failed)
	require.Equal(t, "10", l.paid[1].Commands[0].Amount.String())
}

func TestATimeZoneIsTheSameOnEachWorker(t *testing.T) {
	for _, zone := range []string{"Local", "Nowhere"} {
		_, err := new(Activities).Quote(t.Context(), State{TimeZone: zone, Started: time.Now()}, "basic", 0, time.Now(), false)
		require.ErrorContains(t, err, "is unknown", zone)
	}
}
