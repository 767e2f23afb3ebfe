package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
)

// WalletAsset is one user's balance in one currency as a workflow that never
// ends: the lock under which its commands run one after the other.
//
// Handlers of signals and updates only put commands into a queue. Only the main coroutine takes
// them out, up to 500 at a time, and runs the steps: ApplyCommands, RecordEvents, answer.
// Input: WalletAssetInput.
func WalletAsset(ctx workflow.Context, payload converter.RawValue) error {
	panicIfEncrypted(payload)
	w, err := newWalletAsset(ctx, payload)
	if err != nil {
		return refuseToRun(ctx, err)
	}
	return w.run(ctx)
}

// walletAsset is the state of a run. What outlives the run is in carried.
type walletAsset struct {
	ref         wallet.AssetRef
	idleTimeout time.Duration
	carried     Carried // except Queue, which is queue below

	ignored    string // what could not be used of the start input, and why
	hasTimeout bool   // the server will end this run, whatever is in it

	stepper
	metrics client.MetricsHandler
	signals workflow.ReceiveChannel
	queue   []queued
	valid   validBatch
	// refreshes are signals that others have changed the wallet's row.
	refreshes workflow.ReceiveChannel

	signalsReceived int  // in this run, which is what Temporal limits
	replies         int  // signals to reply_to that are in flight
	repliesLate     bool // the server does not deliver them
	withoutKeys     bool // this run treated encrypted payloads as malformed

	idle   idleTimer
	expiry expiryTimer
	// expiryWait grows while the clocks disagree: see minExpiryWait.
	expiryWait      time.Duration
	ensured         bool // the asset is known to exist
	recorded        bool // the audit trail has been completed once in this run
	commandsInSteps int  // commands that the steps run for
}

func newWalletAsset(ctx workflow.Context, payload converter.RawValue) (*walletAsset, error) {
	info := workflow.GetInfo(ctx)
	input, ignored, err := decodeInput(payload, info.ContinuedExecutionRunID != "")
	if err != nil {
		return nil, err
	}
	if err := checkWorkflowID(ctx, input.AssetRef); err != nil {
		return nil, err
	}
	w := &walletAsset{
		ref:         input.AssetRef,
		idleTimeout: input.IdleTimeout.Duration,
		stepper:     stepper{log: log.With(workflow.GetLogger(ctx), "user_id", input.UserID, "currency", input.Currency)},
		metrics:     workflow.GetMetricsHandler(ctx),
		ignored:     ignored,
		hasTimeout:  isSoon(info.WorkflowExecutionTimeout) || isSoon(info.WorkflowRunTimeout),
	}
	w.of = w
	if ignored != "" {
		w.log.Warn("a part of the start input cannot be used", "problem", ignored)
	}
	if input.Carried != nil {
		w.carried = *input.Carried
		for _, received := range w.carried.Queue {
			w.enqueue(received, nil)
		}
		w.carried.Queue = nil
		w.ensured = w.carried.Asset.Exists()
		w.noteThresholds()
	} else {
		w.carried.LastActivity = workflow.Now(ctx)
	}
	if w.carried.Counts.Unapplied == nil {
		w.carried.Counts.Unapplied = map[wallet.Reason]int64{}
	}
	if err := w.setHandlers(ctx); err != nil {
		return nil, err
	}
	w.showDetails(ctx)
	return w, nil
}

// run is the main coroutine. Its rules for ending a run are in docs/design.md,
// "Ends and beginnings". The easiest one to break: nothing may yield between receiveSignals and a
// return, or a signal that arrives in between is lost.
func (w *walletAsset) run(ctx workflow.Context) error {
	// Commands run to their end even if the workflow is cancelled meanwhile.
	work, _ := workflow.NewDisconnectedContext(ctx)
	if err := w.label(work); err != nil {
		return err
	}
	w.startIdleTimer(work)
	w.startExpiryTimer(work)
	for {
		w.awaitWork(ctx, work)
		w.noticeEnd(ctx)
		w.receiveSignals(ctx)
		w.receiveRefreshes()
		switch {
		case w.canContinueAsNew(ctx):
			if w.replies == 0 || w.repliesLate {
				return w.continueAsNew(ctx)
			}
			// Commands that are handled now might cause ever more replies.
			if err := w.awaitReplies(work, 0); err != nil {
				return err
			}
		case len(w.queue) > 0:
			if err := w.awaitReplies(work, maxReplies-wallet.MaxBatch); err != nil {
				return err
			}
			if err := w.awaitRoomInTask(work); err != nil {
				return err
			}
			if err := w.execute(work, w.takeBatch()); err != nil {
				return w.giveUp(work, err)
			}
			w.carried.LastActivity = workflow.Now(ctx)
		case w.expiry.isDue():
			if err := w.expireHolds(work); err != nil {
				return w.giveUp(work, err)
			}
		case w.carried.Stale:
			if err := w.readAsset(work); err != nil {
				return w.giveUp(work, err)
			}
		case w.isAwaited(ctx):
			if err := w.awaitCallers(ctx, work); err != nil {
				return err
			}
		case ctx.Err() != nil: // cancelled, and everything that came is answered
			return ctx.Err()
		case w.hasTimeout:
			w.log.Info("workflow was started with a timeout, so it completes before that ends it; the next command starts it again")
			return nil
		case w.endsIdle(work):
			w.log.Info("wallet is idle, its workflow completes; the next command starts it again")
			return nil
		}
	}
}

