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
	next, summary := w.nextExpiry(), w.expirySummary()
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

// nextExpiry is when the next hold expires, or something of a grant.
func (w *walletAsset) nextExpiry() time.Time {
	hold, grant := w.carried.Asset.NextExpiry, w.carried.Asset.NextGrantExpiry
	if hold.IsZero() || !grant.IsZero() && grant.Before(hold) {
		return grant
	}
	return hold
}

// assetAt is the asset at a time: due holds and grants count as expired, whether or not the journal
// has the expiry yet, and freezes that have ended are gone. The run knows the five holds, and grants,
// that expire first.
func (w *walletAsset) assetAt(now time.Time) wallet.Asset {
	a := w.carried.Asset.Thawed(now)
	for _, h := range w.carried.NextHolds {
		if h.IsDue(now) {
			a.Due = a.Due.Add(h.Left())
			for _, part := range h.Grants {
				if g, known := w.nextGrant(part.Grant); known && g.IsPast(now) {
					a.DueGrants = a.DueGrants.Add(part.Amount)
				}
			}
		}
	}
	for _, g := range w.carried.NextGrants {
		if g.IsDue(now) {
			a.DueGrants = a.DueGrants.Add(g.Left)
		}
	}
	return a
}

func (w *walletAsset) nextGrant(number int64) (wallet.Grant, bool) {
	for _, g := range w.carried.NextGrants {
		if g.Number == number {
			return g, true
		}
	}
	return wallet.Grant{}, false
}

// expireHolds expires the holds and grants that are due, with a step without commands. If none is due yet,
// it starts the timer again. The end of a freeze needs no step, only to be shown.
func (w *walletAsset) expireHolds(ctx workflow.Context) error {
	w.expiry = expiryTimer{}
	w.expiryWait = min(max(2*w.expiryWait, minExpiryWait), maxExpiryWait)
	if next := w.nextExpiry(); !next.IsZero() && !workflow.Now(ctx).Before(next) {
		w.showDetails(ctx) // the step may keep failing for long
		if _, err := w.runSteps(ctx, []wallet.Received{}); err != nil {
			return err
		}
	}
	w.showDetails(ctx)
	if next := w.nextExpiry(); next.IsZero() || workflow.Now(ctx).Before(next) {
		w.expiryWait = 0
	}
	w.startExpiryTimer(ctx)
	return nil
}

func (w *walletAsset) expirySummary() string {
	if hold := w.carried.Asset.NextExpiry; hold.IsZero() || hold.After(w.nextExpiry()) {
		return "a grant expires"
	}
	return "a hold expires"
}
