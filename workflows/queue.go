package workflows

import (
	"slices"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

const (
	// maxBatchBytes limits the input of a step that has to run as a regular activity: Temporal
	// refuses payloads over 2 MB.
	maxBatchBytes = 1 << 20
	// maxCarriedBytes limits the queue that is passed on in the input of continue-as-new.
	maxCarriedBytes = 1 << 20
)

// queued is a command in the queue, and the update that waits for its answer (nil for a
// signal).
type queued struct {
	received wallet.Received
	bytes    int // of the command, and of the reply to it
	update   *update
}

// update is an update handler waiting for the answers to all its commands.
type update struct {
	commands int
	results  []wallet.Result
	done     workflow.Settable
	span     any // of the handler; nil without tracing
}

func (w *walletAsset) enqueue(received wallet.Received, u *update) {
	w.queue = append(w.queue, queued{received, sizeWithReply(received), u})
}

// sizeWithReply is the size of a command and of what is sent to its reply_to, which names the
// command again.
func sizeWithReply(received wallet.Received) int {
	if received.Command.ReplyTo == nil {
		return received.Size()
	}
	return 2*received.Size() + 2*resultBytes
}

// submit queues an update's commands and waits for their answers. Signals that arrived before
// the update go first.
func (w *walletAsset) submit(ctx workflow.Context, payload converter.RawValue, commands []wallet.Command) (*update, error) {
	size := w.sizeOf(payload, len(commands))
	w.updatesReceived++
	w.updateBytes += size
	defer func() { w.updateBytes -= size }()
	w.noticeEnd(ctx)
	w.receiveSignals(ctx)
	future, done := workflow.NewFuture(ctx)
	u := &update{commands: len(commands), done: done, span: ctx.Value(SpanContextKey)}
	w.queue = slices.Grow(w.queue, len(commands))
	for _, command := range commands {
		w.enqueue(wallet.Received{Command: command}, u)
	}
	w.countReceived("update", len(commands))
	err := future.Get(ctx, nil)
	return u, err
}

// answer passes the results of a batch to the updates that wait for them, which do not change them.
func answer(batch []queued, results []wallet.Result) {
	for i, n := 0, 0; i < len(batch); i = n {
		u := batch[i].update
		for n = i + 1; n < len(batch) && batch[n].update == u; n++ {
		}
		switch {
		case u == nil:
			continue
		case u.results == nil:
			u.results = results[i:n:n] // no copy of what is usually hundreds
		default:
			u.results = append(u.results, results[i:n]...)
		}
		if len(u.results) == u.commands {
			u.done.Set(nil, nil)
		}
	}
}

// fail ends the whole update, once.
func (q queued) fail(cause error) {
	if q.update == nil || q.update.done == nil {
		return
	}
	q.update.done.SetError(failure.Encode(cause))
	q.update.done = nil
}

// takeBatch takes the head of the queue: at most 500 commands and 1 MB, but at least one
// command.
func (w *walletAsset) takeBatch() []queued {
	w.countQueue()
	n, size := 0, 0
	for n < len(w.queue) && n < wallet.MaxBatch && (n == 0 || size+w.queue[n].bytes <= maxBatchBytes) {
		size += w.queue[n].bytes
		n++
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

func (w *walletAsset) queuedBytes() (bytes int) {
	for _, q := range w.queue {
		bytes += q.bytes
	}
	return bytes
}
