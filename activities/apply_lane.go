package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/sdk/activity"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// maxLaneCommands is how many commands and legs of a lane are applied in one Postgres transaction. A
// Go client sends no more in one update, but 500 transactions of 100 legs would be many more.
const maxLaneCommands = 2 * wallet.MaxBatch

// maxLaneAnswers limits the bytes of a step's answers: Temporal takes 2 MB, and an update may have the
// answers of three steps. Items beyond it are returned although they are applied, which is safe: the
// client sends them again under the same id.
const maxLaneAnswers = 1 << 19

// ApplyLane applies commands and transactions of many wallets in one Postgres transaction, or in
// several if there are more than maxLaneCommands, and then records their events in another. It returns
// an item that would fail or hold up the others, because a row is locked or cannot be created or read,
// or events cannot be recorded: the workflow of the wallet, or of the transaction, can wait. The
// result is one LaneAnswer for each item.
func (a *Activities) ApplyLane(ctx context.Context, in wallet.ApplyLaneInput) ([]byte, error) {
	items, groups := byWallet(in)
	err := a.applyLane(ctx, groups)
	if err == nil {
		err = a.recordLane(ctx, groups)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d commands in a lane: %w", len(items), err)
	}
	countLane(ctx, groups)
	var answers []byte
	for _, item := range items {
		next := item.answer().AppendTo(answers)
		if len(next) > maxLaneAnswers {
			next = wallet.LaneAnswer{}.AppendTo(answers)
		}
		answers = next
	}
	return answers, nil
}

func (a *Activities) applyLane(ctx context.Context, groups []*laneGroup) error {
	for len(groups) > 0 {
		n, commands := 0, 0
		for n < len(groups) && (n == 0 || commands+groups[n].size() <= maxLaneCommands) {
			commands += groups[n].size()
			n++
		}
		if err := applyInHalves(ctx, groups[:n], a.applyFree(nil)); err != nil {
			return err
		}
		groups = groups[n:]
	}
	return nil
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
			counts.ExpiredGrants(metrics, g.done.expiredGrants)
		}
	}
	counts.Results(metrics, results)
}

// laneGroup is what a lane applies or returns together: the commands for one wallet asset in the order
// of their items, or one transaction.
type laneGroup struct {
	group          // empty for a transaction
	claim *claim   // the transaction's; nil for commands
	legs  []group  // the transaction's
	done  *outcome // nil if its items are returned; has no asset for a transaction
}

func (g *laneGroup) size() int { return len(g.commands) + len(g.legs) }

// perWallet returns one group per wallet, or per leg of a transaction.
func (g *laneGroup) perWallet() []group {
	if g.claim != nil {
		return g.legs
	}
	return []group{g.group}
}

func plainGroups(groups []*laneGroup) []group {
	plain := make([]group, 0, len(groups))
	for _, g := range groups {
		plain = append(plain, g.perWallet()...)
	}
	return plain
}

// laneItem is an item, and the index of its command in its group.
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
	if g.claim == nil {
		return wallet.LaneAnswer{Facts: wallet.NewFacts(g.commands[i.place:i.place+1], g.done.results[i.place:i.place+1])}
	}
	if g.claim.hasConflict() {
		return wallet.LaneAnswer{IDConflict: true}
	}
	legs := make([]wallet.Received, len(g.legs))
	for n, leg := range g.legs {
		legs[n] = leg.commands[0]
	}
	return wallet.LaneAnswer{Facts: wallet.NewFacts(legs, g.done.results)}
}

