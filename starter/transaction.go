package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/markdown"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// Transfer moves an amount from one user's wallet to another's.
type Transfer struct {
	// ID is your own id, unique among all transactions: 1 to 100 characters. The same id counts
	// once.
	ID          string
	FromUserID  string
	ToUserID    string
	Currency    string
	Amount      wallet.Amount
	FromHoldID  string    // the amount is captured from this hold, instead of subtracted
	Partial     bool      // the rest of that hold stays reserved
	NotAfter    time.Time // the last moment at which it may be recorded, in whole microseconds; zero for any
	Description string
	Actor       string
	Metadata    map[string]string
}

// Transaction is the transaction that moves it: of two legs that must balance.
func (t Transfer) Transaction() wallet.Transaction {
	from := wallet.AssetRef{UserID: t.FromUserID, Currency: t.Currency}
	to := wallet.AssetRef{UserID: t.ToUserID, Currency: t.Currency}
	take := wallet.Command{Type: wallet.TypeSubtract, Amount: t.Amount, HoldID: t.FromHoldID, Partial: t.Partial} // a subtract with partial is refused
	if t.FromHoldID != "" {
		take.Type = wallet.TypeCapture
	}
	return wallet.Transaction{
		ID: t.ID, MustBalance: true, NotAfter: t.NotAfter, Description: t.Description, Actor: t.Actor, Metadata: t.Metadata,
		Commands: []wallet.Leg{{AssetRef: from, Command: take}, {AssetRef: to, Command: wallet.Command{Type: wallet.TypeAdd, Amount: t.Amount}}},
	}
}

// Transfer moves value atomically: both wallets change, or neither does. See Transaction.
func (c *Client) Transfer(ctx context.Context, t Transfer) (wallet.TransactionResult, error) {
	return c.Transaction(ctx, t.Transaction())
}

// Transaction applies commands for several wallets, all or none, and waits for the result. A
// refusal returns the result and a *wallet.TransactionRefusedError, which names the leg that caused
// it; bad input returns a *wallet.InvalidError and is not recorded.
func (c *Client) Transaction(ctx context.Context, t wallet.Transaction) (wallet.TransactionResult, error) {
	if err := t.Validate(); err != nil {
		return wallet.TransactionResult{}, err
	}
	if result := c.transactionInLane(ctx, t); result != nil {
		return *result, result.Err()
	}
	hash := t.RequestHash()
	result, err := retry(ctx, c, func() (result wallet.TransactionResult, err error) {
		result, err = c.runTransaction(ctx, t)
		if err == nil && result.RequestHash != hash || failure.IsOfAnother(err, hash) {
			// A different transaction with the same id was still running.
			return result, wallet.ErrBusy
		}
		return result, failure.DecodeTransaction(err)
	})
	if gaveUp(ctx, err) {
		return wallet.TransactionResult{}, &NoAnswerError{CommandID: t.ID, Transaction: true, TaskQueue: c.options.TaskQueue,
			TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded), Cause: context.Cause(ctx)}
	}
	if err != nil {
		return wallet.TransactionResult{}, fmt.Errorf("transaction %q: %w", t.ID, err)
	}
	return result, result.Err()
}

// runTransaction starts the transaction's workflow, or joins the one that is running, and waits.
func (c *Client) runTransaction(ctx context.Context, t wallet.Transaction) (result wallet.TransactionResult, err error) {
	id := wallet.TransactionWorkflowID(t.ID)
	run, err := c.temporal.ExecuteWorkflow(resourceid.For(ctx, id), client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                c.options.TaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:            transactionSummary(t),
	}, wallet.WorkflowTransaction, t)
	if err == nil {
		err = run.Get(ctx, &result)
	}
	var refused *wallet.TransactionRefusedError
	if errors.As(failure.DecodeTransaction(err), &refused) {
		return refused.Result, nil
	}
	return result, err
}

// transactionSummary is what the Web UI shows: "10 USD: u1 to u2", or how many legs there are.
func transactionSummary(t wallet.Transaction) string {
	const maxShownUser = 20
	if len(t.Commands) != 2 || !t.MustBalance {
		return fmt.Sprintf("%d legs", len(t.Commands))
	}
	from, to := t.Commands[0], t.Commands[1]
	if from.Type == wallet.TypeAdd {
		from, to = to, from
	}
	user := func(id string) string { return markdown.Escape(markdown.Shorten(id, maxShownUser)) }
	text := fmt.Sprintf("%s %s: %s to %s", markdown.Escape(from.Amount.String()), markdown.Escape(from.Currency), user(from.UserID), user(to.UserID))
	if len(text) > maxSummaryBytes {
		return "2 legs"
	}
	return text
}

// refreshWallets tells wallets' workflows that their rows have changed, if they are running.
func (c *Client) refreshWallets(ctx context.Context, refs []wallet.AssetRef) error {
	var failed error
	for _, ref := range refs {
		id := wallet.WorkflowID(ref.UserID, ref.Currency)
		leave, err := c.enter(ctx, ref)
		if err != nil {
			return errors.Join(failed, err)
		}
		err = c.temporal.SignalWorkflow(resourceid.For(ctx, id), id, "", wallet.SignalRefresh, nil)
		leave()
		var ended *serviceerror.NotFound
		if err != nil && !errors.As(err, &ended) {
			failed = errors.Join(failed, fmt.Errorf("signal %s: %w", id, err))
		}
	}
	return failed
}
