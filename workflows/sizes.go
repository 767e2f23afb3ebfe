package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

const (
	// maxBytesUnderWay limits all updates in progress together, including their results. A
	// worker sends back every update that it accepts, and all those of a workflow task in one
	// message. The server takes 4 MB per message: a larger one fails, as does every retry, and
	// the wallet would answer nobody. The message may also contain a step's input of 1 MB.
	maxBytesUnderWay = 5 << 19
	// resultBytes is the usual size of a Result as JSON.
	resultBytes = 1 << 9
)

// maxTaskBytes is how much of a workflow task's answer may be step results and replies before
// the next batch. Together with a batch, and with updates of maxBytesUnderWay, it stays below
// the 4 MB that the server takes.
const maxTaskBytes = 1 << 18

// taskState is what has happened in a workflow task.
type taskState struct {
	historyLength int // at its start, by which tasks are told apart
	bytes         int // that it will send to the server, besides updates
	hasRunStep    bool
}

// thisTask is the state of the current workflow task.
func (w *walletAsset) thisTask(ctx workflow.Context) *taskState {
	if n := workflow.GetInfo(ctx).GetCurrentHistoryLength(); n != w.task.historyLength {
		w.task = taskState{historyLength: n}
	}
	return &w.task
}

// sends counts bytes of the current workflow task.
func (w *walletAsset) sends(ctx workflow.Context, bytes int) { w.thisTask(ctx).bytes += bytes }

// awaitRoomInTask waits for another workflow task if the current one has enough to send.
func (w *walletAsset) awaitRoomInTask(ctx workflow.Context) error {
	if w.thisTask(ctx).bytes <= maxTaskBytes {
		return nil
	}
	w.wakeInNewTask(ctx)
	return workflow.Await(ctx, func() bool { return w.thisTask(ctx).bytes <= maxTaskBytes })
}

// wakeInNewTask makes sure that there is another workflow task. A timer takes the server up to a
// second, however short it is: signals and updates that come earlier bring the task with them.
func (w *walletAsset) wakeInNewTask(ctx workflow.Context) {
	if w.nextTask == nil || w.nextTask.IsReady() {
		w.nextTask = workflow.NewTimerWithOptions(ctx, time.Millisecond, workflow.TimerOptions{Summary: "another workflow task"})
	}
}

// replySize is at least what a reply takes.
func replySize(to *wallet.ReplyTo, r wallet.Result) int {
	const usual = 1 << 10 // the fields but ids and message
	return usual + len(to.WorkflowID) + len(to.Signal) + wallet.SizeAsJSON(r.CommandID) + wallet.SizeAsJSON(r.SentID) + wallet.SizeAsJSON(r.HoldID) + wallet.SizeAsJSON(r.Message)
}

// sizeOf is what an update takes of maxBytesUnderWay.
func sizeOf(payload converter.RawValue, commands int) int {
	return len(payload.Payload().GetData()) + commands*resultBytes
}

// checkPayload refuses an update, before decoding it, that is too large or that would keep a run
// from its end. Like checkRoom it is for validators only: an update that was accepted must be
// accepted on replay too.
func (w *walletAsset) checkPayload(ctx workflow.Context, payload converter.RawValue) error {
	if w.isOverdue(ctx) {
		return fmt.Errorf("%w: the history of this wallet's workflow is full, and a new run begins as soon as the updates in flight are answered: send it again in a moment", wallet.ErrBusy)
	}
	if n := len(payload.Payload().GetData()); n > wallet.MaxUpdateBytes {
		return wallet.TooManyBytes(n)
	}
	return nil
}

// historyLimit is where a run refuses updates, so that it comes to its end. It can continue as
// new only while no update is in flight, and under steady load another one may always be: its
// history would grow until the server terminates the run, with the signals in it.
type historyLimit struct{ bytes, events int }

// maxUpdates is where a run that has to end refuses updates, whatever the size of its history.
// Temporal refuses the 2,000th, and each such refusal makes it drop the workflow task in progress.
const maxUpdates = 1900

// noticeEnd sets the limit when a run learns that it has to continue as new: at twice the
// history, which is far from where the server ends a run and leaves time for the run to end
// without refusing anything.
func (w *walletAsset) noticeEnd(ctx workflow.Context) {
	if w.limit == (historyLimit{}) && w.shouldContinueAsNew(ctx) {
		info := workflow.GetInfo(ctx)
		w.limit = historyLimit{info.GetCurrentHistorySize() * 2, info.GetCurrentHistoryLength() * 2}
	}
}

// isOverdue reports whether a run should have continued as new by now. Only validators ask.
func (w *walletAsset) isOverdue(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return w.limit != (historyLimit{}) &&
		(info.GetCurrentHistorySize() >= w.limit.bytes || info.GetCurrentHistoryLength() >= w.limit.events || w.updatesReceived >= maxUpdates)
}

// checkRoom refuses an update that is too large for now.
func (w *walletAsset) checkRoom(payload converter.RawValue, commands int) error {
	if size := sizeOf(payload, commands); w.updateBytes > 0 && w.updateBytes+size > maxBytesUnderWay {
		return fmt.Errorf("%w: updates of %d bytes, with their answers, are under way, and %d more would be over %d: send it again in a moment",
			wallet.ErrBusy, w.updateBytes, size, maxBytesUnderWay)
	}
	return nil
}
