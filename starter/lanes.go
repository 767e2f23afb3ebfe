package starter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
)

const (
	// maxLanes is far more than is useful: more lanes mean smaller batches.
	maxLanes = 64
	// laneTimeout is how long calls wait for a lane before they go to their wallets, which is
	// safe: an id counts once. Workers older than lanes do not answer at all.
	laneTimeout = 10 * time.Second
	// laneClosed is how long no call goes to a lane that did not answer.
	laneClosed = 30 * time.Second
	// laneTries is how often lanes may return a transaction with a locked row before it gets its own
	// workflow, which waits.
	laneTries = 3
	// maxLegsInLane is the most legs of a transaction in a lane. For a larger one, the cost of its own
	// workflow adds little.
	maxLegsInLane = 20
	// maxLaneLegs is the most legs in one update, over all its transactions.
	maxLaneLegs = 1000
)

// keyOf returns the queue of a call: its lane's or its wallet's. A wallet is always in the same lane, so
// that no two lanes write to it. A command with a reply_to goes to its wallet: lanes send no replies.
func (c *Client) keyOf(waiting *call) queueKey {
	if lanes := c.options.Lanes; lanes > 0 && waiting.command.ReplyTo == nil {
		if lane := 1 + waiting.ref.Partition(lanes); c.isOpen(lane) {
			return queueKey{lane: lane}
		}
	}
	return queueKey{AssetRef: waiting.ref}
}

func (c *Client) isOpen(lane int) bool { return time.Now().UnixNano() >= c.closedLanes[lane-1].Load() }

// transactionInLane sends a transaction in a lane, and in further lanes while one returns it. The
// result is nil if none answers it.
func (c *Client) transactionInLane(ctx context.Context, t wallet.Transaction) *wallet.TransactionResult {
	if c.options.Lanes == 0 || len(t.Commands) > maxLegsInLane {
		return nil
	}
	for _, lane := range lanesOf(t, c.options.Lanes) {
		if !c.isOpen(lane) {
			return nil
		}
		waiting := &call{ctx: ctx, transaction: &t, answer: make(chan answer, 1)}
		c.add(queueKey{lane: lane}, waiting)
		select {
		case a := <-waiting.answer:
			if a.transaction != nil || a.err != nil {
				return a.transaction
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// lanesOf returns the lanes in which a transaction is tried, from 1: its first wallet's, then the next
// wallets'. So the transactions of a busy wallet, some of which other lanes return, meet in the lane of
// that wallet. Any lane is correct: the row locks ensure that.
func lanesOf(t wallet.Transaction, lanes int) (tries [laneTries]int) {
	refs := t.Wallets()
	slices.SortFunc(refs, func(a, b wallet.AssetRef) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Currency, b.Currency))
	})
	for i := range tries {
		tries[i] = 1 + refs[min(i, len(refs)-1)].Partition(lanes)
	}
	return tries
}

// sendInLane sends calls in one update and distributes the answers. A command that the lane returns, or
// does not answer, goes to its wallet.
func (c *Client) sendInLane(lane int, calls []*call) {
	ctx, stop := whileAwaited(calls)
	defer stop()
	waiting, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	answers, err := c.updateLane(waiting, lane, calls)
	if err != nil {
		if waiting.Err() != nil && ctx.Err() == nil {
			c.closedLanes[lane-1].Store(time.Now().Add(laneClosed).UnixNano())
		}
		answers = make([]wallet.LaneAnswer, len(calls))
	}
	for i, call := range calls {
		if t := call.transaction; t != nil {
			a := answer{err: err}
			if answers[i].Invalid != nil { // the worker is older than transactions in lanes
				a.err = answers[i].Invalid
			} else if result, err := t.LaneResult(answers[i]); err == nil {
				a.transaction = result
			}
			call.answer <- a
			continue
		}
		switch a := answers[i]; {
		case a.Invalid != nil:
			call.answer <- answer{err: fmt.Errorf("update the %s wallet of %q: %w", call.ref.Currency, call.ref.UserID, a.Invalid)}
			continue
		case a.Facts != nil:
			if results, err := a.Facts.ResultsFor([]wallet.Command{call.command}); err == nil {
				call.answer <- answer{result: results[0]}
				continue
			}
		}
		c.add(queueKey{AssetRef: call.ref}, call)
	}
}

// updateLane sends calls to a lane, and returns its answer to each.
func (c *Client) updateLane(ctx context.Context, lane int, calls []*call) ([]wallet.LaneAnswer, error) {
	leave, err := c.acquireSlot(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	items := make([]wallet.LaneItem, len(calls))
	for i, call := range calls {
		if items[i].Transaction = call.transaction; call.transaction == nil {
			items[i].ApplyCommandInput = &wallet.ApplyCommandInput{AssetRef: call.ref, Command: call.command}
		}
	}
	encoded, err := retry(ctx, c, func() (encoded []byte, err error) {
		err = c.updateOnce(ctx, c.laneTarget(lane), wallet.UpdateApplyLane, items, &encoded)
		return encoded, err
	})
	if err != nil {
		return nil, err
	}
	split, err := wallet.SplitLaneAnswers(encoded, len(calls))
	if err != nil {
		return nil, err
	}
	answers := make([]wallet.LaneAnswer, len(calls))
	for i, b := range split {
		if answers[i], err = wallet.ReadLaneAnswer(b); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (c *Client) laneTarget(lane int) target {
	return target{workflow: wallet.WorkflowLane, input: struct{}{}, start: client.StartWorkflowOptions{
		ID:                       wallet.LaneWorkflowID(c.options.TaskQueue, lane),
		TaskQueue:                c.options.TaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:            fmt.Sprintf("lane %d: commands of many wallets", lane),
	}}
}
