package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

func TestMain(m *testing.M) { testenv.Main(m) }

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
	t          *testing.T
	connection client.Client
	wallets    *starter.Client
	read       trail.Reader
	bank       *bank
	user       string
}

func newWorld(t *testing.T, b *bank) *world {
	url, queue := testenv.DatabaseURL(t), testenv.Unique(t, "queue")
	pool := testenv.Pool(t, testenv.AppURL(t, url))
	connection := testenv.Temporal(t)
	s, err := service.Start(t.Context(), service.Options{Temporal: connection, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: queue, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	wallets, err := starter.New(connection, starter.Options{TaskQueue: queue})
	require.NoError(t, err)
	own := testenv.Unique(t, "top-up")
	w := newWorker(connection, own, &Activities{wallets, b})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	ctx, stop := context.WithCancel(context.Background())
	consuming, owner := make(chan error, 1), testenv.Pool(t, url)
	go func() {
		consuming <- consume(ctx, owner, connection, own, Policy{Threshold: "low", Target: wallet.MustAmount("50.00"), DailyCap: wallet.MustAmount("100.00")})
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-consuming) })
	b.paid = map[string]wallet.Amount{}
	// The consumer begins with new events, so wait until it is there.
	require.Eventually(t, func() (is bool) {
		require.NoError(t, owner.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM wallet_feed_consumers)`).Scan(&is))
		return is
	}, time.Minute, 10*time.Millisecond)
	x := &world{t, connection, wallets, trail.New(pool), b, testenv.Unique(t, "u")}
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
		value, err := w.connection.QueryWorkflow(w.t.Context(), w.id(), "", "state")
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
	url, queue := testenv.DatabaseURL(t), testenv.Unique(t, "queue")
	s, err := service.Start(t.Context(), service.Options{
		Temporal: testenv.Temporal(t), Namespace: client.DefaultNamespace, Pool: testenv.Pool(t, testenv.AppURL(t, url)), TaskQueue: queue, Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	t.Setenv("WALLET_DATABASE_URL", url)
	t.Setenv("TEMPORAL_ADDRESS", testenv.TemporalAddress(t))
	t.Setenv("WALLET_TASK_QUEUE", queue)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	require.Equal(t, "spent to 19.00: topped up by 31.00 to 50.00\nspent to 10.00: stopped, the daily cap of 60.00 leaves 29.00, and 40.00 are needed\n", out.String())
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
	s := w.await(func(s State) bool { return s.Last.Available.String() == "45.00" })
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

// TestAThresholdThatIsSetAboveTheBalance crosses nothing, and the wallet is topped up all the same.
func TestAThresholdThatIsSetAboveTheBalance(t *testing.T) {
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
	s := w.await(func(s State) bool { return s.Last.Available.String() == "50.00" })
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
		d, err := w.connection.DescribeWorkflow(t.Context(), w.id(), "")
		require.NoError(t, err)
		var reason string
		field, known := d.Memo.GetFields()["stopped"]
		return known && converter.GetDefaultDataConverter().FromPayload(field, &reason) == nil && reason == stopped.Stopped
	}, time.Minute, 20*time.Millisecond, "the memo says so")
	b.declines(false)
	require.NoError(t, w.connection.SignalWorkflow(t.Context(), w.id(), "", signalResume, nil))
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

// TestTheCapIsOfADay goes on at midnight, and gives up waiting when the wallet is topped up by
// somebody else.
func TestTheCapIsOfADay(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC))
	var a *Activities
	var paid []string
	env.OnActivity(a.Pay, mock.Anything, mock.Anything).Return(func(_ context.Context, p Payment) error {
		paid = append(paid, p.Amount.String())
		return nil
	})
	version := int64(100)
	env.OnActivity(a.Credit, mock.Anything, mock.Anything).Return(func(_ context.Context, p Payment) (wallet.Result, error) {
		version += 100
		return wallet.Result{Status: wallet.StatusApplied, Version: version, TotalAfter: wallet.MustAmount("50.00"), HoldAfter: wallet.MustAmount("0.00")}, nil
	})
	notice := func(version int64, available string) func() {
		return func() {
			env.SignalWorkflow(signalNotice, Notice{version, wallet.MustAmount(available), wallet.MustAmount("20.00")})
		}
	}
	state := func() (s State) {
		value, err := env.QueryWorkflow("state")
		require.NoError(t, err)
		require.NoError(t, value.Get(&s))
		return s
	}
	env.RegisterDelayedCallback(notice(1, "10.00"), time.Minute)
	env.RegisterDelayedCallback(notice(201, "5.00"), 2*time.Minute)
	env.RegisterDelayedCallback(notice(150, "60.00"), 3*time.Minute) // late: a newer one was there
	env.RegisterDelayedCallback(func() {
		require.Equal(t, []string{"40.00"}, paid)
		require.Equal(t, "the daily cap of 60.00 leaves 20.00, and 45.00 are needed", state().Stopped)
	}, 30*time.Minute)
	env.RegisterDelayedCallback(func() { require.Equal(t, []string{"40.00", "45.00"}, paid) }, 61*time.Minute)
	env.RegisterDelayedCallback(notice(301, "0.00"), 62*time.Minute)
	env.RegisterDelayedCallback(func() { require.NotEmpty(t, state().Stopped) }, 63*time.Minute)
	env.RegisterDelayedCallback(notice(302, "70.00"), 64*time.Minute)
	env.RegisterDelayedCallback(func() { require.Empty(t, state().Stopped); env.CancelWorkflow() }, 65*time.Minute)
	env.ExecuteWorkflow(TopUp, Input{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}, Policy: Policy{"low", wallet.MustAmount("50.00"), wallet.MustAmount("60.00")}})
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()))
	require.Equal(t, []string{"40.00", "45.00"}, paid)
}
