package workflows

import (
	"time"

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
	// maxRecent is how many results are kept for the query "result".
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
	Queue        []wallet.Received `json:"queue,omitempty"` // commands that nobody awaits an answer for
	Counts       wallet.Counts     `json:"counts"`
	Recent       []wallet.Result   `json:"recent,omitempty"`
	NextHolds    []wallet.Hold     `json:"next_holds,omitempty"` // open holds, next to expire first
	LastActivity time.Time         `json:"last_activity"`
}

func (c *Carried) remember(r wallet.Result) {
	if len(c.Recent) == maxRecent {
		c.Recent = append(c.Recent[:0], c.Recent[1:]...)
	}
	c.Recent = append(c.Recent, r)
}

func decodeInput(payload converter.RawValue) (WalletAssetInput, error) {
	var input WalletAssetInput
	data, err := payloads.JSON(payload)
	if err != nil {
		return input, err
	}
	if err := wallet.DecodeStart(data, &input); err != nil {
		return input, err
	}
	return input, wallet.ValidateWallet(input.UserID, input.Currency)
}

func (w *walletAsset) mustContinueAsNew(ctx workflow.Context) bool {
	return w.signalsReceived >= maxSignals || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
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

// idleTimer fires once the wallet may have been idle for long enough. It is not restarted for
// each command, which would cost two history events each. If it fires too early, it starts
// again for the remaining time.
type idleTimer struct {
	fired workflow.Future // nil without an idle timeout
	over  bool            // the idle timeout has passed
}

func (t idleTimer) isDue() bool { return t.over || t.fired != nil && t.fired.IsReady() }

// isIdle reports whether the idle timeout has passed since the last activity and no hold is
// still due to expire. If the timer fired too early, it starts it again for the rest.
func (w *walletAsset) isIdle(ctx workflow.Context) bool {
	if !w.idle.isDue() {
		return false
	}
	if next := w.carried.Asset.NextExpiry; next.After(w.carried.LastActivity) {
		w.carried.LastActivity = next
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
