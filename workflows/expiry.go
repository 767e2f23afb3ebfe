package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// minExpiryWait is how long a wallet waits before it asks again, where its clock is ahead of
// Postgres's and a hold is not due there yet.
const (
	minExpiryWait = time.Second
	maxExpiryWait = 30 * time.Second
)

// expiryTimer fires when the next hold of the wallet expires. There is one at a time: a hold
// that expires later leaves it alone, and one that is closed lets it fire in vain, so that no
// command costs an event for it.
type expiryTimer struct {
	at     time.Time
	fired  workflow.Future // nil if none is running
	cancel workflow.CancelFunc
}

func (t expiryTimer) isDue() bool { return t.fired != nil && t.fired.IsReady() }

// startExpiryTimer makes sure that the timer fires when the next hold expires, or before.
func (w *walletAsset) startExpiryTimer(ctx workflow.Context) {
	next := w.carried.Asset.NextExpiry
	if next.IsZero() || w.expiry.fired != nil && !w.expiry.at.After(next) {
		return
	}
	if w.expiry.fired != nil {
		w.expiry.cancel()
	}
	timerCtx, cancel := workflow.WithCancel(ctx)
	wait := max(next.Sub(workflow.Now(ctx)), minExpiryWait, w.expiryWait)
	w.expiry = expiryTimer{next, workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: "a hold expires"}), cancel}
}

// expireHolds lets the holds expire whose time is over: a step without commands does that.
// Where none is due by now, the timer is started again.
func (w *walletAsset) expireHolds(ctx workflow.Context) error {
	w.expiry = expiryTimer{}
	w.expiryWait = min(max(2*w.expiryWait, minExpiryWait), maxExpiryWait)
	if next := w.carried.Asset.NextExpiry; !next.IsZero() && !workflow.Now(ctx).Before(next) {
		if _, err := w.runSteps(ctx, []wallet.Received{}); err != nil {
			return err
		}
		w.showDetails(ctx)
	}
	if next := w.carried.Asset.NextExpiry; next.IsZero() || workflow.Now(ctx).Before(next) {
		w.expiryWait = 0
	}
	w.startExpiryTimer(ctx)
	return nil
}
