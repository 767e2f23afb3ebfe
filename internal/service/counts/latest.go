package counts

import (
	"context"
	"time"
)

// Latest is the latest time of an entry in the wallets that a step has locked. Steps run in one
// goroutine each.
type Latest struct {
	Time     time.Time
	Position int64 // of the entry, in its wallet
}

type latestKey struct{}

// WithLatest returns a context for a step that notes it, and what it will have noted.
func WithLatest(ctx context.Context) (context.Context, *Latest) {
	l := &Latest{}
	return context.WithValue(ctx, latestKey{}, l), l
}

// NoteLatest notes the last entry of a wallet, if the context is of WithLatest.
func NoteLatest(ctx context.Context, at time.Time, position int64) {
	if l, ok := ctx.Value(latestKey{}).(*Latest); ok && at.After(l.Time) {
		l.Time, l.Position = at, position
	}
}
