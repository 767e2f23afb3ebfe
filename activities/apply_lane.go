package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/sdk/activity"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// ApplyLane applies commands of many wallets in one transaction, and then records their events in
// another. An item that would fail or hold up the others is returned: its wallet's own workflow
// can wait. That is one whose wallet's row is locked by somebody else, or cannot be made or read,
// or whose events could not be recorded. The answers are LaneAnswers, one for each item.
func (a *Activities) ApplyLane(ctx context.Context, in wallet.ApplyLaneInput) ([]byte, error) {
	items, groups := byWallet(in)
	err := applyInParts(ctx, groups, a.applyFree)
	if err == nil {
		err = a.recordLane(ctx, groups)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d commands in a lane: %w", len(items), err)
	}
	countLane(ctx, groups)
	var answers []byte
	for _, item := range items {
		answers = item.answer().AppendTo(answers)
	}
	return answers, nil
}

// countLane counts what the lane's workflow does not read.
func countLane(ctx context.Context, groups []*laneGroup) {
	if !activity.IsActivity(ctx) {
		return
	}
	metrics := activity.GetMetricsHandler(ctx)
	var results []wallet.Result
	for _, g := range groups {
		if g.done != nil {
			results = append(results, g.done.results...)
			counts.Expired(metrics, g.done.expired)
		}
	}
	counts.Results(metrics, results)
}

// laneGroup is the commands of one wallet asset in a lane, in the order of their items.
type laneGroup struct {
	group
	done *outcome // nil if its items are returned
}

func plainGroups(groups []*laneGroup) []group {
	plain := make([]group, len(groups))
	for i, g := range groups {
		plain[i] = g.group
	}
	return plain
}

// laneItem is an item, and the place of its command in a group.
type laneItem struct {
	invalid *wallet.InvalidError
	group   *laneGroup // nil if invalid, or to be returned
	place   int
}

func (i laneItem) answer() wallet.LaneAnswer {
	if i.invalid != nil || i.group == nil || i.group.done == nil {
		return wallet.LaneAnswer{Invalid: i.invalid}
	}
	g := i.group
	return wallet.LaneAnswer{Facts: wallet.NewFacts(g.commands[i.place:i.place+1], g.done.results[i.place:i.place+1])}
}

// byWallet decodes the items, and puts their commands into a group for each wallet.
func byWallet(in wallet.ApplyLaneInput) (items []laneItem, groups []*laneGroup) {
	items = make([]laneItem, len(in.Items))
	byRef := map[wallet.AssetRef]*laneGroup{}
	for i, encoded := range in.Items {
		decoded, err := wallet.DecodeApplyCommand(encoded, "")
		if err != nil {
			errors.As(err, &items[i].invalid)
			continue
		}
		if decoded.Command.ReplyTo != nil { // the wallet's workflow sends replies, a lane does not
			continue
		}
		g := byRef[decoded.AssetRef]
		if g == nil {
			g = &laneGroup{group: group{AssetRef: decoded.AssetRef}}
			byRef[decoded.AssetRef], groups = g, append(groups, g)
		}
		items[i].group, items[i].place = g, len(g.commands)
		g.commands = append(g.commands, wallet.Received{Command: decoded.Command})
	}
	return items, groups
}

// applyInParts does something to groups at once. If what is stored of one of them makes it fail, it
// does it to halves, until those that fail are alone. Any other failure ends it.
func applyInParts(ctx context.Context, groups []*laneGroup, do func(context.Context, []*laneGroup) error) error {
	if len(groups) == 0 {
		return nil
	}
	err := withoutPanic(func() error { return do(ctx, groups) })
	if err == nil || !isOfData(ctx, err) {
		return err
	}
	if len(groups) == 1 {
		groups[0].done = nil
		return nil
	}
	half := len(groups) / 2
	if err := applyInParts(ctx, groups[:half], do); err != nil {
		return err
	}
	return applyInParts(ctx, groups[half:], do)
}

func withoutPanic(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	return do()
}

