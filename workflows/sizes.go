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

// bounds keeps a run within Temporal's limits.
type bounds struct {
	updatesReceived int // in this run, which is what Temporal limits
	updateBytes     int // of the updates that are in flight
	crossedBytes    int // that each result may have more, see Result.Crossed
	limit           historyLimit
	task            taskState
	nextTask        workflow.Future // a timer, see wakeInNewTask
}

// taskState is what has happened in a workflow task.
type taskState struct {
	historyLength int // at its start, by which tasks are told apart
	bytes         int // that it will send to the server, besides updates
	hasRunStep    bool
}

// thisTask is the state of the current workflow task.
func (b *bounds) thisTask(ctx workflow.Context) *taskState {
	if n := workflow.GetInfo(ctx).GetCurrentHistoryLength(); n != b.task.historyLength {
		b.task = taskState{historyLength: n}
	}
	return &b.task
}

// sends counts bytes of the current workflow task.
func (b *bounds) sends(ctx workflow.Context, bytes int) { b.thisTask(ctx).bytes += bytes }

// awaitRoomInTask waits for another workflow task if the current one has enough to send.
func (b *bounds) awaitRoomInTask(ctx workflow.Context) error {
	if b.thisTask(ctx).bytes <= maxTaskBytes {
		return nil
	}
	b.wakeInNewTask(ctx)
	return workflow.Await(ctx, func() bool { return b.thisTask(ctx).bytes <= maxTaskBytes })
}

// wakeInNewTask makes sure that there is another workflow task. A timer takes the server up to a
// second, however short it is; a signal or an update that comes earlier starts the task too.
func (b *bounds) wakeInNewTask(ctx workflow.Context) {
	if b.nextTask == nil || b.nextTask.IsReady() {
		b.nextTask = workflow.NewTimerWithOptions(ctx, time.Millisecond, workflow.TimerOptions{Summary: "another workflow task"})
	}
}

// replySize is an upper bound for the size of a reply.
func replySize(to *wallet.ReplyTo, r wallet.Result) int {
	const usual = 1 << 10 // all fields except ids and message
	return usual + len(to.WorkflowID) + len(to.Signal) + wallet.SizeAsJSON(r.CommandID) + wallet.SizeAsJSON(r.SentID) + wallet.SizeAsJSON(r.HoldID) + wallet.SizeAsJSON(r.OriginalID) + len(r.Thresholds) + len(r.Crossed) + wallet.SizeAsJSON(r.Message)
}

// sizeOf is what an update counts towards maxBytesUnderWay.
func (b *bounds) sizeOf(payload converter.RawValue, commands int) int {
	return len(payload.Payload().GetData()) + commands*(resultBytes+b.crossedBytes)
}

// checkPayload refuses, before decoding it, an update that is too large or that would keep a run
// from ending. Like checkRoom it is for validators only: an update that was accepted must be
// accepted on replay too.
func (b *bounds) checkPayload(ctx workflow.Context, payload converter.RawValue) error {
	if b.isOverdue(ctx) {
		return fmt.Errorf("%w: the history of this workflow is full, and a new run begins as soon as the updates in flight are answered: send it again in a moment", wallet.ErrBusy)
	}
	if n := len(payload.Payload().GetData()); n > wallet.MaxUpdateBytes {
		return wallet.TooManyBytes(n)
	}
	return nil
}

// historyLimit is where a run starts to refuse updates, so that it can end. It can continue as
// new only while no update is in flight, and under steady load another one may always be: its
// history would grow until the server terminates the run, with the signals in it.
type historyLimit struct{ bytes, events int }

// maxUpdates is where a run that has to end refuses updates, whatever the size of its history.
// Temporal refuses the 2,000th, and each such refusal makes it drop the workflow task in progress.
const maxUpdates = 1900

// noticeEnd sets the limit when a run learns that it has to continue as new: at twice the
// history, which is far from where the server ends a run and leaves time for the run to end
// without refusing anything.
func (b *bounds) noticeEnd(ctx workflow.Context, hasToEnd bool) {
	if b.limit == (historyLimit{}) && hasToEnd {
		info := workflow.GetInfo(ctx)
		b.limit = historyLimit{info.GetCurrentHistorySize() * 2, info.GetCurrentHistoryLength() * 2}
	}
}

// isOverdue reports whether a run should have continued as new by now. Only validators ask.
func (b *bounds) isOverdue(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return b.limit != (historyLimit{}) &&
		(info.GetCurrentHistorySize() >= b.limit.bytes || info.GetCurrentHistoryLength() >= b.limit.events || b.updatesReceived >= maxUpdates)
}

// checkRoom refuses an update that is too large for now.
func (b *bounds) checkRoom(payload converter.RawValue, commands int) error {
	if size := b.sizeOf(payload, commands); b.updateBytes > 0 && b.updateBytes+size > maxBytesUnderWay {
		return fmt.Errorf("%w: updates of %d bytes, with their answers, are under way, and %d more would be over %d: send it again in a moment",
			wallet.ErrBusy, b.updateBytes, size, maxBytesUnderWay)
	}
	return nil
}
