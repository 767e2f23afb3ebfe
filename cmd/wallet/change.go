package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// changeCommand is "wallet create|add|subtract".
func (a *app) changeCommand(commandType wallet.CommandType) *cobra.Command {
	var (
		id, description, actor string
		metadata               map[string]string
		timeout                time.Duration
	)
	use, short, args := string(commandType)+" USER CURRENCY AMOUNT", "", 3
	switch commandType {
	case wallet.TypeCreate:
		use, short, args = "create USER CURRENCY", "Open a user's wallet in a currency, with nothing in it", 2
	case wallet.TypeAdd:
		short = "Add an amount to a user's wallet"
	case wallet.TypeSubtract:
		short = "Subtract an amount from a user's wallet, if that much is available"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(args),
		Example: fmt.Sprintf("  wallet %s --id order-7 --description \"refund\"", strings.NewReplacer("USER", "u1", "CURRENCY", "USD", "AMOUNT", "12.50").Replace(use)),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := wallet.Command{ID: id, Type: commandType, Description: description, Actor: actor, Metadata: metadata}
			if len(args) == 3 {
				amount, err := wallet.ParseAmount(args[2])
				if err != nil {
					return err
				}
				command.Amount = amount
			}
			if id == "" {
				command.ID = "cli-" + rand.Text()
				// Printed before it is sent: if the answer is lost, this is how to ask again.
				fmt.Fprintf(cmd.ErrOrStderr(), "id %s (to try again: --id %s)\n", command.ID, command.ID)
			}
			wallets, temporal, err := a.dialWallets(cmd.Context())
			if err != nil {
				return err
			}
			defer temporal.Close()
			return a.apply(cmd, wallets, timeout, wallet.ApplyCommandInput{
				AssetRef: wallet.AssetRef{UserID: args[0], Currency: args[1]}, Command: command,
			})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "command id: sent again with the same id, the command counts once (generated and printed if empty)")
	cmd.Flags().StringVar(&description, "description", "", "what it is for, at most 256 characters")
	cmd.Flags().StringVar(&actor, "actor", "", "who asks for it")
	cmd.Flags().StringToStringVar(&metadata, "metadata", nil, "key=value pairs to keep with it")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	return cmd
}

// apply sends a command and prints its result, of a refusal too.
func (a *app) apply(cmd *cobra.Command, wallets *starter.Client, timeout time.Duration, in wallet.ApplyCommandInput) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %s (is a worker running on task queue %q?)", timeout, a.taskQueue))
	defer cancel()
	result, err := wallets.Apply(ctx, in.UserID, in.Currency, in.Command)
	var unapplied *wallet.UnappliedError
	if err != nil && !errors.As(err, &unapplied) {
		return err
	}
	if printErr := a.printResult(cmd, result); printErr != nil {
		return printErr
	}
	return err
}
