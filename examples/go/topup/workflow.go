package main

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// Policy is how a wallet is topped up.
type Policy struct {
	Threshold string        `json:"threshold"` // name of the wallet's threshold
	Target    wallet.Amount `json:"target"`    // available after a top-up
	DailyCap  wallet.Amount `json:"daily_cap"` // of all top-ups of a day, in UTC
}

// Notice is what an event of the feed says of the wallet.
type Notice struct {
	Version   int64         `json:"version"`
	Available wallet.Amount `json:"available"`
	Threshold wallet.Amount `json:"threshold"` // 0 if it was removed
}

// State is what a run hands to the next, and what the query "state" returns.
type State struct {
	Last Notice        `json:"last"`
	Day  string        `json:"day"`  // of Paid
	Paid wallet.Amount `json:"paid"` // on that day
	// Stopped says why no top-up is made though the wallet is below its threshold; empty if that
	// is not so. It goes on at Until, if that is set, or when somebody sends the signal "resume".
	Stopped string    `json:"stopped,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	TopUps  int       `json:"top_ups"` // begun
}

// Input starts the workflow of a wallet.
type Input struct {
	wallet.AssetRef
	Policy Policy `json:"policy"`
	State  State  `json:"state"`
}

// Names of signals.
const (
	signalNotice = "notice"
	signalResume = "resume"
)

// topUp is a run of TopUp.
type topUp struct {
	Input
	notices, resumes workflow.ReceiveChannel
	shown            string // in the memo
}

// TopUp keeps one wallet above its threshold. It makes one top-up after the other, never two at once.
func TopUp(ctx workflow.Context, in Input) error {
	t := &topUp{Input: in, notices: workflow.GetSignalChannel(ctx, signalNotice), resumes: workflow.GetSignalChannel(ctx, signalResume), shown: in.State.Stopped}
	if err := workflow.SetQueryHandler(ctx, "state", func() (State, error) { return t.State, nil }); err != nil {
		return err
	}
	for {
		t.receive()
		if t.isBelow() && t.State.Stopped == "" {
			if err := t.next(ctx); err != nil {
				return err
			}
		}
		if err := t.show(ctx); err != nil {
			return err
		}
		t.receive() // nothing yields from here to the end of a run, or a signal would be lost
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, TopUp, t.Input)
		}
		if err := t.wait(ctx); err != nil {
			return err
		}
	}
}

func (t *topUp) isBelow() bool { return t.State.Last.Available.Cmp(t.State.Last.Threshold) < 0 }

// receive takes all signals that have arrived. Notices may come twice, and late.
func (t *topUp) receive() {
	var n Notice
	for t.notices.ReceiveAsync(&n) {
		t.notice(n)
	}
	for t.resumes.ReceiveAsync(nil) {
		t.State.Stopped, t.State.Until = "", time.Time{}
	}
	if !t.isBelow() { // somebody else has seen to it
		t.State.Stopped, t.State.Until = "", time.Time{}
	}
}

func (t *topUp) notice(n Notice) {
	if n.Version > t.State.Last.Version {
		t.State.Last = n
	}
}

// wait waits for something to do.
func (t *topUp) wait(ctx workflow.Context) error {
	arrived := func() bool {
		return t.notices.Len() > 0 || t.resumes.Len() > 0 || t.isBelow() && t.State.Stopped == ""
	}
	if t.State.Until.IsZero() {
		return workflow.Await(ctx, arrived)
	}
	some, err := workflow.AwaitWithTimeout(ctx, t.State.Until.Sub(workflow.Now(ctx)), arrived)
	if !some {
		t.State.Stopped, t.State.Until = "", time.Time{}
	}
	return err
}

// next tops up by what is missing to the target, or says why not.
func (t *topUp) next(ctx workflow.Context) error {
	s, a := &t.State, &Activities{}
	now := workflow.Now(ctx).UTC()
	if day := now.Format(time.DateOnly); day != s.Day {
		s.Day, s.Paid = day, wallet.Amount{}
	}
	if t.Policy.Target.Cmp(s.Last.Threshold) < 0 {
		t.stop("the target of %s is below the threshold of %s", t.Policy.Target, s.Last.Threshold)
		return nil
	}
	amount := t.Policy.Target.Sub(s.Last.Available)
	if left := t.Policy.DailyCap.Sub(s.Paid); amount.Cmp(left) > 0 {
		s.Until = now.Truncate(24 * time.Hour).Add(24 * time.Hour)
		t.stop("the daily cap of %s leaves %s, and %s are needed", t.Policy.DailyCap, left, amount)
		return nil
	}
	s.TopUps++
	p := Payment{ID: fmt.Sprintf("top-up-%s-%d", workflow.GetInfo(ctx).FirstRunID, s.TopUps), AssetRef: t.AssetRef, Amount: amount}
	// What is paid is credited or refunded, even if the workflow is cancelled meanwhile.
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, Summary: p.ID})
	if err := workflow.ExecuteActivity(ctx, a.Pay, p).Get(ctx, nil); err != nil { // all other failures are tried again
		t.stop("the payment of %s was declined", amount)
		return nil
	}
	s.Paid = s.Paid.Add(amount)
	var r wallet.Result
	if err := workflow.ExecuteActivity(ctx, a.Credit, p).Get(ctx, &r); err != nil {
		return err
	}
	if r.Status == wallet.StatusApplied { // it may be below the threshold still: who knows what was spent meanwhile
		t.notice(Notice{r.Version, r.TotalAfter.Sub(r.HoldAfter).Add(r.CreditLimit), s.Last.Threshold})
		return nil
	}
	if err := workflow.ExecuteActivity(ctx, a.Refund, p).Get(ctx, nil); err != nil {
		return err
	}
	s.Paid = s.Paid.Sub(amount)
	t.stop("the wallet refused %s (%s), and the payment was refunded", amount, r.Reason)
	return nil
}

func (t *topUp) stop(format string, args ...any) { t.State.Stopped = fmt.Sprintf(format, args...) }

// show tells people what is going on: in the Web UI, and in the memo, which lists of workflows have.
func (t *topUp) show(ctx workflow.Context) error {
	s := t.State
	text := fmt.Sprintf("%s %s available, %s paid on %s in %d top-ups", s.Last.Available, t.Currency, s.Paid, s.Day, s.TopUps)
	if s.Stopped != "" {
		text += "\n\n> **Stopped:** " + s.Stopped + "."
	}
	workflow.SetCurrentDetails(ctx, text)
	if s.Stopped == t.shown {
		return nil
	}
	t.shown = s.Stopped
	return workflow.UpsertMemo(ctx, map[string]any{"stopped": s.Stopped})
}
