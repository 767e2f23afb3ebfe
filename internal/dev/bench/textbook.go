package bench

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
)

const (
	textbookUpdate = "apply"
	// textbookPatience covers a wallet between two runs, or with more updates in flight than
	// Temporal allows.
	textbookPatience = 30 * time.Second
)

// textbookWallet is a wallet as Temporal's samples would write it: one long-running workflow
// with one update per command, which runs the three steps as regular activities, one command at
// a time. The steps use the same code and tables as the real wallet.
func textbookWallet(ctx workflow.Context, ref wallet.AssetRef) error {
	busy := workflow.NewMutex(ctx)
	due := func() bool { return workflow.GetInfo(ctx).GetContinueAsNewSuggested() }
	err := workflow.SetUpdateHandlerWithOptions(ctx, textbookUpdate,
		func(ctx workflow.Context, command wallet.Command) (wallet.Result, error) {
			if err := busy.Lock(ctx); err != nil {
				return wallet.Result{}, err
			}
			defer busy.Unlock()
			return textbookApply(ctx, ref, command)
		},
		workflow.UpdateHandlerOptions{Validator: func(workflow.Context, wallet.Command) error {
			if due() { // otherwise the handlers would never all finish under load
				return errors.New("the wallet is about to continue as new: try again")
			}
			return nil
		}})
	if err != nil {
		return err
	}
	if err := workflow.Await(ctx, func() bool { return due() && workflow.AllHandlersFinished(ctx) }); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, textbookWallet, ref)
}

func textbookApply(ctx workflow.Context, ref wallet.AssetRef, command wallet.Command) (wallet.Result, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second})
	if err := workflow.ExecuteActivity(ctx, wallet.StepEnsureWalletAsset, ref).Get(ctx, nil); err != nil {
		return wallet.Result{}, err
	}
	var out wallet.ApplyCommandsOutput
	input := wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{{Command: command}}}
	if err := workflow.ExecuteActivity(ctx, wallet.StepApplyCommands, input).Get(ctx, &out); err != nil {
		return wallet.Result{}, err
	}
	if err := workflow.ExecuteActivity(ctx, wallet.StepRecordEvents, ref).Get(ctx, nil); err != nil {
		return wallet.Result{}, err
	}
	results, err := out.Results.Results(input.Commands)
	if err != nil {
		return wallet.Result{}, err
	}
	return results[0], nil
}

func startTextbook(temporal client.Client, pool *pgxpool.Pool, queue string) (worker.Worker, error) {
	w := worker.New(temporal, queue, worker.Options{})
	w.RegisterWorkflow(textbookWallet)
	activities.New(pool).Register(w)
	return w, w.Start()
}

// textbook is a set of running textbook wallets.
type textbook struct{ ledger }

func newTextbook(ctx context.Context, l ledger, queue string) (*textbook, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, user := range l.users {
		group.Go(func() error {
			_, err := l.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: textbookID(user), TaskQueue: queue},
				textbookWallet, wallet.AssetRef{UserID: user, Currency: currency})
			return err
		})
	}
	return &textbook{l}, group.Wait()
}

func textbookID(user string) string { return "textbook/" + user }

// send repeats an update that Temporal or the validator refused: the command counts once in any
// case.
func (t *textbook) send(ctx context.Context, _ int, r request) ([]wallet.Result, error) {
	return backoff.Retry(ctx, func() ([]wallet.Result, error) {
		handle, err := t.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
			WorkflowID: textbookID(t.users[r.wallet]), UpdateName: textbookUpdate, Args: []any{r.commands[0]},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err != nil {
			return nil, err
		}
		results := make([]wallet.Result, 1)
		return results, handle.Get(ctx, &results[0])
	}, backoff.WithBackOff(backoff.NewConstantBackOff(5*time.Millisecond)), backoff.WithMaxElapsedTime(textbookPatience))
}

func (t *textbook) historyEvents(ctx context.Context) (int64, error) {
	return t.ledger.historyEvents(ctx, textbookID)
}
