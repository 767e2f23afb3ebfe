package bench

import (
	"context"
	"errors"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// wallets uses the wallets as a Go program does.
type wallets struct {
	ledger
	queue string
	mode  Mode
	lanes int
	// clients has one client for all callers, or one for each: callers that share a client are
	// sent together.
	clients []*starter.Client
}

func newWallets(l ledger, spec Spec, queue string) (*wallets, error) {
	w := &wallets{ledger: l, queue: queue, mode: spec.Mode, lanes: spec.Lanes, clients: make([]*starter.Client, 1)}
	if spec.Mode == Update {
		w.clients = make([]*starter.Client, spec.Clients)
	}
	for i := range w.clients {
		var err error
		if w.clients[i], err = starter.New(l.temporal, starter.Options{TaskQueue: queue, Lanes: spec.Lanes}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *wallets) send(ctx context.Context, caller int, r request) ([]wallet.Result, error) {
	c, user := w.clients[caller%len(w.clients)], w.users[r.wallet]
	if r.transfer != "" {
		return w.transfer(ctx, c, r)
	}
	if len(r.commands) > 1 {
		return c.ApplyBatch(ctx, user, currency, r.commands)
	}
	command := r.commands[0]
	if w.mode == Signal {
		return nil, c.Send(ctx, user, currency, command)
	}
	result, err := c.Apply(ctx, user, currency, command)
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		err = nil // a refusal is an answer
	}
	return []wallet.Result{result}, err
}

func (w *wallets) transfer(ctx context.Context, c *starter.Client, r request) ([]wallet.Result, error) {
	answer, err := c.Transfer(ctx, starter.Transfer{
		ID: w.transactionID(r.transfer), FromUserID: w.users[r.wallet], ToUserID: w.users[r.to], Currency: currency, Amount: r.commands[0].Amount,
	})
	var refused *wallet.TransactionRefusedError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	results := make([]wallet.Result, len(answer.Results))
	for i, leg := range answer.Results {
		results[i] = leg.Result
	}
	return results, nil
}

// transactionID is unique among all runs.
func (w *wallets) transactionID(id string) string { return w.users[0] + "-" + id }

// mostDescribed is how many wallets' workflows are looked at for their events. Where there are
// more, only the lanes' are counted.
const mostDescribed = 2000

func (w *wallets) historyEvents(ctx context.Context) (total int64, err error) {
	if w.lanes == 0 || len(w.users) <= mostDescribed {
		total, err = w.ledger.historyEvents(ctx, func(user string) string { return wallet.WorkflowID(user, currency) })
	}
	for lane := 1; lane <= w.lanes && err == nil; lane++ {
		var n int64
		n, err = eventsOf(ctx, w.temporal, wallet.LaneWorkflowID(w.queue, lane))
		total += n
	}
	return total, err
}

// close ends the lanes: the next run counts the events of its own.
func (w *wallets) close() {
	for lane := 1; lane <= w.lanes; lane++ {
		_ = w.temporal.TerminateWorkflow(context.Background(), wallet.LaneWorkflowID(w.queue, lane), "", "the run is over")
	}
}
