package starter

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/valueledger/wallet"
)

// maxBatchBytes keeps an apply_batch below the 2 MB that Temporal allows one
// payload.
const maxBatchBytes = 1 << 20

// lane is the traffic of this process to one wallet asset: one update is under way
// at a time, and the calls that come meanwhile wait to travel together in the next.
// A lone call goes at once. Without it a busy caller would run into the 10 updates
// that the server allows in flight for one workflow.
type lane struct{ waiting []*call }

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

// ride puts a command on its wallet's lane and waits for its answer.
func (c *Client) ride(ctx context.Context, ref wallet.AssetRef, command wallet.Command) (wallet.Result, error) {
	waiting := &call{ctx, command, make(chan answer, 1)}
	c.mu.Lock()
	l, running := c.lanes[ref]
	if !running {
		l = &lane{}
		c.lanes[ref] = l
	}
	l.waiting = append(l.waiting, waiting)
	c.mu.Unlock()
	if !running {
		go c.drive(ref, l)
	}
	select {
	case a := <-waiting.answer:
		return a.result, a.err
	case <-ctx.Done():
		return wallet.Result{}, fmt.Errorf("command %q has no answer yet, it may still be applied: send it again with the same id: %w", command.ID, context.Cause(ctx))
	}
}

// drive carries a lane's calls until none waits.
func (c *Client) drive(ref wallet.AssetRef, l *lane) {
	for {
		calls := c.board(ref, l)
		if calls == nil {
			return
		}
		c.carry(ref, calls)
	}
}

// board takes the next calls off a lane, at most 500 and 1 MB, leaving out those
// whose caller has gone. It ends the lane, and returns nil, if there are none.
func (c *Client) board(ref wallet.AssetRef, l *lane) []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var calls []*call
	bytes := 0
	for len(l.waiting) > 0 && len(calls) < wallet.MaxBatch {
		next := l.waiting[0]
		if next.ctx.Err() == nil {
			bytes += next.command.Size()
			if len(calls) > 0 && bytes > maxBatchBytes {
				break
			}
			calls = append(calls, next)
		}
		l.waiting = l.waiting[1:]
	}
	if calls == nil {
		delete(c.lanes, ref)
	}
	return calls
}

// carry sends calls in one update and hands out the answers. The update is given
// up only when every caller has gone.
func (c *Client) carry(ref wallet.AssetRef, calls []*call) {
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
