package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// Charge takes an amount by a child workflow, which brings the Result or fails with the
// refusal.
func Charge(ctx workflow.Context, userID, orderID, amount string) (string, error) {
	price, err := wallet.ParseAmount(amount)
	if err != nil {
		return "", err
	}
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: wallet.ApplyCommandWorkflowID(userID, "USD", orderID),
		TaskQueue:  wallet.DefaultTaskQueue,
	})
	var result wallet.Result
	err = workflow.ExecuteChildWorkflow(ctx, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{
		AssetRef: wallet.AssetRef{UserID: userID, Currency: "USD"},
		Command:  wallet.Command{ID: orderID, Type: wallet.TypeSubtract, Amount: price},
	}).Get(ctx, &result)
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) && failure.Type() == wallet.FailureUnappliedCommand {
		if err := failure.Details(&result); err != nil {
			return "", err
		}
		return fmt.Sprintf("not paid: %s", result.Reason), nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("paid, %s left", result.TotalAfter), nil
}

// Refund signals a command and waits for the reply, which is a signal too. The reply may
// come more than once; its command id tells which one it is.
func Refund(ctx workflow.Context, userID, orderID, amount string) (string, error) {
	value, err := wallet.ParseAmount(amount)
	if err != nil {
		return "", err
	}
	command := wallet.Command{ID: orderID, Type: wallet.TypeAdd, Amount: value, ReplyTo: &wallet.ReplyTo{
		WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID, Signal: "wallet_reply",
	}}
	var a *Activities
	activityCtx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	if err := workflow.ExecuteActivity(activityCtx, a.SignalCommand, userID, "USD", command).Get(ctx, nil); err != nil {
		return "", err
	}
	replies := workflow.GetSignalChannel(ctx, "wallet_reply")
	var result wallet.Result
	for result.CommandID != orderID {
		replies.Receive(ctx, &result)
	}
	return fmt.Sprintf("%s, %s now", result.Status, result.TotalAfter), nil
}

// Activities do what workflow code cannot.
type Activities struct{ wallets *starter.Client }

// SignalCommand signals-with-start. A second try does no harm.
func (a *Activities) SignalCommand(ctx context.Context, userID, currency string, command wallet.Command) error {
	return a.wallets.Send(ctx, userID, currency, command)
}
