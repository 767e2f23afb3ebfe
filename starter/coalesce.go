package starter

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/valueledger/wallet"
)

// maxBatchBytes keeps an update below Temporal's limit of 2 MB per payload.
const maxBatchBytes = 1 << 20

// maxBatchesAtOnce is how many updates are sent to one wallet concurrently if one update cannot
// hold all that is queued. The server allows 10 in flight per workflow, and other processes
// need some of them.
const maxBatchesAtOnce = 4

// quietYields is how often a queue yields to other goroutines without a new call arriving
// before it considers its batch complete. For a lone call that is a few microseconds.
const quietYields = 16

// queue holds this process's calls to one wallet asset, or in one lane, that have not been sent
// yet. While an update is in flight, calls queue up and go together in the next one; a lone call
// goes immediately. Without it a busy caller would hit the server's limit of 10 updates in flight
// per workflow.
type queue struct{ waiting []*call }

// queueKey is the wallet asset or the lane that a queue is for.
type queueKey struct {
	wallet.AssetRef
	lane int // from 1; 0 for a wallet asset
}

// call is a command whose caller is waiting; in a lane, it may be a transaction.
type call struct {
	ctx         context.Context
	ref         wallet.AssetRef
	command     wallet.Command
	transaction *wallet.Transaction // nil if it is a command
	answer      chan answer         // buffered: the caller may be gone
}

type answer struct {
	result      wallet.Result
	transaction *wallet.TransactionResult // nil if the lane has returned it
	err         error
}

// enqueue puts a command into its queue and waits for its answer.
func (c *Client) enqueue(ctx context.Context, ref wallet.AssetRef, command wallet.Command) (wallet.Result, error) {
	waiting := &call{ctx: ctx, ref: ref, command: command, answer: make(chan answer, 1)}
	c.add(c.keyOf(waiting), waiting)
	l := c.lookLater(ctx, ref)
	defer l.stop()
	select {
	case a := <-waiting.answer:
		if !gaveUp(ctx, a.err) {
			return a.result, a.err
		}
	case <-ctx.Done():
	}
	return wallet.Result{}, c.noAnswer(ctx, ref, command.ID).seen(l)
}

// add puts calls into a queue, and has it sent.
func (c *Client) add(key queueKey, calls ...*call) {
	c.mu.Lock()
	q, sending := c.queues[key]
	if !sending {
		q = &queue{}
		c.queues[key] = q
	}
	q.waiting = append(q.waiting, calls...)
	c.mu.Unlock()
	if !sending {
		go c.sendQueue(key, q)
	}
}

// sendQueue sends a queue's calls until the queue is empty.
func (c *Client) sendQueue(key queueKey, q *queue) {
	for {
		c.awaitMore(q)
		batches := c.takeBatches(key, q)
		if batches == nil {
			return
		}
		var sent sync.WaitGroup
		for _, calls := range batches {
			sent.Go(func() {
				if key.lane > 0 {
					c.sendInLane(key.lane, calls)
				} else {
					c.sendBatch(key.AssetRef, calls)
				}
			})
		}
		sent.Wait()
	}
}

// awaitMore yields to other callers for as long as the queue keeps growing. Callers that have
// just been answered often have their next command ready: without this the quickest of them
// would be sent alone, and the rest would wait for its answer.
func (c *Client) awaitMore(q *queue) {
	for before, quiet := -1, 0; quiet < quietYields; quiet++ {
		c.mu.Lock()
		now := len(q.waiting)
		c.mu.Unlock()
		if now >= maxBatchesAtOnce*wallet.MaxBatch {
			return
		}
		if now > before {
			before, quiet = now, -1
		}
		runtime.Gosched()
	}
}

// takeBatches takes the next calls out of a queue, in batches of one update each. If there are
// none, it removes the queue and returns nil.
func (c *Client) takeBatches(key queueKey, q *queue) (batches [][]*call) {
	most := maxBatchesAtOnce
	if key.lane > 0 {
		most = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(batches) < most {
		calls := q.takeBatch()
		if calls == nil {
			break
		}
		batches = append(batches, calls)
	}
	if batches == nil {
		delete(c.queues, key)
	}
	return batches
}

// takeBatch takes calls for one update, at most 500, 1,000 legs and 1 MB, and drops those whose
// caller is gone.
func (q *queue) takeBatch() (calls []*call) {
	bytes, legs := 0, 0
	for len(q.waiting) > 0 && len(calls) < wallet.MaxBatch {
		next := q.waiting[0]
		if next.ctx.Err() == nil {
			bytes += next.size()
			if next.transaction != nil {
				legs += len(next.transaction.Commands)
			}
			if len(calls) > 0 && (bytes > maxBatchBytes || legs > maxLaneLegs) {
				break
			}
			calls = append(calls, next)
		}
		q.waiting = q.waiting[1:]
	}
	return calls
}

// size is a bound on the bytes that a call takes in an update.
func (c *call) size() int {
	const names = 60 // of an ApplyCommandInput, and of what a transaction has beside its commands
	size := names + wallet.SizeAsJSON(c.ref.UserID) + c.command.Size()
	if t := c.transaction; t != nil {
		size = names + wallet.Command{ID: t.ID, NotAfter: t.NotAfter, Description: t.Description, Actor: t.Actor, Metadata: t.Metadata}.Size()
		for _, leg := range t.Commands {
			size += names + wallet.SizeAsJSON(leg.UserID) + leg.Command.Size()
		}
	}
	return size
}

// whileAwaited is a context that ends when every caller is gone, or with stop.
func whileAwaited(calls []*call) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	var left atomic.Int64
	left.Store(int64(len(calls)))
	stops := make([]func() bool, len(calls))
	for i, waiting := range calls {
		stops[i] = context.AfterFunc(waiting.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// sendBatch sends calls in one update and distributes the answers. The update is only abandoned
// if every caller is gone.
func (c *Client) sendBatch(ref wallet.AssetRef, calls []*call) {
	ctx, stop := whileAwaited(calls)
	defer stop()
	commands := make([]wallet.Command, len(calls))
	for i, waiting := range calls {
		commands[i] = waiting.command
	}
	results, err := c.update(ctx, ref, commands)
	if len(calls) > 1 && isMalformed(err) {
		// One command that a worker does not understand, because this client is newer, must
		// not fail the others. Halves find it.
		c.sendBatch(ref, calls[:len(calls)/2])
		c.sendBatch(ref, calls[len(calls)/2:])
		return
	}
	for i, waiting := range calls {
		if err != nil {
			waiting.answer <- answer{err: err}
			continue
		}
		waiting.answer <- answer{result: results[i]}
	}
}

func isMalformed(err error) bool {
	var invalid *wallet.InvalidError
	return errors.As(err, &invalid) && invalid.Reason == wallet.ReasonMalformed
}