// isOfData reports whether an error may be due to what is stored, not to the server or the way to
// it.
func isOfData(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	for _, elsewhere := range []any{new(*postgres.NotWritableError), new(*pgconn.ConnectError), new(net.Error)} {
		if errors.As(err, elsewhere) {
			return false
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err) {
		return false
	}
	if state := sqlState(err); state != "" {
		switch state[:2] {
		case "21", "22", "23", "P0", "XX": // cardinality, data, constraints, raised, corrupted
			return true
		}
		return false
	}
	return true
}

// applyFree applies the groups of which nobody else has the row locked, in one transaction.
func (a *Activities) applyFree(ctx context.Context, groups []*laneGroup) error {
	err := a.tryFree(ctx, groups, true)
	if sqlState(err) == lockNotAvailable {
		// Somebody is making one of the wallets, without an end.
		err = a.tryFree(ctx, groups, false)
	}
	return err
}

func (a *Activities) tryFree(ctx context.Context, groups []*laneGroup, create bool) error {
	_, err := inTransaction(ctx, a, func(t transaction) (struct{}, error) {
		left := groups
		for {
			l, free, err := t.lockFree(ctx, left, create)
			if err != nil {
				return struct{}{}, err
			}
			if len(free) == 0 {
				return struct{}{}, t.rollback(ctx)
			}
			if err := t.readMissing(ctx, l, plainGroups(free)); err != nil {
				return struct{}{}, err
			}
			outcomes := l.fold(plainGroups(free))
			if left = decidable(free, outcomes); len(left) < len(free) {
				if err := t.rollback(ctx); err != nil {
					return struct{}{}, err
				}
				continue
			}
			for _, asset := range l.all {
				asset.changedBefore = false // nobody is told of its holds
			}
			if err := t.write(ctx, l); err != nil {
				return struct{}{}, err
			}
			for i, g := range free {
				g.done = &outcomes[i]
			}
			return struct{}{}, nil
		}
	})
	return err
}

// decidable are the groups whose outcome is no error.
func decidable(groups []*laneGroup, outcomes []outcome) (some []*laneGroup) {
	for i, g := range groups {
		if outcomes[i].err == nil {
			some = append(some, g)
		}
	}
	return some
}

// lockFree is lock without the rows that somebody else has locked. It returns the groups whose
// rows are locked now. Missing rows are made first, as in createAndLock.
func (t transaction) lockFree(ctx context.Context, groups []*laneGroup, create bool) (*lockedAssets, []*laneGroup, error) {
	plain := plainGroups(groups)
	l, batch := newLockedAssets(plain), &pgx.Batch{}
	l.queueLocks(batch, sqlLockFreeAssets, plain)
	if err := t.begin(ctx, batch); err != nil {
		return nil, nil, err
	}
	if l.lacksSome() && create {
		missing := l.where(func(a *lockedAsset) bool { return !a.Exists() })
		if err := t.rollback(ctx); err != nil {
			return nil, nil, err
		}
		l, batch = newLockedAssets(plain), &pgx.Batch{}
		l.queueCreation(batch, missing, sqlLockFreeAssets, plain)
		if err := t.begin(ctx, batch); err != nil {
			return nil, nil, err
		}
	}
	var free []*laneGroup
	for _, g := range groups {
		if a := l.of(g.AssetRef); a.hasRow() && (create || a.Exists()) {
			free = append(free, g)
		}
	}
	l.all = l.where(func(a *lockedAsset) bool { return a.hasRow() && (create || a.Exists()) })
	return l, free, nil
}

// recordLane records the events of what was applied. Items of a wallet whose events cannot be
// recorded are returned: its workflow gets the same answers, and waits. Returning all where the
// server is slow or gone would start hundreds of workflows, which makes it no better: the step is
// tried again instead.
func (a *Activities) recordLane(ctx context.Context, groups []*laneGroup) error {
	var unrecorded []*laneGroup
	for _, g := range groups {
		if g.done != nil && g.done.needsRecording() {
			unrecorded = append(unrecorded, g)
		}
	}
	err := applyInParts(ctx, unrecorded, a.recordEventsOf)
	if sqlState(err) == lockNotAvailable { // another session is recording the same events, without an end
		for _, g := range unrecorded {
			g.done = nil
		}
		err = nil
	}
	return err
}

func (a *Activities) recordEventsOf(ctx context.Context, groups []*laneGroup) error {
	refs := make([]wallet.AssetRef, len(groups))
	for i, g := range groups {
		refs[i] = g.AssetRef
	}
	_, err := a.recordEvents(ctx, refs)
	return err
}
