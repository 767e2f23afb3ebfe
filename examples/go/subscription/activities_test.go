package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/wallettest"
)

func TestMain(m *testing.M) { wallettest.Main(m) }

// shop has the activities and the consumer beside wallets, on a database of its own.
type shop struct {
	*Activities
	t    *testing.T
	user string // all tests share one Temporal
	in   State
}

func newShop(t *testing.T) *shop {
	wallets := wallettest.Start(t)
	db, err := pgxpool.New(t.Context(), wallets.OwnerURL)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	_, err = db.Exec(t.Context(), schema)
	require.NoError(t, err)

	s := &shop{Activities: &Activities{db, wallets.Client, trail.New(db)}, t: t, user: wallettest.Name(t, "sam")}
	s.in = State{ID: wallettest.Name(t, "order"), Subscriber: s.user, Plan: "pro", Started: time.Now().UTC().Truncate(time.Second)}
	_, err = wallets.Add(t.Context(), starter.Change{UserID: s.user, Currency: "USD", CommandID: "top-up", Amount: wallet.MustAmount("50")})
	require.NoError(t, err)
	return s
}

// consumes grants access until the end of the test.
func (s *shop) consumes() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- consume(ctx, s.db) }()
	s.t.Cleanup(func() { stop(); require.NoError(s.t, <-ended) })
}

// lives runs the subscription with the activities as they are, but for Pay.
func (s *shop) lives(pay any, during func(*testsuite.TestWorkflowEnvironment)) {
	env := new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment()
	env.SetStartTime(s.in.Started)
	env.SetTestTimeout(time.Minute)
	env.RegisterActivity(s.Quote)
	env.RegisterActivityWithOptions(pay, activity.RegisterOptions{Name: "Pay"})
	env.RegisterDelayedCallback(func() { during(env) }, time.Hour)
	env.ExecuteWorkflow(Subscription, s.in)
	require.NoError(s.t, env.GetWorkflowError())
}

func (s *shop) updates(env *testsuite.TestWorkflowEnvironment, name string, argument any, answered func(error)) {
	env.UpdateWorkflow(name, "", &testsuite.TestUpdateCallback{OnReject: func(err error) { require.NoError(s.t, err) }, OnAccept: func() {}, OnComplete: func(_ any, err error) { answered(err) }}, argument)
}

func (s *shop) cancels(env *testsuite.TestWorkflowEnvironment) {
	s.updates(env, "cancel_at_period_end", true, func(err error) { require.NoError(s.t, err) })
}

// reverses gives back the first leg of a payment, all of it or an amount.
func (s *shop) reverses(payment, amount string) {
	c := wallet.Command{ID: "reverse-" + payment, Type: wallet.TypeReverse, OriginalID: wallet.LegID(payment, 1)}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	_, err := s.wallets.Apply(s.t.Context(), s.user, "USD", c)
	require.NoError(s.t, err)
}

func (s *shop) id(payment string) string { return idPrefix + s.in.ID + "/" + payment }

func (s *shop) requireText(want, sql string, arguments ...any) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		var got string
		require.NoError(s.t, s.db.QueryRow(s.t.Context(), sql, arguments...).Scan(&got))
		return got == want
	}, 20*time.Second, 20*time.Millisecond, want)
}

// requireAccess waits until the consumer has seen everything.
func (s *shop) requireAccess(plan string) {
	s.t.Helper()
	s.requireText("true", `SELECT (count(*) > 0)::text FROM wallet_feed_consumers WHERE name = 'subscriptions'`)
	s.requireText("0", `SELECT ((SELECT coalesce(max(id), 0) FROM wallet_feed) - after_id)::text FROM wallet_feed_consumers WHERE name = 'subscriptions'`)
	s.requireText(plan, `SELECT coalesce((SELECT plan FROM subscription.access WHERE subscriber = $1), '')`, s.user)
}

// TestAPaymentIsMadeOnceHoweverOftenItIsTried loses the answers of the first attempts.
func TestAPaymentIsMadeOnceHoweverOftenItIsTried(t *testing.T) {
	s := newShop(t)
	lost := 0
	s.lives(func(ctx context.Context, transaction wallet.Transaction, terms Plan, from, asked time.Time) (Outcome, error) {
		o, err := s.Pay(ctx, transaction, terms, from, asked)
		if err == nil && activity.GetInfo(ctx).Attempt < 3 {
			lost++
			err = errors.New("the answer was lost")
		}
		return o, err
	}, s.cancels)
	require.Equal(t, 3, lost, "the first within the task of the workflow")
	s.requireText("1", `SELECT count(*)::text FROM wallet_transactions`)
	s.requireText("20", `SELECT trim_scale(total_amount)::text FROM wallet_assets WHERE user_id = $1 AND currency = 'USD'`, s.user)
}

