package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/payloads"
)

const (
	// laneIdle is how long a lane runs without a command. The next one starts it again.
	laneIdle = 10 * time.Minute
	// maxLaneUpdates ends a run. The server keeps a note of every update of a run, and writes all
	// of them with each workflow task.
	maxLaneUpdates = 200
	// laneAnswerBytes is the usual size of an answer.
	laneAnswerBytes = 1 << 7
	// rateWindow is what the rate in the Web UI is measured over.
	rateWindow = 10 * time.Second
)

// Lane applies commands of many wallets, many in one transaction. It has no part in their
// correctness, which the row locks ensure: it only saves each of them a workflow task. What would
// hold the others up it returns, to be sent to its wallet. Callers start it with an update.
//
// The update's handler only puts its items into a queue. Only the main coroutine takes them out,
// up to 500 at a time, runs the step, and answers. There is nothing in the queue that no update
// waits for, so a run hands only counts to the next.
func Lane(ctx workflow.Context, payload converter.RawValue) error {
	panicIfEncrypted(payload)
	l := &lane{stepper: stepper{log: workflow.GetLogger(ctx)}, metrics: workflow.GetMetricsHandler(ctx), lastActivity: workflow.Now(ctx)}
	l.of = l
	l.counts.windowFrom(workflow.Now(ctx))
	if workflow.GetInfo(ctx).ContinuedExecutionRunID != "" {
		var input LaneInput
		if data, err := payloads.JSON(payload); err == nil && wallet.DecodeStart(data, &input) == nil {
			l.counts = input.Counts
		}
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wallet.UpdateApplyLane, l.handleApply, workflow.UpdateHandlerOptions{
		Description: "1 to 500 commands and transactions for any wallets, answered in brief, for the Go client",
		Validator:   l.validate,
	}); err != nil {
		return err
	}
	l.showDetails(ctx)
	return l.run(ctx)
}

// LaneInput is what a run of a lane hands to the next.
type LaneInput struct {
	Counts LaneCounts `json:"counts"`
}

// LaneCounts are for the Web UI.
type LaneCounts struct {
	Commands int64 `json:"commands"`
	Batches  int64 `json:"batches"`
	Returned int64 `json:"returned"` // to be sent to the wallet's workflow
	// Window is when the window began that Counted is of; Rate is that of the window before, a
	// second.
	Window  time.Time `json:"window"`
	Counted int64     `json:"counted"`
	Rate    float64   `json:"rate"`
}

func (c *LaneCounts) windowFrom(now time.Time) { c.Window, c.Counted = now.UTC(), 0 }

func (c *LaneCounts) note(now time.Time, commands, returned int) {
	if past := now.Sub(c.Window); past >= rateWindow {
		c.Rate = float64(c.Counted) / past.Seconds()
		c.windowFrom(now)
	}
	c.Commands, c.Batches, c.Returned, c.Counted = c.Commands+int64(commands), c.Batches+1, c.Returned+int64(returned), c.Counted+int64(commands)
}

// lane is the state of a run.
type lane struct {
	stepper
	metrics      client.MetricsHandler
	queue        []laneItem
	inStep       int
	counts       LaneCounts
	lastActivity time.Time
}

// laneItem is an item in the queue, and the update that waits for its answer.
type laneItem struct {
	item   jsontext.Value
	update *laneUpdate
}

// size is what it takes in the input of a step, which is encoded again.
func (i laneItem) size() int { return wallet.SizeAsJSON(string(i.item)) }

type laneUpdate struct {
	items   int
	answers []byte
	split   int // answers in there
	done    workflow.Settable
}

// validate refuses every update once the run has to end, so that it ends in that workflow task:
// callers try again in milliseconds. An update that is on its way when a run ends is tried again
// only after half a second.
func (l *lane) validate(ctx workflow.Context, payload converter.RawValue) error {
	if l.hasToEnd(ctx) {
		return failure.Encode(fmt.Errorf("%w: this lane goes on in a new run, send it again in a moment", wallet.ErrBusy))
	}
	if err := l.checkPayload(ctx, payload); err != nil {
		return failure.Encode(err)
	}
	items, err := decodeItems(payload)
	if err != nil {
		return failure.Encode(err)
	}
	return failure.Encode(l.checkRoom(payload, len(items)))
}

func decodeItems(payload converter.RawValue) ([]jsontext.Value, error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return nil, err
	}
	return wallet.DecodeLane(data)
}

