package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/wallettest"
)

func TestMain(m *testing.M) { wallettest.Main(m) }

// bank is Payments that tests control.
type bank struct {
	mu       sync.Mutex
	open     chan struct{} // if not nil, payments wait until it is closed
	decline  bool
	lost     int // so many payments are made, and their answers lost
	paid     map[string]wallet.Amount
	refunded []string
}

func (b *bank) Pay(ctx context.Context, p Payment) error {
	if b.open != nil {
		select {
		case <-b.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.decline {
		return errDeclined
	}
	b.paid[p.ID] = p.Amount
	if b.lost--; b.lost >= 0 {
		return errors.New("the answer was lost")
	}
	return nil
}

func (b *bank) Refund(_ context.Context, p Payment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refunded = append(b.refunded, p.ID)
	delete(b.paid, p.ID)
	return nil
}

func (b *bank) total() (sum wallet.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, amount := range b.paid {
		sum = sum.Add(amount)
	}
	return sum
}

func (b *bank) declines(decline bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decline = decline
}

// world has workers of the wallets and of this program on real servers.
type world struct {
	t       *testing.T
	wallets *wallettest.Wallets
	read    trail.Reader
	bank    *bank
	user    string
}

func newWorld(t *testing.T, b *bank) *world {
	wallets, own := wallettest.Start(t), wallettest.Name(t, "top-up")
	w := newWorker(wallets.Temporal, own, &Activities{wallets.Client, b})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	owner, err := pgxpool.New(t.Context(), wallets.OwnerURL)
	require.NoError(t, err)
	t.Cleanup(owner.Close)
	ctx, stop := context.WithCancel(context.Background())
	consuming := make(chan error, 1)
	go func() {
		consuming <- consume(ctx, owner, wallets.Temporal, own, Policy{Currency: "USD", Threshold: "low", Target: wallet.MustAmount("50.00"), DailyCap: wallet.MustAmount("100.00")})
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-consuming) })
	b.paid = map[string]wallet.Amount{}
	// The consumer begins with new events, so wait until it is there.
	require.Eventually(t, func() (is bool) {
		require.NoError(t, owner.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM wallet_feed_consumers)`).Scan(&is))
		return is
	}, time.Minute, 10*time.Millisecond)
	x := &world{t, wallets, trail.New(owner), b, wallettest.Name(t, "u")}
	x.do(wallet.TypeAdd, "funds", "25")
	return x
}

func (w *world) do(kind wallet.CommandType, id, amount string) {
	c := wallet.Command{ID: id, Type: kind, Amount: wallet.MustAmount(amount)}
	if kind == wallet.TypeSetThreshold {
		c.Threshold = "low"
	}
	w.apply(c)
}

func (w *world) apply(c wallet.Command) {
	_, err := w.wallets.Apply(w.t.Context(), w.user, "USD", c)
	require.NoError(w.t, err)
}

func (w *world) id() string { return workflowID(wallet.AssetRef{UserID: w.user, Currency: "USD"}) }

func (w *world) await(is func(State) bool) (s State) {
	require.Eventually(w.t, func() bool {
		value, err := w.wallets.Temporal.QueryWorkflow(w.t.Context(), w.id(), "", "state")
		s = State{}
		return err == nil && value.Get(&s) == nil && is(s)
	}, time.Minute, 20*time.Millisecond)
	return s
}

func (w *world) awaitAvailable(amount string) {
	require.Eventually(w.t, func() bool {
		a, err := w.read.Asset(w.t.Context(), w.user, "USD")
		return err == nil && a.Available().String() == amount
	}, time.Minute, 20*time.Millisecond)
}

func TestTheProgramTopsUpAndStopsAtItsCap(t *testing.T) {
	wallets := wallettest.Start(t)
	t.Setenv("WALLET_DATABASE_URL", wallets.OwnerURL)
	t.Setenv("TEMPORAL_ADDRESS", wallets.TemporalAddress)
	t.Setenv("WALLET_TASK_QUEUE", wallets.TaskQueue)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	require.Equal(t, "spent to 19.00: topped up by 31.00 to 50.00\nspent to 10.00: stopped, 40.00 more would exceed the daily cap of 60.00: 31.00 was paid today\n", out.String())
}

// TestOneTopUpAtATime crosses the threshold again and again while a payment is under way, of which
// the first answers are lost.
func TestOneTopUpAtATime(t *testing.T) {
	b := &bank{open: make(chan struct{}), lost: 2}
	w := newWorld(t, b)
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.do(wallet.TypeSubtract, "below", "6")
	w.await(func(s State) bool { return s.TopUps == 1 })
	for i := range 5 {
		w.do(wallet.TypeAdd, "up-"+string(rune('a'+i)), "2")
		w.do(wallet.TypeSubtract, "down-"+string(rune('a'+i)), "3")
	}
	close(b.open)
	w.awaitAvailable("45.00") // 14.00, and the 31.00 that were missing when the payment began
	s := w.await(func(s State) bool { return s.Available.String() == "45.00" })
	require.Equal(t, 1, s.TopUps)
	require.Equal(t, "31.00", b.total().String())

	// What was spent meanwhile is topped up too, if the wallet is below its threshold still.
	w.do(wallet.TypeSubtract, "again", "26")
	w.awaitAvailable("50.00")
	s = w.await(func(s State) bool { return s.TopUps == 2 })
	require.Empty(t, s.Stopped)
	report, err := w.read.Verify(t.Context(), trail.VerifyOptions{UserID: w.user})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

// TestSettingAThresholdAboveTheBalanceTopsUp crosses nothing, and the wallet is topped up all the same.
func TestSettingAThresholdAboveTheBalanceTopsUp(t *testing.T) {
	w := newWorld(t, &bank{})
	w.do(wallet.TypeSetThreshold, "watch", "30")
	w.awaitAvailable("50.00")
}

// TestACreditLimitIsAvailable: thresholds are of what is available, and so is the target.
func TestACreditLimitIsAvailable(t *testing.T) {
	b := &bank{}
	w := newWorld(t, b)
	w.do(wallet.TypeSetCreditLimit, "limit", "30")
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.do(wallet.TypeSubtract, "into debt", "34")
	w.do(wallet.TypeSubtract, "below", "2")
	s := w.await(func(s State) bool { return s.Available.String() == "50.00" })
	require.Equal(t, 1, s.TopUps)
	require.Equal(t, "31.00", b.total().String(), "from 19.00 available: a total of -11.00, and the limit")
	w.awaitAvailable("50.00")
}

// TestADeclinedPaymentStopsVisibly until somebody resumes, or the wallet is above its threshold.
func TestADeclinedPaymentStopsVisibly(t *testing.T) {
	b := &bank{decline: true}
	w := newWorld(t, b)
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.do(wallet.TypeSubtract, "below", "6")
	stopped := w.await(func(s State) bool { return s.Stopped != "" })
	require.Equal(t, "the payment of 31.00 was declined", stopped.Stopped)
	require.Eventually(t, func() bool {
		d, err := w.wallets.Temporal.DescribeWorkflow(t.Context(), w.id(), "")
		require.NoError(t, err)
		var reason string
		field, known := d.Memo.GetFields()["stopped"]
		return known && converter.GetDefaultDataConverter().FromPayload(field, &reason) == nil && reason == stopped.Stopped
	}, time.Minute, 20*time.Millisecond, "the memo says so")
	b.declines(false)
	require.NoError(t, w.wallets.Temporal.SignalWorkflow(t.Context(), w.id(), "", signalResume, nil))
	w.awaitAvailable("50.00")
	require.Empty(t, w.await(func(s State) bool { return s.Stopped == "" }).Stopped)
}

// TestARefusedCreditIsRefunded has the wallet's credits frozen.
func TestARefusedCreditIsRefunded(t *testing.T) {
	b := &bank{}
	w := newWorld(t, b)
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.apply(wallet.Command{ID: "freeze", Type: wallet.TypeFreeze, What: "credits"})
	w.do(wallet.TypeSubtract, "below", "6")
	s := w.await(func(s State) bool { return s.Stopped != "" })
	require.Equal(t, "the wallet refused 31.00 (frozen), and the payment was refunded", s.Stopped)
	require.True(t, s.Paid.IsZero())
	require.True(t, b.total().IsZero())
	require.Len(t, b.refunded, 1)
}

// TestACreditedPaymentIsNotRefunded has the credit applied under its id by an earlier version of the
// program, which described it in other words.
func TestACreditedPaymentIsNotRefunded(t *testing.T) {
	b := &bank{open: make(chan struct{})}
	w := newWorld(t, b)
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.do(wallet.TypeSubtract, "below", "6")
	w.await(func(s State) bool { return s.TopUps == 1 })
	d, err := w.wallets.Temporal.DescribeWorkflowExecution(t.Context(), w.id(), "")
	require.NoError(t, err)
	id := "top-up-" + d.GetWorkflowExecutionInfo().GetExecution().GetRunId() + "-1"
	w.apply(wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("31.00"), Description: "in other words"})
	close(b.open)

	// It stays stopped though the wallet is above its threshold.
	s := w.await(func(s State) bool { return s.Stopped != "" && s.Available.String() == "50.00" })
	require.Equal(t, "31.00 was paid, and the wallet has the id "+id+" with other content: see what that is, settle the difference, then resume", s.Stopped)
	require.Equal(t, id, s.Unsettled)
	require.Equal(t, "31.00", s.Paid.String())
	require.Equal(t, "31.00", b.total().String())
	require.Empty(t, b.refunded)
	require.NoError(t, w.wallets.Temporal.SignalWorkflow(t.Context(), w.id(), "", signalResume, nil))
	require.Empty(t, w.await(func(s State) bool { return s.Stopped == "" }).Unsettled)
}

// TestAFreezeUntilATimeIsWaitedFor has the wallet say when it ends.
func TestAFreezeUntilATimeIsWaitedFor(t *testing.T) {
	w := newWorld(t, &bank{})
	w.do(wallet.TypeSetThreshold, "watch", "20")
	w.apply(wallet.Command{ID: "freeze", Type: wallet.TypeFreeze, What: "credits", ExpiresIn: "9h"})
	w.do(wallet.TypeSubtract, "below", "6")
	s := w.await(func(s State) bool { return s.Stopped != "" })
	require.False(t, s.Until.IsZero())
}

// mocked is a workflow without servers: what is paid, and what the wallet then answers to the credit.
type mocked struct {
	*testsuite.TestWorkflowEnvironment
	t      *testing.T
	paid   []string
	policy Policy
}

func newMocked(t *testing.T, answers ...wallet.Result) *mocked {
	var suite testsuite.WorkflowTestSuite
	m := &mocked{suite.NewTestWorkflowEnvironment(), t, nil, Policy{"USD", "low", wallet.MustAmount("50.00"), wallet.MustAmount("60.00")}}
	m.SetStartTime(time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC))
	var a *Activities
	m.OnActivity(a.Pay, mock.Anything, mock.Anything).After(10 * time.Second).Return(func(_ context.Context, p Payment) error {
		m.paid = append(m.paid, p.Amount.String())
		return nil
	})
	m.OnActivity(a.Credit, mock.Anything, mock.Anything).Return(func(context.Context, Payment) (r wallet.Result, err error) {
		require.NotEmpty(t, answers, "one credit too many")
		r, answers = answers[0], answers[1:]
		return r, nil
	})
	m.OnActivity(a.Refund, mock.Anything, mock.Anything).Return(nil)
	return m
}

func credited(version int64, available string) wallet.Result {
	return wallet.Result{Status: wallet.StatusApplied, Version: version, TotalAfter: wallet.MustAmount(available), HoldAfter: wallet.MustAmount("0.00")}
}

func (m *mocked) at(after time.Duration, do func()) { m.RegisterDelayedCallback(do, after) }

func (m *mocked) notice(after time.Duration, version int64, available, threshold string) {
	m.at(after, func() {
		m.SignalWorkflow(signalNotice, Notice{version, wallet.MustAmount(available), wallet.MustAmount(threshold), m.policy})
	})
}

func (m *mocked) state() (s State) {
	value, err := m.QueryWorkflow("state")
	require.NoError(m.t, err)
	require.NoError(m.t, value.Get(&s))
	return s
}

// run cancels the workflow in the end.
func (m *mocked) run(end time.Duration) {
	m.at(end, m.CancelWorkflow)
	m.runs()
}

// runs runs it until it is cancelled.
func (m *mocked) runs() {
	m.ExecuteWorkflow(TopUp, Input{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}})
	require.True(m.t, temporal.IsCanceledError(m.GetWorkflowError()), "%v", m.GetWorkflowError())
}

// TestTheDailyCapEndsAtMidnightUTC goes on at midnight, and gives up waiting when the wallet is topped up by
// somebody else.
func TestTheDailyCapEndsAtMidnightUTC(t *testing.T) {
	m := newMocked(t, credited(200, "50.00"), credited(300, "50.00"))
	m.notice(time.Minute, 1, "10.00", "20.00")
	m.notice(2*time.Minute, 201, "5.00", "20.00")
	m.notice(3*time.Minute, 150, "60.00", "20.00") // late: a newer one was there
	m.at(30*time.Minute, func() {
		require.Equal(t, []string{"40.00"}, m.paid)
		require.Equal(t, "45.00 more would exceed the daily cap of 60.00: 40.00 was paid today", m.state().Stopped)
	})
	m.at(61*time.Minute, func() { require.Equal(t, []string{"40.00", "45.00"}, m.paid) })
	m.notice(62*time.Minute, 301, "0.00", "20.00")
	m.at(63*time.Minute, func() { require.NotEmpty(t, m.state().Stopped) })
	m.notice(64*time.Minute, 302, "70.00", "20.00")
	m.at(65*time.Minute, func() { require.Empty(t, m.state().Stopped) })
	m.run(66 * time.Minute)
	require.Equal(t, []string{"40.00", "45.00"}, m.paid)
}

// TestAThresholdThatArrivesAfterTheCreditCounts though its version is lower: it was set or removed
// while the payment was made.
func TestAThresholdThatArrivesAfterTheCreditCounts(t *testing.T) {
	for name, arrives := range map[string]time.Duration{"during the payment": 65 * time.Second, "after the credit": 2 * time.Minute} {
		t.Run(name+", set", func(t *testing.T) {
			m := newMocked(t, credited(200, "40.00"), credited(201, "50.00"))
			m.notice(time.Minute, 1, "10.00", "20.00")
			m.notice(arrives, 150, "0.00", "45.00")
			m.run(time.Hour)
			require.Equal(t, []string{"40.00", "10.00"}, m.paid)
		})
		t.Run(name+", set and an older one after it", func(t *testing.T) {
			m := newMocked(t, credited(200, "40.00"))
			m.notice(time.Minute, 1, "10.00", "20.00")
			m.notice(arrives, 150, "10.00", "25.00")
			m.notice(arrives+time.Second, 140, "10.00", "45.00")
			m.run(time.Hour)
			require.Equal(t, []string{"40.00"}, m.paid)
		})
	}
	t.Run("removed", func(t *testing.T) {
		m := newMocked(t, credited(200, "15.00")) // more was spent meanwhile
		m.notice(time.Minute, 1, "10.00", "20.00")
		m.notice(65*time.Second, 150, "10.00", "0.00")
		m.run(time.Hour)
		require.Equal(t, []string{"40.00"}, m.paid)
	})
}

// TestALoweredCapReachesARunningWorkflow with the next notice.
func TestALoweredCapReachesARunningWorkflow(t *testing.T) {
	m := newMocked(t, credited(200, "50.00"))
	m.policy.DailyCap = wallet.MustAmount("100.00")
	m.notice(time.Minute, 1, "10.00", "20.00")
	m.at(2*time.Minute, func() { m.policy.DailyCap = wallet.MustAmount("30.00") })
	m.notice(3*time.Minute, 201, "19.00", "20.00")
	m.at(4*time.Minute, func() {
		require.Equal(t, "31.00 more would exceed the daily cap of 30.00: 40.00 was paid today", m.state().Stopped)
	})
	m.run(5 * time.Minute)
	require.Equal(t, []string{"40.00"}, m.paid)
}

// TestAPolicyIsOfOneCurrency has a threshold of the same name in two.
func TestAPolicyIsOfOneCurrency(t *testing.T) {
	policy := Policy{"USD", "low", wallet.MustAmount("50.00"), wallet.MustAmount("60.00")}
	e := feed.Event{Event: trail.Event{Currency: "USD", Version: 7, TotalAfter: wallet.MustAmount("5.00"), Threshold: "low"}}
	n, concerns := noticeOf(e, policy)
	require.True(t, concerns)
	require.Equal(t, int64(7), n.Version)
	e.Currency = "JPY"
	_, concerns = noticeOf(e, policy)
	require.False(t, concerns)
}

// TestATopUpGoesOnWhenAFreezeEnds goes by how long it is, as clocks differ.
func TestATopUpGoesOnWhenAFreezeEnds(t *testing.T) {
	now := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // of Postgres
	frozen := wallet.Result{Status: wallet.StatusUnapplied, Reason: wallet.ReasonFrozen, RecordedAt: now}
	frozen.CreditsFrozenUntil = now.Add(time.Hour)
	m := newMocked(t, frozen, credited(200, "50.00"))
	m.notice(time.Minute, 1, "10.00", "20.00")
	m.at(59*time.Minute, func() {
		require.Equal(t, []string{"40.00"}, m.paid)
		require.NotEmpty(t, m.state().Stopped)
	})
	m.run(2 * time.Hour)
	require.Equal(t, []string{"40.00", "40.00"}, m.paid)
}

// TestACancelIsTheEnd of a wallet's top-ups, though it is below its threshold still. What is under way
// is finished.
func TestACancelIsTheEnd(t *testing.T) {
	t.Run("during a payment", func(t *testing.T) {
		m := newMocked(t, credited(200, "15.00"))
		m.policy.DailyCap = wallet.MustAmount("100.00")
		m.notice(time.Minute, 1, "10.00", "20.00")
		m.at(65*time.Second, m.CancelWorkflow)
		m.runs()
		require.Equal(t, []string{"40.00"}, m.paid)
	})
	t.Run("before the first", func(t *testing.T) {
		m := newMocked(t)
		m.at(0, m.CancelWorkflow)
		m.notice(0, 1, "10.00", "20.00")
		m.runs()
		require.Empty(t, m.paid)
	})
	t.Run("before the next run", func(t *testing.T) {
		m := newMocked(t, credited(200, "50.00"))
		m.notice(time.Minute, 1, "10.00", "20.00")
		m.at(65*time.Second, func() { m.SetContinueAsNewSuggested(true); m.CancelWorkflow() })
		m.runs()
		require.Equal(t, []string{"40.00"}, m.paid)
	})
}

// TestAResumeDuringAPaymentDoesNotHideItsOutcome resumes too early.
func TestAResumeDuringAPaymentDoesNotHideItsOutcome(t *testing.T) {
	m := newMocked(t, wallet.Result{Status: wallet.StatusUnapplied, Reason: wallet.ReasonIDConflict})
	m.notice(time.Minute, 1, "10.00", "20.00")
	m.at(65*time.Second, func() { m.SignalWorkflow(signalResume, nil) })
	m.at(2*time.Minute, func() { require.NotEmpty(t, m.state().Unsettled) })
	m.run(time.Hour)
	require.Equal(t, []string{"40.00"}, m.paid)
}
