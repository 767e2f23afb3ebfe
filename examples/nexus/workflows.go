package main

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/walletnexus"
)

// Order is the input of the shop's workflows.
type Order struct {
	Endpoint string // the wallets' Nexus endpoint
	UserID   string
	Amount   wallet.Amount
}

// TopUp adds an amount to a user's wallet.
func TopUp(ctx workflow.Context, o Order) (string, error) {
	var result wallet.Result
	err := execute(ctx, o, walletnexus.Add.Name(), change(ctx, o), &result)
	return fmt.Sprintf("%s USD in the wallet", result.TotalAfter), err
}

// Purchase charges a user, and takes a refusal for an answer.
func Purchase(ctx workflow.Context, o Order) (string, error) {
	var result wallet.Result
	err := execute(ctx, o, walletnexus.Subtract.Name(), change(ctx, o), &result)
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		return fmt.Sprintf("not sold, %s: %s", unapplied.Result.Reason, unapplied.Result.Message), nil
	}
	if err != nil {
		return "", err
	}
	var balance wallet.Balance
	err = execute(ctx, o, walletnexus.Balance.Name(), change(ctx, o).AssetRef, &balance)
	return fmt.Sprintf("sold, %s USD left", balance.Available), err
}

// change has the workflow's own id as the command's: a workflow that is started again
// under its id, or reset, pays once.
func change(ctx workflow.Context, o Order) walletnexus.Change {
	return walletnexus.Change{
		AssetRef: wallet.AssetRef{UserID: o.UserID, Currency: "USD"},
		ID:       workflow.GetInfo(ctx).WorkflowExecution.ID, Amount: o.Amount,
	}
}

// execute waits an hour for wallets that are out of reach; a refusal, or bad input, is
// final at once.
func execute(ctx workflow.Context, o Order, operation string, input, answer any) error {
	wallets := workflow.NewNexusClient(o.Endpoint, walletnexus.Service)
	options := workflow.NexusOperationOptions{ScheduleToCloseTimeout: time.Hour}
	return walletnexus.Decode(wallets.ExecuteOperation(ctx, operation, input, options).Get(ctx, answer))
}