// byWallet decodes the items and groups their commands by wallet. Each transaction is its own group.
// The items' calls overlap, so any order of them is right.
func byWallet(in wallet.ApplyLaneInput) (items []laneItem, groups []*laneGroup) {
	items = make([]laneItem, len(in.Items))
	byRef := map[wallet.AssetRef]*laneGroup{}
	for i, encoded := range in.Items {
		decoded, err := wallet.DecodeLaneItem(encoded)
		if err != nil {
			errors.As(err, &items[i].invalid)
			continue
		}
		if decoded.Transaction != nil {
			c := newClaim(*decoded.Transaction)
			g := &laneGroup{claim: c, legs: c.groups()}
			items[i].group, groups = g, append(groups, g)
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

// applyInHalves calls do with all groups. If it fails because of the stored data of one of them, it
// tries each half separately, until the failing groups are alone; they stay undone. Any other error
// ends it.
func applyInHalves(ctx context.Context, groups []*laneGroup, do func(context.Context, []*laneGroup) error) error {
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
	if err := applyInHalves(ctx, groups[:half], do); err != nil {
		return err
	}
	return applyInHalves(ctx, groups[half:], do)
}

func withoutPanic(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	return do()
}

// isOfData reports whether an error may come from stored data, not from the server or the connection.
func isOfData(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || isGuarded(err) {
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

// applyFree applies, in one transaction, the groups whose rows nobody else has locked, unless its
// guard fails.
func (a *Activities) applyFree(guard func(*pgx.Batch)) func(context.Context, []*laneGroup) error {
	return func(ctx context.Context, groups []*laneGroup) error {
		err := a.tryFree(ctx, groups, true, guard)
		if sqlState(err) == lockNotAvailable {
			// Another session has been creating one of the wallets, or holding a transaction's id, for too long.
			err = a.tryFree(ctx, groups, false, guard)
		}
		return err
	}
}

// tryFree creates missing wallets and applies transactions only if create is true: only those can wait
// for another session.
func (a *Activities) tryFree(ctx context.Context, groups []*laneGroup, create bool, guard func(*pgx.Batch)) error {
	if !create {
		groups = groupsWhere(groups, func(g *laneGroup) bool { return g.claim == nil })
	}
	_, err := inTransaction(ctx, a, func(t transaction) (struct{}, error) {
		t.guard = guard
		for left := groups; len(left) > 0; {
			l, free, err := t.lockFree(ctx, left, create)
			if err != nil {
				return struct{}{}, err
			}
			if l.created && len(free) < len(left) && len(free) > 0 {
				// Create no wallets for returned items: start again without them.
				left = free
				if err := t.rollback(ctx); err != nil {
					return struct{}{}, err
				}
				continue
			}
			if len(free) == 0 {
				return struct{}{}, t.rollback(ctx)
			}
			if len(free) > 1 && l.mayExpire() > maxLaneExpiries {
				return struct{}{}, errTooManyExpiries
			}
			outcomes, err := t.decide(ctx, l, free)
			if err != nil {
				return struct{}{}, err
			}
			if left = decidable(free, outcomes); len(left) < len(free) {
				if err := t.rollback(ctx); err != nil {
					return struct{}{}, err
				}
				continue
			}
			for _, asset := range l.all {
				asset.changedBefore = false // a lane tells no workflow of its holds
			}
			if err := t.write(ctx, l); err != nil {
				return struct{}{}, err
			}
			for i, g := range free {
				g.done = &outcomes[i]
			}
			return struct{}{}, nil
		}
		return struct{}{}, nil
	})
	return err
}

// maxLaneExpiries is how many holds and grants may expire in one transaction of a lane, unless they are all of
// one group. Each takes 0.2 ms, during which all rows are locked.
const maxLaneExpiries = 2000

// errTooManyExpiries makes applyInHalves try halves.
var errTooManyExpiries = errors.New("too many holds or grants expire in one transaction")

// mayExpire is at most how many holds and grants the fold expires, but for what holds give back.
func (l *lockedAssets) mayExpire() (holds int64) {
	for _, a := range l.all {
		if !a.NextExpiry.IsZero() && !a.NextExpiry.After(l.now) {
			holds += a.OpenHolds
		}
		if !a.NextGrantExpiry.IsZero() && !a.NextGrantExpiry.After(l.now) {
			holds += a.OpenGrants
		}
	}
	return holds
}

// decide claims the transactions' ids, reads what lockFree has not read, and folds one group after
// another.
func (t transaction) decide(ctx context.Context, l *lockedAssets, groups []*laneGroup) ([]outcome, error) {
	var claims []*claim
	for _, g := range groups {
		if g.claim != nil {
			claims = append(claims, g.claim)
		}
	}
	if len(claims) > 0 {
		if err := t.claimIDs(ctx, l, claims); err != nil {
			return nil, err
		}
	}
	if err := t.readMissing(ctx, l, plainGroups(groups)); err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(groups))
	for i, g := range groups {
		if g.claim == nil {
			folded, err := t.fold(ctx, l, []group{g.group})
			if err != nil {
				return nil, err
			}
			outcomes[i] = folded[0]
			continue
		}
		result, expired, expiredGrants, err := t.foldTransaction(ctx, l, g.claim)
		if err != nil && !isDecided(err) {
			return nil, err
		}
		if err == nil && l.created && g.claim.hasConflict() {
			err = errMadeForNothing
		}
		outcomes[i] = outcome{expired: expired, expiredGrants: expiredGrants, err: err}
		for _, leg := range result.Results {
			outcomes[i].results = append(outcomes[i].results, leg.Result)
		}
	}
	return outcomes, nil
}

// errMadeForNothing makes tryFree start again: wallets may have been created for a transaction that
// has an id conflict.
var errMadeForNothing = errors.New("no wallet may be created for a transaction whose id is taken")

// decidable returns the groups whose outcome has no error.
func decidable(groups []*laneGroup, outcomes []outcome) (some []*laneGroup) {
	for i, g := range groups {
		if outcomes[i].err == nil {
			some = append(some, g)
		}
	}
	return some
}

func groupsWhere(groups []*laneGroup, is func(*laneGroup) bool) (some []*laneGroup) {
	for _, g := range groups {
		if is(g) {
			some = append(some, g)
		}
	}
	return some
}

// lockFree is lock, but it skips rows that another session has locked. It returns the groups whose
// rows it locked all. If create is true, it first creates missing rows, as createAndLock does.
func (t transaction) lockFree(ctx context.Context, groups []*laneGroup, create bool) (*lockedAssets, []*laneGroup, error) {
	plain := plainGroups(groups)
	l, batch := newLockedAssets(plain), &pgx.Batch{}
	l.legsLater = true
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
		l.legsLater = true
		l.queueCreation(batch, missing, sqlLockFreeAssets, plain)
		if err := t.begin(ctx, batch); err != nil {
			return nil, nil, err
		}
	}
	isFree := func(a *lockedAsset) bool { return a.hasRow() && (create || a.Exists()) }
	free := groupsWhere(groups, func(g *laneGroup) bool {
		return !slices.ContainsFunc(g.perWallet(), func(of group) bool { return !isFree(l.of(of.AssetRef)) })
	})
	l.all = l.where(isFree)
	return l, free, nil
}

// recordLane records the events of what was applied. Items of a wallet whose events cannot be recorded
// are returned: its workflow gets the same answers and can wait. If the server is slow or gone, it
// fails so that the step is retried: returning all items would start hundreds of workflows and make
// it worse.
func (a *Activities) recordLane(ctx context.Context, groups []*laneGroup) error {
	var refs []wallet.AssetRef
	for _, g := range groups {
		if g.done != nil && g.done.needsRecording() {
			for _, of := range g.perWallet() {
				refs = append(refs, of.AssetRef)
			}
		}
	}
	recorded := map[wallet.AssetRef]*laneGroup{}
	var all []*laneGroup
	for _, ref := range sorted(refs) {
		g := &laneGroup{group: group{AssetRef: ref}, done: &outcome{}}
		recorded[ref], all = g, append(all, g)
	}
	err := applyInHalves(ctx, all, a.recordEventsOf)
	if sqlState(err) == lockNotAvailable { // another session has been recording the same events for too long
		for _, g := range all {
			g.done = nil
		}
		err = nil
	}
	for _, g := range groups {
		if slices.ContainsFunc(g.perWallet(), func(of group) bool { r := recorded[of.AssetRef]; return r != nil && r.done == nil }) {
			g.done = nil
		}
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
