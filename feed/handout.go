package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// handout hands events to a Handler in parts, until it is known which events the Handler
// fails for. All of it is one transaction: what a failed call did through it is undone,
// what the others did is kept.
type handout struct {
	tx     pgx.Tx
	handle Handler

	// More wallets that fail are taken for an outage, even if others succeed: a handler may
	// have nothing to do for these. While nothing has succeeded, it is over after a while and
	// after fewer.
	wallets int
	until   time.Time

	succeeded bool // at least one event
	failed    map[wallet.AssetRef]failure
}

// failure is an event that a Handler failed for when it was given nothing else.
type failure struct {
	event Event
	err   error
}

// An OutageError says that a Handler failed for too many wallets at once, or for every one
// that it was given, so that nothing tells a bad event from a service that is down. No wallet
// is parked for it.
type OutageError struct {
	alone bool // there was no second wallet to try
	err   error
}

func (e *OutageError) Error() string {
	if e.alone {
		return fmt.Sprintf("%s (no other wallet has events that would tell a bad event from an outage, so nothing is parked)", e.err)
	}
	return fmt.Sprintf("%s (the handler fails for more wallets, which is taken for an outage, so nothing is parked)", e.err)
}

func (e *OutageError) Unwrap() error { return e.err }

// give hands out events. Where the Handler fails for them it gives it half of the wallets,
// then the other half, and so on down to a single wallet, and of that first the older half
// of the events: behind an event that fails, no later one of its wallet is handed out. It
// fails if the database does, or in an outage.
func (h *handout) give(ctx context.Context, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	refused, err := h.try(ctx, events)
	switch {
	case err != nil:
		return err
	case refused == nil:
		h.succeeded = true
		return nil
	case len(events) == 1:
		h.failed[events[0].ref()] = failure{events[0], refused}
	}
	if len(h.failed) > h.wallets || !h.succeeded && (len(h.failed) > mostProbes || time.Now().After(h.until)) {
		return &OutageError{false, refused}
	}
	if len(events) == 1 {
		return nil
	}
	first, second := halves(events)
	if err := h.give(ctx, first); err != nil {
		return err
	}
	return h.give(ctx, slices.DeleteFunc(second, func(e Event) bool {
		_, failed := h.failed[e.ref()]
		return failed
	}))
}

// outage is the error where no event of any wallet succeeded.
func (h *handout) outage() error {
	for _, f := range h.failed {
		return &OutageError{len(h.failed) == 1, f.err}
	}
	return nil
}

// halves divides events by their wallets, at random, so that a few bad wallets that stand
// together do not look like an outage each time. Those of a single wallet it divides in
// their order.
func halves(events []Event) (first, second []Event) {
	var wallets []wallet.AssetRef
	isFirst := map[wallet.AssetRef]bool{}
	for _, e := range events {
		if _, known := isFirst[e.ref()]; !known {
			isFirst[e.ref()] = false
			wallets = append(wallets, e.ref())
		}
	}
	if len(wallets) == 1 {
		return events[:len(events)/2], slices.Clone(events[len(events)/2:])
	}
	rand.Shuffle(len(wallets), func(i, j int) { wallets[i], wallets[j] = wallets[j], wallets[i] })
	for _, w := range wallets[:len(wallets)/2] {
		isFirst[w] = true
	}
	for _, e := range events {
		if isFirst[e.ref()] {
			first = append(first, e)
		} else {
			second = append(second, e)
		}
	}
	return first, second
}

func (e Event) ref() wallet.AssetRef {
	return wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}
}

const (
	sqlBeforeCall = `SAVEPOINT wallet_feed_call`

	// Deferred constraints are checked now: at the end of the transaction nobody would know
	// whose events broke them.
	sqlAfterCall = `SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; RELEASE SAVEPOINT wallet_feed_call`
	sqlUndoCall  = `ROLLBACK TO SAVEPOINT wallet_feed_call; RELEASE SAVEPOINT wallet_feed_call`
)

// try hands out events in one call, and undoes it if the Handler refuses them. The other
// error is of the database: a connection that is gone takes the transaction along.
func (h *handout) try(ctx context.Context, events []Event) (refused, err error) {
	if _, err := h.tx.Exec(ctx, sqlBeforeCall); err != nil {
		return nil, err
	}
	refused = call(ctx, h.handle, h.tx, events)
	if refused == nil {
		if _, refused = h.tx.Exec(ctx, sqlAfterCall, pgx.QueryExecModeSimpleProtocol); refused == nil {
			return nil, nil
		}
	}
	if ctx.Err() != nil {
		return nil, refused
	}
	if _, err := h.tx.Exec(ctx, sqlUndoCall, pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, errors.Join(refused, err)
	}
	return refused, nil
}

// call calls a Handler, and says which events it failed for. A panic is a failure too: it
// would otherwise end each process that is given the event.
func call(ctx context.Context, handle Handler, tx pgx.Tx, events []Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err == nil {
			return
		}
		if len(events) == 1 {
			err = fmt.Errorf("handle event %s: %w", events[0].ID, err)
		} else {
			err = fmt.Errorf("handle events %s to %s: %w", events[0].Cursor, events[len(events)-1].Cursor, err)
		}
	}()
	return handle(ctx, tx, events)
}