// awaitWork waits for something to do.
func (w *walletAsset) awaitWork(ctx, work workflow.Context) {
	if w.shouldContinueAsNew(ctx) && w.thisTask(ctx).hasRunStep {
		w.wakeInNewTask(work)
	}
	// The caller checks ctx.Err instead of Await's error, which is nil if the condition held
	// before the cancel was seen.
	_ = workflow.Await(ctx, func() bool {
		return w.hasQueued() || w.refreshes.Len() > 0 || w.carried.Stale || w.shouldContinueAsNew(ctx) && !w.thisTask(ctx).hasRunStep || w.idle.isDue() || w.expiry.isDue() || w.hasTimeout
	})
}

// canContinueAsNew reports whether the next run can take over now. Commands without a waiting
// caller move to it. A cancelled run ends instead.
//
// A run ends in a workflow task that has run no step and so takes no time. While a task runs, the
// server keeps updates waiting for the next one. If the run ends first, it sends them back, and
// Temporal's clients send them again only after half a second.
func (w *walletAsset) canContinueAsNew(ctx workflow.Context) bool {
	return ctx.Err() == nil && w.shouldContinueAsNew(ctx) && !w.thisTask(ctx).hasRunStep && w.queuedBytes() <= maxCarriedBytes && workflow.AllHandlersFinished(ctx)
}

// awaitCallers waits until isAwaited is false or there is something else to do.
func (w *walletAsset) awaitCallers(ctx, work workflow.Context) error {
	if workflow.AllHandlersFinished(ctx) && ctx.Err() != nil { // only replies keep it from ending
		return w.awaitReplies(work, 0)
	}
	return workflow.Await(work, func() bool {
		return !w.isAwaited(ctx) || w.hasQueued() || w.refreshes.Len() > 0 || w.expiry.isDue()
	})
}

func (w *walletAsset) hasQueued() bool { return len(w.queue) > 0 || w.signals.Len() > 0 }

// isAwaited reports whether an update handler or a reply in flight still needs this run.
func (w *walletAsset) isAwaited(ctx workflow.Context) bool {
	return w.replies > 0 && !w.repliesLate || !workflow.AllHandlersFinished(ctx)
}

// execute runs the steps for a batch and answers its commands. It returns an error, an
// *wallet.InvalidError, only if the wallet cannot exist.
func (w *walletAsset) execute(ctx workflow.Context, batch []queued) error {
	w.commandsInSteps = len(batch)
	commands := make([]wallet.Received, len(batch))
	for i, q := range batch {
		commands[i] = q.received
	}
	traced := inTraceOf(ctx, batch)
	results, err := w.runSteps(traced, commands)
	if err != nil {
		for _, q := range batch {
			w.refuse(ctx, q, err)
		}
	} else {
		answer(batch, results)
		w.countResults(results)
		for i := range results {
			w.note(&results[i])
			w.reply(ctx, commands[i].Command.ReplyTo, &results[i])
		}
		w.carried.remember(results)
	}
	w.commandsInSteps = 0
	w.showDetails(ctx)
	return err
}

