package examples

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

var (
	subscribers = flag.Int("subscribers", 33, "of the simulation of examples/go/subscription")
	months      = flag.Int("months", 6, "that each of them has it")
	month       = flag.Duration("month", 9*time.Second, "how long one takes")
	faultEvery  = flag.Duration("fault-every", 5*time.Second, "pause between faults; 0 for none")
)

// TestSubscribersPayEachPeriodOnce lives through half a year in which workers of both programs are
// killed, and Postgres and Temporal stop. "make test-subscribers" has a larger one.
func TestSubscribersPayEachPeriodOnce(t *testing.T) {
	if os.Getenv("WALLET_TEST_SUBSCRIBERS") == "" {
		t.Skip(`run by "make test-subscribers"`)
	}
	y := startYear(t)
	faults, stopFaults := context.WithCancel(t.Context())
	var observers, lives sync.WaitGroup
	observers.Go(func() { y.inflict(faults) })
	for i := range *subscribers {
		lives.Go(func() { y.live(newSubscriber(y, i)) })
	}
	lives.Go(func() {
		y.until(3.5)
		y.exec(`UPDATE subscription.plans SET price = 12.00 WHERE id = 'basic'`)
	})
	lives.Go(func() { // those who have it wait
		y.until(4.6)
		y.exec(`CREATE TABLE IF NOT EXISTS outside.gone AS SELECT * FROM subscription.plans WHERE id = 'pro'`)
		y.exec(`DELETE FROM subscription.plans WHERE id = 'pro'`)
		y.until(4.9)
		y.exec(`INSERT INTO subscription.plans SELECT * FROM outside.gone ON CONFLICT DO NOTHING`)
	})
	y.until(float64(*months))
	stopFaults()
	observers.Wait()
	lives.Wait() // until all subscriptions have ended
	y.awaitFeed()
	y.check()
}

// clock and state are what the program's workflow is started with, and the end of its result.
type clock struct {
	Real  time.Time `json:"real"`
	Shown time.Time `json:"shown"`
	Speed int64     `json:"speed"`
}

type state struct {
	ID         string    `json:"id"`
	Subscriber string    `json:"subscriber"`
	Plan       string    `json:"plan"`
	TimeZone   string    `json:"time_zone"`
	Clock      clock     `json:"clock"`
	Started    time.Time `json:"started"`
	Ended      string    `json:"ended,omitempty"`
}

const endedWithoutPlan = "there is no plan"

// subscriber is one of some kind: what happens to it follows from that.
type subscriber struct {
	y         *year
	kind      string
	start     state
	ups       int
	updates   int
	cancelled time.Time // when it was asked for
	closed    time.Time // when the workflow ended
	ended     string
}

var (
	kinds = []string{"rich", "rich", "late", "poor", "cancels", "upgrades", "downgrades", "cheaper", "gives up", "frozen", "restarted"}
	zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata"}
)

// newSubscriber begins some time in the first month, but not in the hours that a change to summer time
// leaves out or one to winter time repeats: no period then begins in them.
func newSubscriber(y *year, i int) *subscriber {
	s := &subscriber{y: y, kind: kinds[i%len(kinds)]}
	plan := "basic"
	if s.kind == "downgrades" || s.kind == "cheaper" {
		plan = "pro"
	}
	const days = 30
	zone, err := time.LoadLocation(zones[i%len(zones)])
	require.NoError(y.t, err)
	began := y.epoch.Add(days * 24 * time.Hour / time.Duration(*subscribers) * time.Duration(i)).Truncate(time.Second)
	if hour := began.In(zone).Hour(); hour == 1 || hour == 2 {
		began = began.Add(2 * time.Hour)
	}
	s.start = state{
		ID: fmt.Sprint("order-", i), Subscriber: fmt.Sprint("subscriber-", i), Plan: plan, TimeZone: zone.String(),
		Clock: clock{Real: y.began, Shown: y.epoch, Speed: y.speed}, Started: began,
	}
	y.mu.Lock()
	y.all = append(y.all, s)
	y.mu.Unlock()
	return s
}

func (s *subscriber) topUp(amount int) {
	s.ups++
	change := starter.Change{UserID: s.start.Subscriber, Currency: "USD", CommandID: fmt.Sprint("top-up-", s.ups), Amount: wallet.MustAmount(fmt.Sprint(amount))}
	s.y.try("a top-up", func(ctx context.Context) error { _, err := s.y.wallets.Add(ctx, change); return err })
	s.y.topUps.Add(int64(amount))
}

