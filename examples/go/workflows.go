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

// Charge takes an amount.
func Charge(ctx workflow.Context, userID, orderID, amount string) (string, error) {
	price, err := wallet.ParseAmount(amount)
	if err != nil {
		return "", err
	}
	result, err := apply(ctx, userID, wallet.Command{ID: orderID, Type: wallet.TypeSubtract, Amount: price})
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		return fmt.Sprintf("not paid: %s", unapplied.Result.Reason), nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("paid, %s left", result.TotalAfter), nil
}

// Deliver reserves the price of an order at checkout and charges what ships. Of its two
// parcels the second is never ready, so its part of the hold expires.
func Deliver(ctx workflow.Context, userID, orderID, amount string) (string, error) {
	price, err := wallet.ParseAmount(amount)
	if err != nil {
		return "", err
	}
	hold, err := apply(ctx, userID, wallet.Command{ID: orderID, Type: wallet.TypeHold, Amount: price, ExpiresIn: "8s"}) // days in a real shop
	if err != nil {
		return "", err
	}
	parcel, err := apply(ctx, userID, wallet.Command{
		ID: orderID + "/parcel-1", Type: wallet.TypeCapture, HoldID: orderID, Amount: wallet.MustAmount("5.00"), Partial: true,
	})
	if err != nil {
		return "", err
	}
	if err := workflow.Sleep(ctx, hold.HoldExpiresAt.Add(time.Second).Sub(workflow.Now(ctx))); err != nil {
		return "", err
	}
	late, err := apply(ctx, userID, wallet.Command{ID: orderID + "/parcel-2", Type: wallet.TypeCapture, HoldID: orderID})
	if !errors.Is(err, wallet.ReasonHoldExpired) {
		return "", fmt.Errorf("the hold should have expired, got: %v", err)
	}
	return fmt.Sprintf("%s charged, %s expired, %s available", parcel.Amount, parcel.HoldLeft, late.TotalAfter.Sub(late.HoldAfter)), nil
}

// apply runs a command as a child workflow, which brings the Result or fails with the
// refusal, an *wallet.UnappliedError.
func apply(ctx workflow.Context, userID string, command wallet.Command) (wallet.Result, error) {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: wallet.ApplyCommandWorkflowID(userID, "USD", command.ID),
		TaskQueue:  wallet.DefaultTaskQueue,
	})
	var result wallet.Result
	err := workflow.ExecuteChildWorkflow(ctx, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{
		AssetRef: wallet.AssetRef{UserID: userID, Currency: "USD"}, Command: command,
	}).Get(ctx, &result)
	var failure *temporal.ApplicationError
	if !errors.As(err, &failure) || failure.Type() != wallet.FailureUnappliedCommand {
		return result, err
	}
	if err := failure.Details(&result); err != nil {
		return result, err
	}
	return result, result.Err()
}

// Refund signals a command and waits for the reply, which is a signal too. The reply may come
// more than once; its command id says which one it is.
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

// SignalCommand signals with start. Trying again is harmless.
func (a *Activities) SignalCommand(ctx context.Context, userID, currency string, command wallet.Command) error {
	return a.wallets.Send(ctx, userID, currency, command)
}