// runSteps ensures that the wallet asset exists, applies the commands, and records their events.
func (w *walletAsset) runSteps(ctx workflow.Context, commands []wallet.Received) ([]wallet.Result, error) {
	if err := w.ensureExists(ctx, commands); err != nil {
		return nil, err
	}
	var out wallet.ApplyCommandsOutput
	input := wallet.ApplyCommandsInput{AssetRef: w.ref, Commands: commands, LastSeen: w.carried.Asset.Head(), AndRecord: true}
	if err := w.step(ctx, wallet.StepApplyCommands, applySummary(commands), input, &out); err != nil {
		return nil, err
	}
	w.sends(ctx, len(out.Results)*4/3) // as base64
	w.ensured, w.carried.Stale = true, false
	if out.LostEntries {
		w.noteLostEntries(ctx, out.Asset)
	}
	w.carried.Asset = out.Asset
	w.noteThresholds()
	if out.HoldsChanged {
		w.carried.NextHolds = out.NextHolds
	}
	if out.GrantsChanged {
		w.carried.NextGrants = out.NextGrants
	}
	counts.Expired(w.metrics, out.Expired)
	counts.ExpiredGrants(w.metrics, out.ExpiredGrants)
	w.startExpiryTimer(ctx)
	results, err := out.Results.Results(commands)
	if err != nil { // a panic fails the workflow task, visibly: the commands are applied
		panic(fmt.Errorf("step %s: %w", wallet.StepApplyCommands, err))
	}
	return results, w.recordEvents(ctx, out)
}

// noteThresholds makes room for results that have all thresholds in crossed.
func (w *walletAsset) noteThresholds() { w.crossedBytes = 2 * len(w.carried.Asset.Thresholds) }

// ensureExists is the first step, once for a workflow and the runs that continue it. Commands that begin
// with a create make the wallet asset themselves.
func (w *walletAsset) ensureExists(ctx workflow.Context, commands []wallet.Received) error {
	if w.ensured || wallet.Opens(commands) {
		return nil
	}
	return w.ensureAsset(ctx, "ensure the wallet exists")
}

func (w *walletAsset) ensureAsset(ctx workflow.Context, summary string) error {
	var out wallet.EnsureWalletAssetOutput
	if err := w.step(ctx, wallet.StepEnsureWalletAsset, summary, w.ref, &out); err != nil {
		return err
	}
	if w.ensured && w.carried.Asset.Head().IsLostIn(out.Asset) {
		w.noteLostEntries(ctx, out.Asset)
	}
	w.carried.Asset, w.carried.NextHolds, w.carried.NextGrants = out.Asset, out.NextHolds, out.NextGrants
	w.noteThresholds()
	counts.Expired(w.metrics, out.Expired)
	counts.ExpiredGrants(w.metrics, out.ExpiredGrants)
	w.ensured, w.carried.Stale = true, false
	return nil
}

// readAsset brings the balance that people see up to date, after a transaction of this and other
// wallets has changed it.
func (w *walletAsset) readAsset(ctx workflow.Context) error {
	if err := w.ensureAsset(ctx, "read the balance"); err != nil {
		return err
	}
	w.startExpiryTimer(ctx)
	w.showDetails(ctx)
	return nil
}

// recordEvents is the last step, unless the one before has already done it. If nothing was applied there is nothing
// to record, but the first batch of a run completes what an earlier run may have left.
func (w *walletAsset) recordEvents(ctx workflow.Context, applied wallet.ApplyCommandsOutput) error {
	if applied.Recorded || w.recorded && !applied.NeedsRecording {
		w.recorded = true
		return nil
	}
	var out wallet.RecordEventsOutput
	if err := w.step(ctx, wallet.StepRecordEvents, fmt.Sprintf("record events to v%d", applied.Asset.Version), w.ref, &out); err != nil {
		return err
	}
	w.recorded = true
	return nil
}

// note counts a result, and logs a refusal.
func (w *walletAsset) note(r *wallet.Result) {
	counts := &w.carried.Counts
	switch {
	case r.Replayed:
		counts.Replayed++
	case r.Status == wallet.StatusApplied:
		counts.Applied++
	default:
		counts.Unapplied[r.Reason]++
		w.log.Info("command refused", "command_id", r.CommandID, "reason", r.Reason, "message", r.Message)
	}
}

// noteLostEntries reports, once, that Postgres has lost entries that were answered. The wallet
// continues with what the journal has; the rest cannot be restored from here.
func (w *walletAsset) noteLostEntries(ctx workflow.Context, found wallet.Asset) {
	seen := w.carried.Asset.Head()
	w.carried.Lost = &LostEntries{Seen: seen, Found: found.Head(), At: workflow.Now(ctx).UTC()}
	w.metrics.Counter(MetricLostEntries).Inc(1)
	w.log.Error("the journal has lost entries that were answered: Postgres was restored to an earlier time, or failed over to a standby that lagged behind",
		"seen_position", seen.Position, "seen_hash", seen.Hash.String(), "position", found.Position, "hash", found.Hash.String())
}
