package starter

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/valueledger/wallet"
)

// maxBatchBytes keeps an apply_batch below the 2 MB that Temporal allows one
// payload.
const maxBatchBytes = 1 << 20

// maxBatchesAtOnce is how many updates are sent to one wallet at once where one cannot hold
// all that is queued. The server allows one workflow 10 in flight, and other processes need
// some.
const maxBatchesAtOnce = 4

// quietYields is how often a queue lets other goroutines run, without another call coming
// in, before its batch is taken to be complete. A few microseconds for a lone call.
const quietYields = 16

// queue is the calls of this process to one wallet asset that have not been sent yet. While
// an update is under way calls queue up, and go together in the next one; a lone call goes
// at once. Without it a busy caller would run into the 10 updates that the server allows in
// flight for one workflow.
type queue struct{ waiting []*call }

// call is a command whose caller waits.
type call struct {
	ctx     context.Context
	command wallet.Command
	answer  chan answer // buffered: a caller may have gone
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
		if a.err == nil || ctx.Err() == nil || isFinal(a.err) {
			return a.result, a.err
		}
	case <-ctx.Done():
	}
	return wallet.Result{}, c.noAnswer(ctx, ref, command.ID, l)
}

// sendQueue sends a queue's calls until none waits.
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

// awaitMore lets those who are about to call do so, as long as the queue grows by it.
// Callers that have just been answered often have their next command at once: without
// this the quickest of them would be sent alone, and the rest would wait for its answer.
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

// takeBatches takes the next calls out of a queue, in batches for one update each. It ends
// the queue, and returns nil, if there are none.
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

// takeBatch takes calls for one update, at most 500 and 1 MB, leaving out those whose caller
// has gone.
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

// sendBatch sends calls in one update and hands out the answers. The update is given
// up only when every caller has gone.
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
	for i, waiting := range calls {
		if err != nil {
			waiting.answer <- answer{err: err}
			continue
		}
		waiting.answer <- answer{result: results[i]}
	}
}
