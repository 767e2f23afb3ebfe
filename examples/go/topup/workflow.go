package main

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// Policy is how the wallets of a currency are topped up.
type Policy struct {
	Currency  string        `json:"currency"`  // of the amounts, and of no other
	Threshold string        `json:"threshold"` // name of the wallet's threshold
	Target    wallet.Amount `json:"target"`    // available after a top-up
	DailyCap  wallet.Amount `json:"daily_cap"` // of all top-ups of a day, in UTC
}

// Notice is what an event of the feed says of the wallet.
type Notice struct {
	Version   int64         `json:"version"`
	Available wallet.Amount `json:"available"`
	Threshold wallet.Amount `json:"threshold"` // 0 if it was removed
	// Policy is what counts from now on, however late the notice is.
	Policy Policy `json:"policy"`
}

// State is what a run hands to the next, and what the query "state" returns.
type State struct {
	Policy Policy `json:"policy"`

	Available wallet.Amount `json:"available"`
	Version   int64         `json:"version"` // of the wallet, when that was available
	Threshold wallet.Amount `json:"threshold"`
	// ThresholdVersion is the wallet's when it had that threshold. It is not Version: a credit says
	// nothing of the threshold, and what was set before the credit may arrive after it.
	ThresholdVersion int64 `json:"threshold_version"`

	Day  string        `json:"day"`  // of Paid
	Paid wallet.Amount `json:"paid"` // on that day
	// Stopped says why no top-up is made though the wallet is below its threshold; empty if that
	// is not so. It goes on at Until, if that is set, or when somebody sends the signal "resume".
	Stopped string    `json:"stopped,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	TopUps  int       `json:"top_ups"` // begun
	// Unsettled is the id of a payment that was made, and that somebody has to look into: nobody
	// knows whether it was credited. Only "resume" goes on.
	Unsettled string `json:"unsettled,omitempty"`
}

// Input starts the workflow of a wallet.
type Input struct {
	wallet.AssetRef
	State State `json:"state"`
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
		t.receive() // nothing yields from here to the end of a run, or a signal would be lost
		if err := t.show(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil { // cancelled during a payment, or as a signal arrived
			return err
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, TopUp, t.Input)
		}
		act := t.wait
		if t.isBelow() && t.State.Stopped == "" {
			act = t.topUpOnce
		}
		if err := act(ctx); err != nil {
			return err
		}
	}
}

func (t *topUp) isBelow() bool { return t.State.Available.Cmp(t.State.Threshold) < 0 }

// receive takes all signals that have arrived. Notices may come twice, and late.
func (t *topUp) receive() {
	var n Notice
	for t.notices.ReceiveAsync(&n) {
		t.notice(n)
	}
	for t.resumes.ReceiveAsync(nil) {
		t.resume()
	}
	if !t.isBelow() && t.State.Unsettled == "" { // somebody else has seen to it
		t.resume()
	}
}

func (t *topUp) resume() {
	t.State.Stopped, t.State.Until, t.State.Unsettled = "", time.Time{}, ""
}

func (t *topUp) notice(n Notice) {
	t.State.Policy = n.Policy
	t.balance(n.Version, n.Available)
	if n.Version > t.State.ThresholdVersion {
		t.State.Threshold, t.State.ThresholdVersion = n.Threshold, n.Version
	}
}

func (t *topUp) balance(version int64, available wallet.Amount) {
	if version > t.State.Version {
		t.State.Available, t.State.Version = available, version
	}
}

// wait waits for something to do.
func (t *topUp) wait(ctx workflow.Context) error {
	arrived := func() bool { return t.notices.Len() > 0 || t.resumes.Len() > 0 }
	if t.State.Until.IsZero() {
		return workflow.Await(ctx, arrived)
	}
	woken, err := workflow.AwaitWithTimeout(ctx, t.State.Until.Sub(workflow.Now(ctx)), arrived)
	if !woken {
		t.resume()
	}
	return err
}

// topUpOnce tops up by what is missing to the target, or says why not.
func (t *topUp) topUpOnce(ctx workflow.Context) error {
	s, a := &t.State, &Activities{}
	now := workflow.Now(ctx).UTC()
	if day := now.Format(time.DateOnly); day != s.Day {
		s.Day, s.Paid = day, wallet.Amount{}
	}
	if s.Policy.Target.Cmp(s.Threshold) < 0 {
		t.stop("the target of %s is below the threshold of %s", s.Policy.Target, s.Threshold)
		return nil
	}
	amount := s.Policy.Target.Sub(s.Available)
	if s.Paid.Add(amount).Cmp(s.Policy.DailyCap) > 0 {
		s.Until = now.Truncate(24 * time.Hour).Add(24 * time.Hour)
		t.stop("%s more would exceed the daily cap of %s: %s was paid today", amount, s.Policy.DailyCap, s.Paid)
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
		t.balance(r.Version, r.TotalAfter.Sub(r.HoldAfter).Add(r.CreditLimit))
		return nil
	}
	if r.Reason == wallet.ReasonIDConflict { // probably credited by an earlier attempt: a refund would give the money away
		s.Unsettled = p.ID
		t.stop("%s was paid, and the wallet has the id %s with other content: see what that is, settle the difference, then resume", amount, p.ID)
		return nil
	}
	if err := workflow.ExecuteActivity(ctx, a.Refund, p).Get(ctx, nil); err != nil {
		return err
	}
	s.Paid = s.Paid.Sub(amount)
	if until := r.CreditsFrozenUntil; r.Reason == wallet.ReasonFrozen && !until.IsZero() { // its end has no event
		s.Until = workflow.Now(ctx).Add(until.Sub(r.RecordedAt)) // both by Postgres's clock
	}
	t.stop("the wallet refused %s (%s), and the payment was refunded", amount, r.Reason)
	return nil
}

func (t *topUp) stop(format string, args ...any) {
	for t.resumes.ReceiveAsync(nil) { // sent before anybody could see this
	}
	t.State.Stopped = fmt.Sprintf(format, args...)
}

// show tells people what is going on: in the Web UI, and in the memo, which lists of workflows have.
func (t *topUp) show(ctx workflow.Context) error {
	s := t.State
	text := fmt.Sprintf("%s %s available, %s paid on %s in %d top-ups", s.Available, t.Currency, s.Paid, s.Day, s.TopUps)
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