// command sends one to the wallet.
func (s *subscriber) command(c wallet.Command) {
	s.y.try(c.ID, func(ctx context.Context) error {
		_, err := s.y.wallets.Apply(ctx, s.start.Subscriber, "USD", c)
		return err
	})
}

func (s *subscriber) workflowID() string { return "subscription/" + s.start.Subscriber }

func (s *subscriber) subscribe(as any) {
	s.y.try("a subscription", func(ctx context.Context) error {
		_, err := s.y.direct.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: s.workflowID(), TaskQueue: "subscriptions"}, "Subscription", as)
		return err
	})
}

// update may be refused: the subscription has ended, or the plan is gone.
func (s *subscriber) update(name string, argument any) {
	s.updates++
	id := fmt.Sprint(s.start.ID, "-", s.updates) // one, however often it is sent
	s.y.try(name, func(ctx context.Context) error {
		handle, err := s.y.direct.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: s.workflowID(), UpdateID: id, UpdateName: name, Args: []any{argument}, WaitForStage: client.WorkflowUpdateStageCompleted})
		if err == nil {
			err = handle.Get(ctx, nil)
		}
		var failure *temporal.ApplicationError
		var gone *serviceerror.NotFound
		if errors.As(err, &gone) || errors.As(err, &failure) { // which is the answer to this id for good
			return nil
		}
		return err
	})
}

// at waits for a moment, in months from the subscription's beginning.
func (s *subscriber) at(months float64) {
	time.Sleep(time.Until(s.y.real(s.start.Started).Add(time.Duration(months * float64(*month)))))
}

// cancel ends the subscription with its period.
func (s *subscriber) cancel() {
	if s.cancelled.IsZero() {
		s.cancelled = time.Now()
	}
	s.update("cancel_at_period_end", true)
}

// live is what a subscriber does in the year.
func (y *year) live(s *subscriber) {
	const day = 12.0 / 365
	s.at(0)
	funds := 1000
	switch s.kind {
	case "late", "poor", "gives up":
		funds = 35 // for three months
	case "cheaper":
		funds = 95
	}
	s.topUp(funds)
	s.subscribe(s.start)
	switch s.kind {
	case "late":
		s.at(3 + 2*day)
		s.topUp(1000)
	case "cancels":
		s.at(3.5)
		s.cancel()
	case "upgrades":
		s.at(2.3)
		s.update("change_plan", map[string]any{"plan": "pro"})
	case "downgrades":
		s.at(2.6)
		s.update("change_plan", map[string]any{"plan": "basic"})
		s.at(4.2)
		s.update("change_plan", map[string]any{"plan": "pro"})
		s.at(5.2)
		s.update("change_plan", map[string]any{"plan": "basic", "at_period_end": true})
	case "cheaper": // has 5.00 left when the fourth month begins
		s.at(3 + day)
		s.topUp(10)
		s.update("change_plan", map[string]any{"plan": "basic"})
	case "gives up":
		s.at(3 + 2*day)
		s.cancel()
	case "frozen":
		s.at(1.5)
		s.command(wallet.Command{ID: "freeze", Type: wallet.TypeFreeze, What: "debits"})
		s.at(2 + 4*day)
		s.command(wallet.Command{ID: "unfreeze", Type: wallet.TypeUnfreeze})
	case "restarted":
		s.at(2.5)
		var last map[string]any // all of it
		y.try("the last state", func(ctx context.Context) error {
			value, err := y.direct.QueryWorkflow(ctx, s.workflowID(), "", "state")
			if err == nil {
				err = value.Get(&last)
			}
			return err
		})
		y.try("a termination", func(ctx context.Context) error {
			err := y.direct.TerminateWorkflow(ctx, s.workflowID(), "", "test")
			var gone *serviceerror.NotFound
			if errors.As(err, &gone) {
				return nil
			}
			return err
		})
		s.subscribe(last)
	}
	s.at(float64(*months) - 0.5)
	s.cancel()
	s.at(float64(*months) + 0.1)
	var last state
	y.try("the end of "+s.workflowID(), func(ctx context.Context) error {
		err := y.direct.GetWorkflow(ctx, s.workflowID(), "").Get(ctx, &last)
		var failed *temporal.WorkflowExecutionError
		if errors.As(err, &failed) && strings.Contains(err.Error(), endedWithoutPlan) { // it began late, while pro was gone
			last.Ended = endedWithoutPlan
			return nil
		}
		return err
	})
	y.try("when it ended", func(ctx context.Context) error {
		described, err := y.direct.DescribeWorkflow(ctx, s.workflowID(), "")
		if err == nil {
			s.ended, s.closed = last.Ended, *described.WorkflowCloseTime
		}
		return err
	})
}