// handleApply answers with the LaneAnswers of its items.
func (l *lane) handleApply(ctx workflow.Context, payload converter.RawValue) ([]byte, error) {
	panicIfEncrypted(payload)
	items, err := decodeItems(payload)
	if err != nil {
		return nil, failure.Encode(err)
	}
	size := l.sizeOf(payload, len(items))
	l.updatesReceived++
	l.updateBytes += size
	defer func() { l.updateBytes -= size }()
	countReceived(l.metrics, "lane", len(items))
	future, done := workflow.NewFuture(ctx)
	u := &laneUpdate{items: len(items), done: done}
	for _, item := range items {
		l.queue = append(l.queue, laneItem{item, u})
	}
	err = future.Get(ctx, nil)
	return u.answers, err
}

func (l *lane) hasToEnd(ctx workflow.Context) bool {
	return l.updatesReceived >= maxLaneUpdates || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// run is the main coroutine. A run ends as a wallet's does: when nobody waits for it, in a
// workflow task without a step (see walletAsset.canContinueAsNew).
func (l *lane) run(ctx workflow.Context) error {
	work, _ := workflow.NewDisconnectedContext(ctx)
	idle := workflow.NewTimer(work, laneIdle)
	for {
		_ = workflow.Await(ctx, func() bool {
			return len(l.queue) > 0 || l.hasToEnd(ctx) && !l.thisTask(ctx).hasRunStep || idle.IsReady()
		})
		switch {
		case len(l.queue) > 0:
			if err := l.awaitRoomInTask(work); err != nil {
				return err
			}
			if err := l.execute(work, l.takeBatch()); err != nil {
				return err
			}
			l.lastActivity = workflow.Now(ctx)
		case !workflow.AllHandlersFinished(ctx):
			if err := workflow.Await(work, func() bool { return workflow.AllHandlersFinished(ctx) || len(l.queue) > 0 }); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case l.hasToEnd(ctx):
			if !l.thisTask(ctx).hasRunStep {
				return workflow.NewContinueAsNewError(ctx, wallet.WorkflowLane, LaneInput{l.counts})
			}
		case idle.IsReady():
			left := l.lastActivity.Add(laneIdle).Sub(workflow.Now(ctx))
			if left <= 0 {
				return nil
			}
			idle = workflow.NewTimer(work, left)
		}
	}
}

// takeBatch takes the head of the queue: at most 500 items and 1 MB, but at least one item.
func (l *lane) takeBatch() []laneItem {
	n, size := 0, 0
	for n < len(l.queue) && n < wallet.MaxBatch && (n == 0 || size+l.queue[n].size() <= maxBatchBytes) {
		size += l.queue[n].size()
		n++
	}
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	return batch
}

// execute runs the step for a batch and answers its updates.
func (l *lane) execute(ctx workflow.Context, batch []laneItem) error {
	l.inStep = len(batch)
	input := wallet.ApplyLaneInput{Items: make([]jsontext.Value, len(batch))}
	for i, q := range batch {
		input.Items[i] = q.item
	}
	var out []byte
	if err := l.step(ctx, wallet.StepApplyLane, "apply "+count(len(batch), "command", "commands"), input, &out); err != nil {
		return err
	}
	answers, err := wallet.SplitLaneAnswers(out, len(batch))
	if err != nil { // a panic fails the workflow task, in sight: the commands are applied
		panic(fmt.Errorf("step %s: %w", wallet.StepApplyLane, err))
	}
	l.sends(ctx, len(out))
	returned := 0
	for i, q := range batch {
		if wallet.IsReturned(answers[i]) {
			returned++
		}
		u := q.update
		if u.answers == nil {
			u.answers = slices.Grow(u.answers, u.items*laneAnswerBytes)
		}
		u.answers, u.split = append(u.answers, answers[i]...), u.split+1
		if u.split == u.items {
			u.done.Set(nil, nil)
		}
	}
	l.metrics.Counter(MetricAnswered).Inc(int64(len(batch)))
	l.inStep = 0
	l.counts.note(workflow.Now(ctx), len(batch), returned)
	l.showDetails(ctx)
	return nil
}

func (l *lane) waiting() int { return l.inStep + len(l.queue) }

func (l *lane) showDetails(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, l.details())
}

func (l *lane) details() string {
	var b strings.Builder
	if l.trouble != nil {
		l.trouble.writeStep(&b, l.waiting())
	}
	c := l.counts
	fmt.Fprintf(&b, "## %.0f commands/s\n\n", c.Rate)
	perBatch := float64(c.Commands) / float64(max(c.Batches, 1))
	writeTable(&b, []column{{oneLine("in queue"), right}, {"commands", right}, {"batches", right}, {oneLine("per batch"), right}, {"returned", right}},
		[]string{fmt.Sprint(l.waiting()), fmt.Sprint(c.Commands), fmt.Sprint(c.Batches), fmt.Sprintf("%.1f", perBatch), fmt.Sprint(c.Returned)})
	b.WriteString("The rate is that of ten seconds. Returned commands go to the workflow of their wallet.\n\n\u00a0\n")
	return b.String()
}