// TestWhatIsGivenBackIsGivenBackOnce has support reverse the price of a period, or a part of it, before
// or after a change to a smaller plan.
func TestWhatIsGivenBackIsGivenBackOnce(t *testing.T) {
	for _, row := range []struct {
		name, reversed string
		changeFirst    bool
		access         string
	}{
		{"all, then the change", "", false, ""},
		{"a part, then the change", "1", false, "pro"},
		{"the change, then all", "", true, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t)
			s.consumes()
			s.lives(s.Pay, func(env *testsuite.TestWorkflowEnvironment) {
				s.requireAccess("pro")
				if !row.changeFirst {
					s.reverses(s.id("0/1"), row.reversed)
					s.requireAccess(row.access)
				}
				s.updates(env, "change_plan", ChangePlan{Plan: "basic"}, func(err error) {
					if row.changeFirst {
						require.NoError(t, err)
						s.requireAccess("basic")
						s.reverses(s.id("0/1"), row.reversed)
					} else {
						require.ErrorContains(t, err, "was given back")
					}
					s.requireAccess(row.access)
				})
				s.updates(env, "change_plan", ChangePlan{Plan: "basic", AtPeriodEnd: true}, func(err error) { require.NoError(t, err) })
				s.cancels(env)
			})
			s.requireAccess(row.access)
		})
	}
}

// TestAnIDThatWasUsedForSomethingElse asks for a payment of another price than was paid under the id.
func TestAnIDThatWasUsedForSomethingElse(t *testing.T) {
	s := newShop(t)
	transaction := func(id, user, actor, price string) wallet.Transaction {
		take := wallet.Leg{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeSubtract, Amount: wallet.MustAmount(price)}}
		give := wallet.Leg{AssetRef: wallet.AssetRef{UserID: "subscriptions", Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeAdd, Amount: wallet.MustAmount(price)}}
		return wallet.Transaction{ID: s.id(id), Actor: actor, Commands: []wallet.Leg{take, give}, Metadata: map[string]string{"plan": "pro"}}
	}
	terms := func(price string) Plan { return Plan{ID: "pro", Price: wallet.MustAmount(price), Currency: "USD"} }
	from := time.Now()
	_, err := s.Pay(t.Context(), transaction("0/1", s.user, actor, "30"), terms("30"), from, time.Now())
	require.NoError(t, err)
	o, err := s.Pay(t.Context(), transaction("0/1", s.user, actor, "40"), terms("40"), from, time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, []any{wallet.Reason(""), false}, []any{o.Reason, o.Earlier})
	require.Equal(t, "30", o.Terms.Price.String(), "what was paid")

	_, err = s.wallets.Transaction(t.Context(), transaction("0/2", s.user, "somebody", "1"))
	require.NoError(t, err)
	for what, other := range map[string]wallet.Transaction{
		"another user's":  transaction("0/1", s.user+"-2", actor, "30"),
		"another actor's": transaction("0/2", s.user, actor, "30"),
	} {
		_, err = s.Pay(t.Context(), other, terms("30"), from, time.Now())
		var failure *temporal.ApplicationError
		require.ErrorAs(t, err, &failure, what)
		require.True(t, failure.NonRetryable(), what)
	}
	_, err = s.Pay(t.Context(), transaction("0/1", s.user, actor, "31"), terms("31"), from.Add(50*time.Second+clocksDiffer), time.Now())
	require.Error(t, err, "of before the subscription")

	refused, err := s.Pay(t.Context(), transaction("0/3", s.user, actor, "60"), terms("60"), from, time.Now())
	require.NoError(t, err)
	require.Equal(t, []any{wallet.ReasonInsufficientFunds, false}, []any{refused.Reason, refused.Earlier})
	again, err := s.Pay(t.Context(), transaction("0/3", s.user, actor, "60"), terms("60"), from, time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, []any{wallet.ReasonInsufficientFunds, true}, []any{again.Reason, again.Earlier})
}

func TestAPlanThatIsDeletedDoesNotComeBack(t *testing.T) {
	s := newShop(t)
	s.requireText("basic pro", `SELECT string_agg(id, ' ' ORDER BY id) FROM subscription.plans`)
	_, err := s.db.Exec(t.Context(), `DELETE FROM subscription.plans WHERE id = 'pro'`)
	require.NoError(t, err)
	_, err = s.db.Exec(t.Context(), schema)
	require.NoError(t, err)
	s.requireText("basic", `SELECT string_agg(id, ' ' ORDER BY id) FROM subscription.plans`)
}
