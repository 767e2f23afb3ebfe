package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
)

// completionPatience is how long a shell's Tab key waits for Postgres.
const completionPatience = 2 * time.Second

// completeValues tells the shells what flags and arguments may be. "wallet completion"
// prints the script that asks.
func (a *app) completeValues(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup("status") != nil {
			statuses := []string{string(wallet.StatusApplied), string(wallet.StatusUnapplied)}
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp)))
		}
		if slices.Contains(takeWallets, cmd.Name()) {
			cmd.ValidArgsFunction = a.completeCurrency
		}
	}
}

// takeWallets have USER and CURRENCY as their first arguments.
var takeWallets = []string{"create", "add", "subtract", "balance", "statement", "events", "commands", "verify", "receipt", "head", "repair"}

// completeCurrency offers the registered currencies after a user, whom only the caller
// knows. Without Postgres there is nothing to offer.
func (a *app) completeCurrency(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	var codes []string
	_ = a.withPool(ctx, func(pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, sqlListCurrencies)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[currency])
		for _, c := range list {
			codes = append(codes, c.Code)
		}
		return err
	})
	return codes, cobra.ShellCompDirectiveNoFileComp
}
