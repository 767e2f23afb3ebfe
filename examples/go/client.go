package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// sendCommands sends by signal, by update and in a batch, and asks for the balance. Each call
// starts the wallet's workflow if necessary, and retries temporary failures.
func sendCommands(ctx context.Context, wallets *starter.Client, userID string) error {
	// A signal is durable and has no answer.
	order1 := wallet.Command{ID: "order-1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("12.50")}
	if err := wallets.Send(ctx, userID, "USD", order1); err != nil {
		return err
	}

	// An update answers with the Result. Commands run in the order in which they arrived.
	coffee := starter.Change{
		UserID: userID, Currency: "USD", CommandID: "order-2",
		Amount: wallet.MustAmount("1.50"), Description: "a coffee",
	}
	result, err := wallets.Subtract(ctx, coffee)
	if err != nil {
		return err
	}
	fmt.Printf("update: %s %s, %s -> %s\n", result.CommandID, result.Status, result.TotalBefore, result.TotalAfter)

	// After an error or a crash, send the same command again: it counts once.
	again, err := wallets.Subtract(ctx, coffee)
	if err != nil {
		return err
	}
	fmt.Printf("again: %s %s, replayed: %t\n", again.CommandID, again.Status, again.Replayed)

	// A refusal has its own error type. It is final for its id.
	_, err = wallets.Subtract(ctx, starter.Change{
		UserID: userID, Currency: "USD", CommandID: "order-3", Amount: wallet.MustAmount("100.00"),
	})
	var unapplied *wallet.UnappliedError
	if !errors.As(err, &unapplied) {
		return fmt.Errorf("a subtract of too much should be refused, got: %v", err)
	}
	refused := unapplied.Result
	fmt.Printf("refused: %s, %s: %s\n", refused.CommandID, refused.Reason, refused.Message)

	// In a batch a refusal is an item, and the next commands still run.
	results, err := wallets.ApplyBatch(ctx, userID, "USD", []wallet.Command{
		{ID: "order-4", Type: wallet.TypeAdd, Amount: wallet.MustAmount("5")},
		{ID: "order-5", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("100")},
	})
	if err != nil {
		return err
	}
	var items []string
	for _, r := range results {
		outcome := string(r.Status)
		if r.Reason != "" {
			outcome = string(r.Reason)
		}
		items = append(items, r.CommandID+" "+outcome)
	}
	fmt.Println("batch:", strings.Join(items, ", "))

	// Anything that is not a valid command is an InvalidError, and retrying does not help.
	_, err = wallets.Add(ctx, starter.Change{UserID: userID, Currency: "USD", CommandID: "_order-6", Amount: wallet.MustAmount("5")})
	var invalid *wallet.InvalidError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("such an id should be refused, got: %v", err)
	}
	fmt.Println("invalid:", invalid.Message)

	state, err := wallets.State(ctx, userID, "USD")
	if err != nil {
		return err
	}
	fmt.Printf("balance: %s %s available, version %d\n", state.Available, state.Currency, state.Version)
	return nil
}
