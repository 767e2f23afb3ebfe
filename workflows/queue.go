package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/failure"
)

const (
	// maxBatchBytes bounds the input of a step that has to run as a regular
	// activity: Temporal refuses payloads over 2 MB.
	maxBatchBytes = 1 << 20
	// maxCarriedBytes bounds what travels through continue-as-new in its input.
	maxCarriedBytes = 1 << 20
)

// queued is a command in the queue, and who waits for its answer: one place of an
// update's results, or nobody (a signal).
type queued struct {
	received wallet.Received
	bytes    int
	update   *update
	index    int
}

// update is an update handler that waits for the answers to all its commands.
type update struct {
	results []wallet.Result
	missing int
	done    workflow.Settable
}

func (w *walletAsset) enqueue(received wallet.Received, u *update, index int) {
	w.queue = append(w.queue, queued{received, received.Size(), u, index})
}

// submit queues an update's commands and waits for their answers. Signals that
// arrived before the update go first.
func (w *walletAsset) submit(ctx workflow.Context, commands []wallet.Command) ([]wallet.Result, error) {
	w.receiveSignals(ctx)
	future, done := workflow.NewFuture(ctx)
	u := &update{results: make([]wallet.Result, len(commands)), missing: len(commands), done: done}
	for i, command := range commands {
		w.enqueue(wallet.Received{Command: command}, u, i)
	}
	err := future.Get(ctx, nil)
	return u.results, err
}

func (q queued) answer(r wallet.Result) {
	if q.update == nil {
		return
	}
	q.update.results[q.index] = r
	if q.update.missing--; q.update.missing == 0 {
		q.update.done.Set(nil, nil)
	}
}

// fail ends the whole update, once.
func (q queued) fail(cause error) {
	if q.update == nil || q.update.missing <= 0 {
		return
	}
	q.update.missing = 0
	q.update.done.SetError(failure.Encode(cause))
}

// takeBatch takes the head of the queue: at most 500 commands and 1 MB, and at
// least one.
func (w *walletAsset) takeBatch() []queued {
	n, size := 0, 0
	for n < len(w.queue) && n < wallet.MaxBatch && (n == 0 || size+w.queue[n].bytes <= maxBatchBytes) {
		size += w.queue[n].bytes
		n++
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

func (w *walletAsset) queueSize() (bytes int) {
	for _, q := range w.queue {
		bytes += q.bytes
	}
	return bytes
}
