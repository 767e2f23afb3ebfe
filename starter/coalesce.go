package starter

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/valueledger/wallet"
)

// maxBatchBytes keeps an apply_batch below Temporal's limit of 2 MB per payload.
const maxBatchBytes = 1 << 20

// maxBatchesAtOnce is how many updates are sent to one wallet concurrently if one update cannot
// hold all that is queued. The server allows 10 in flight per workflow, and other processes
// need some of them.
const maxBatchesAtOnce = 4

// quietYields is how often a queue yields to other goroutines without a new call arriving
// before it considers its batch complete. For a lone call that is a few microseconds.
const quietYields = 16

// queue holds this process's calls to one wallet asset that have not been sent yet. While an
// update is in flight, calls queue up and go together in the next one; a lone call goes
// immediately. Without it a busy caller would hit the server's limit of 10 updates in flight
// per workflow.
type queue struct{ waiting []*call }

// call is a command whose caller is waiting.
type call struct {
	ctx     context.Context
	command wallet.Command
	answer  chan answer // buffered: the caller may be gone
}

type answer struct {
	result wallet.Result
	err    error
}

// enqueue puts a command into its wallet's queue and waits for its answer.
func (c *Client) enqueue(ctx context.Context, ref wallet.AssetRef, command wallet.Command) (wallet.Result, error) {
	waiting := &call{ctx, command, make(chan answer, 1)}
	c.mu.Lock()
	q, sending := c.queues[ref]
	if !sending {
		q = &queue{}
		c.queues[ref] = q
	}
	q.waiting = append(q.waiting, waiting)
	c.mu.Unlock()
	if !sending {
		go c.sendQueue(ref, q)
	}
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

// sendQueue sends a queue's calls until the queue is empty.
func (c *Client) sendQueue(ref wallet.AssetRef, q *queue) {
	for {
		c.awaitMore(q)
		batches := c.takeBatches(ref, q)
		if batches == nil {
			return
		}
		var sent sync.WaitGroup
		for _, calls := range batches {
			sent.Go(func() { c.sendBatch(ref, calls) })
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
func (c *Client) takeBatches(ref wallet.AssetRef, q *queue) (batches [][]*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(batches) < maxBatchesAtOnce {
		calls := q.takeBatch()
		if calls == nil {
			break
		}
		batches = append(batches, calls)
	}
	if batches == nil {
		delete(c.queues, ref)
	}
	return batches
}

// takeBatch takes calls for one update, at most 500 and 1 MB, and drops those whose caller is
// gone.
func (q *queue) takeBatch() (calls []*call) {
	bytes := 0
	for len(q.waiting) > 0 && len(calls) < wallet.MaxBatch {
		next := q.waiting[0]
		if next.ctx.Err() == nil {
			bytes += next.command.Size()
			if len(calls) > 0 && bytes > maxBatchBytes {
				break
			}
			calls = append(calls, next)
		}
		q.waiting = q.waiting[1:]
	}
	return calls
}

// sendBatch sends calls in one update and distributes the answers. The update is only abandoned
// if every caller is gone.
func (c *Client) sendBatch(ref wallet.AssetRef, calls []*call) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(calls)))
	commands := make([]wallet.Command, len(calls))
	for i, waiting := range calls {
		commands[i] = waiting.command
		stop := context.AfterFunc(waiting.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
		defer stop()
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
