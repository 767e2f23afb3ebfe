package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// minExpiryWait is how long a wallet waits before it asks again, if its clock is ahead of
// Postgres's, by which the hold is not due yet.
const (
	minExpiryWait = time.Second
	maxExpiryWait = 30 * time.Second
)

// expiryTimer fires when the wallet's next hold expires or a freeze ends. There is only one at a time. A later
// hold does not change it, and if its hold is closed it still fires and finds nothing to do:
// that way most commands cost no timer event.
type expiryTimer struct {
	at     time.Time
	fired  workflow.Future // nil if none is running
	cancel workflow.CancelFunc
}

func (t expiryTimer) isDue() bool { return t.fired != nil && t.fired.IsReady() }

// startExpiryTimer makes sure that the timer fires no later than the next expiry.
func (w *walletAsset) startExpiryTimer(ctx workflow.Context) {
	next, summary := w.carried.Asset.NextExpiry, "a hold expires"
	if thaw := w.assetAt(workflow.Now(ctx)).NextThaw(); !thaw.IsZero() && (next.IsZero() || thaw.Before(next)) {
		next, summary = thaw, "a freeze ends"
	}
	if next.IsZero() || w.expiry.fired != nil && !w.expiry.at.After(next) {
		return
	}
	if w.expiry.fired != nil {
		w.expiry.cancel()
	}
	timerCtx, cancel := workflow.WithCancel(ctx)
	wait := max(next.Sub(workflow.Now(ctx)), minExpiryWait, w.expiryWait)
	w.expiry = expiryTimer{next, workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: summary}), cancel}
}

// assetAt is the asset at a time: due holds count as expired, whether or not the journal has the
// expiry yet, and freezes that have ended are gone. The run knows the five holds that expire first.
func (w *walletAsset) assetAt(now time.Time) wallet.Asset {
	a := w.carried.Asset.Thawed(now)
	for _, h := range w.carried.NextHolds {
		if h.IsDue(now) {
			a.Due = a.Due.Add(h.Left())
		}
	}
	return a
}

// expireHolds expires the holds that are due, with a step without commands. If none is due yet,
// it starts the timer again. The end of a freeze needs no step, only to be shown.
func (w *walletAsset) expireHolds(ctx workflow.Context) error {
	w.expiry = expiryTimer{}
	w.expiryWait = min(max(2*w.expiryWait, minExpiryWait), maxExpiryWait)
	if next := w.carried.Asset.NextExpiry; !next.IsZero() && !workflow.Now(ctx).Before(next) {
		w.showDetails(ctx) // the step may keep failing for long
		if _, err := w.runSteps(ctx, []wallet.Received{}); err != nil {
			return err
		}
	}
	w.showDetails(ctx)
	if next := w.carried.Asset.NextExpiry; next.IsZero() || workflow.Now(ctx).Before(next) {
		w.expiryWait = 0
	}
	w.startExpiryTimer(ctx)
	return nil
}
