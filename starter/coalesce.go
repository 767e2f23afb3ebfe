package starter

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/valueledger/wallet"
)

// maxBatchBytes keeps an apply_batch below the 2 MB that Temporal allows one
// payload.
const maxBatchBytes = 1 << 20

// maxAbreast is how many updates of a lane leave together where one cannot hold all that
// waits. The server allows one workflow 10 in flight, and other processes need some.
const maxAbreast = 4

// quietYields is how often a departing lane lets others run, without another call, before
// it is taken to be complete. A few microseconds for a lone call.
const quietYields = 16

// lane is the traffic of this process to one wallet asset. What waits travels together;
// calls that come while it is under way wait for the next departure. A lone call goes at
// once. Without it a busy caller would run into the 10 updates that the server allows in
// flight for one workflow.
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
		c.gather(l)
		loads := c.board(ref, l)
		if loads == nil {
			return
		}
		var abreast sync.WaitGroup
		for _, calls := range loads {
			abreast.Go(func() { c.carry(ref, calls) })
		}
		abreast.Wait()
	}
}

// gather lets those who are about to call do so, as long as the lane grows by it.
// Callers that have just been answered often have their next command at once: without
// this the quickest of them would travel alone, and the rest would wait for its return.
func (c *Client) gather(l *lane) {
	for before, quiet := -1, 0; quiet < quietYields; quiet++ {
		c.mu.Lock()
		now := len(l.waiting)
		c.mu.Unlock()
		if now >= maxAbreast*wallet.MaxBatch {
			return
		}
		if now > before {
			before, quiet = now, -1
		}
		runtime.Gosched()
	}
}

// board takes the next calls off a lane, in loads for one update each. It ends the lane,
// and returns nil, if there are none.
func (c *Client) board(ref wallet.AssetRef, l *lane) (loads [][]*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(loads) < maxAbreast {
		calls := l.load()
		if calls == nil {
			break
		}
		loads = append(loads, calls)
	}
	if loads == nil {
		delete(c.lanes, ref)
	}
	return loads
}

// load takes calls for one update, at most 500 and 1 MB, leaving out those whose caller
// has gone.
func (l *lane) load() (calls []*call) {
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
