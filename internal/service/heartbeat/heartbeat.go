// Package heartbeat tells Temporal that an activity is still at work, so that the death of its
// worker is noticed long before the activity's time is over.
package heartbeat

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
)

// Timeout is the heartbeat timeout of the activities that call Keep.
const Timeout = 10 * time.Second

// Every is well below Timeout.
const Every = 3 * time.Second

// Keep sends heartbeats until stop is called. In a local activity, and outside of any, it does
// nothing.
func Keep(ctx context.Context, every time.Duration) (stop func()) {
	if !activity.IsActivity(ctx) || activity.GetInfo(ctx).IsLocalActivity {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}
