package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/payloads"
)

const (
	// maxSignals limits the signals of a run: the server refuses the 10,001st, and ignores
	// signals when it decides whether to suggest continue-as-new.
	maxSignals = 2000
	// maxReplies limits the replies in progress: the server fails a workflow task that would
	// bring the pending signals to other workflows above 2,000.
	maxReplies = 1500
	// replyTimeout is how long a wallet waits for replies to be delivered before it goes on
	// without them. The server delivers them in milliseconds, or not at all.
	replyTimeout = 10 * time.Second
	// minIdleWait is the shortest time before an idle wallet checks again whether its holds have
	// expired.
	minIdleWait = time.Hour
	// maxRecent results are kept for the query "result".
	maxRecent = 100
)

// WalletAssetInput starts a WalletAsset workflow. Callers send user_id, currency, and
// optionally idle_timeout ("24h"): after that long without a command the workflow completes,
// and the next command starts it again.
type WalletAssetInput struct {
	wallet.AssetRef
	IdleTimeout wallet.Duration `json:"idle_timeout,omitzero"`
	Carried     *Carried        `json:"carried,omitempty"`
}

// Carried is everything that a run passes to the next with continue-as-new.
type Carried struct {
	Asset        wallet.Asset      `json:"asset"`
	Queue        []wallet.Received `json:"queue,omitempty"` // commands whose answer nobody awaits
	Counts       wallet.Counts     `json:"counts"`
	Recent       []wallet.Result   `json:"recent,omitempty"`
	NextHolds    []wallet.Hold     `json:"next_holds,omitempty"`  // open holds, next to expire first
	NextGrants   []wallet.Grant    `json:"next_grants,omitempty"` // open grants, next to expire first
	LastActivity time.Time         `json:"last_activity"`
	Lost         *LostEntries      `json:"lost,omitempty"`
	// Stale says that others have changed the wallet's row since it was read.
	Stale bool `json:"stale,omitempty"`
}

// LostEntries is what a wallet saw when its journal had lost entries: the head that it had seen,
// and the one that was there after the next step.
type LostEntries struct {
	Seen  wallet.Head `json:"seen"`
	Found wallet.Head `json:"found"`
	At    time.Time   `json:"at"`
}

// remember keeps the last results.
func (c *Carried) remember(results []wallet.Result) {
	var last []wallet.Result
	for i := len(results) - 1; i >= 0 && len(last) < maxRecent; i-- {
		if results[i].Reason != wallet.ReasonIDConflict { // otherwise a stray command would hide the result of the command with that id
			last = append(last, results[i])
		}
	}
	slices.Reverse(last)
	if tooMany := len(c.Recent) + len(last) - maxRecent; tooMany > 0 {
		c.Recent = slices.Delete(c.Recent, 0, tooMany)
	}
	c.Recent = append(c.Recent, last...)
}

// startInput is WalletAssetInput as it is read: a field that cannot be used must not fail the
// run, which would lose the commands that came with its start.
type startInput struct {
	wallet.AssetRef
	IdleTimeout jsontext.Value `json:"idle_timeout"`
	Carried     jsontext.Value `json:"carried"`
}

// decodeInput reads the input of a run, from the previous run if it was continued, else from a
// caller. It returns what it ignores, and why.
func decodeInput(payload converter.RawValue, continued bool) (input WalletAssetInput, ignored string, err error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return input, "", err
	}
	var start startInput
	if err := wallet.DecodeStart(data, &start); err != nil {
		return input, "", err
	}
	input.AssetRef = start.AssetRef
	if err := wallet.ValidateWallet(input.UserID, input.Currency); err != nil {
		return input, "", err
	}
	if len(start.IdleTimeout) > 0 {
		if err := json.Unmarshal(start.IdleTimeout, &input.IdleTimeout); err != nil {
			ignored = fmt.Sprintf(`idle_timeout %.60s is not a duration such as "24h": this wallet has none`, start.IdleTimeout)
		}
	}
	switch {
	case len(start.Carried) == 0:
	case !continued:
		// Balances, results and a queue that nobody has checked.
		ignored = "carried is for continue-as-new alone: it is ignored"
	default:
		return input, ignored, wallet.DecodeStart(data, &input)
	}
	return input, ignored, nil
}

func (w *walletAsset) shouldContinueAsNew(ctx workflow.Context) bool {
	return w.signalsReceived >= maxSignals || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

func (w *walletAsset) noticeEnd(ctx workflow.Context) {
	w.bounds.noticeEnd(ctx, w.shouldContinueAsNew(ctx))
}

func (w *walletAsset) continueAsNew(ctx workflow.Context) error {
	carried := w.carried
	for _, q := range w.queue {
		carried.Queue = append(carried.Queue, q.received)
	}
	return workflow.NewContinueAsNewError(ctx, wallet.WorkflowWalletAsset, WalletAssetInput{
		AssetRef: w.ref, IdleTimeout: wallet.Duration{Duration: w.idleTimeout}, Carried: &carried,
	})
}

// isSoon reports whether the timeout of a run, if it has one, can matter. When it passes, the
// server ends the run with the commands that are in it.
func isSoon(timeout time.Duration) bool { return timeout > 0 && timeout < 365*24*time.Hour }

// idleTimer fires once when the wallet may have been idle for long enough. It is
// not restarted for each command, which would cost two events each: when it
// fires, it is started again for the rest of the time.
type idleTimer struct {
	fired workflow.Future // nil without an idle timeout
	over  bool            // the idle timeout has passed
}

func (t idleTimer) isDue() bool { return t.over || t.fired != nil && t.fired.IsReady() }

// endsIdle reports whether the idle timeout has passed since the last activity and no hold is
// still due to expire. If the timer fired too early, it starts it again for the rest.
func (w *walletAsset) endsIdle(ctx workflow.Context) bool {
	if !w.idle.isDue() {
		return false
	}
	if !w.nextExpiry().IsZero() { // the hold may be captured or released before
		w.idle = idleTimer{fired: workflow.NewTimer(ctx, max(w.idleTimeout, minIdleWait))}
		return false
	}
	w.startIdleTimer(ctx)
	return w.idle.isDue()
}

func (w *walletAsset) startIdleTimer(ctx workflow.Context) {
	w.idle = idleTimer{}
	if w.idleTimeout == 0 {
		return
	}
	left := w.carried.LastActivity.Add(w.idleTimeout).Sub(workflow.Now(ctx))
	if left <= 0 {
		w.idle.over = true
	} else {
		w.idle.fired = workflow.NewTimer(ctx, left)
	}
}
