package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
)

// awaitReplies waits until no more than a given number of replies are in flight. Replies that
// the server cannot deliver must not block a wallet, so the wait is limited.
func (w *walletAsset) awaitReplies(ctx workflow.Context, most int) error {
	if w.replies <= most || w.repliesLate {
		return nil
	}
	delivered, err := workflow.AwaitWithTimeout(ctx, replyTimeout, func() bool { return w.replies <= most })
	if err == nil && !delivered {
		w.repliesLate = true
		w.log.Warn("replies are not delivered, going on without them", "replies", w.replies)
	}
	return err
}

// reply signals a result to the workflow that asked for it. A missing or closed target is only
// logged.
func (w *walletAsset) reply(ctx workflow.Context, to *wallet.ReplyTo, r *wallet.Result) {
	if to == nil {
		return
	}
	if w.replies >= maxReplies {
		w.log.Warn("reply not sent, too many are undelivered", "command_id", r.CommandID, "workflow_id", to.WorkflowID)
		return
	}
	w.replies++
	w.sends(ctx, replySize(to, *r))
	sent := workflow.SignalExternalWorkflow(ctx, to.WorkflowID, "", to.Signal, *r)
	workflow.GoNamed(ctx, "reply", func(ctx workflow.Context) {
		if err := sent.Get(ctx, nil); err != nil {
			w.log.Warn("reply not delivered", "command_id", r.CommandID, "workflow_id", to.WorkflowID, "error", err)
		}
		if w.replies--; w.replies == 0 {
			w.repliesLate = false
		}
	})
}
