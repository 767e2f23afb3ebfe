package main

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// completionPatience is how long a shell's Tab key waits for Postgres.
const completionPatience = 2 * time.Second

// completedHolds is how many holds a shell offers.
const completedHolds = 100

// completeValues tells the shells what flags and arguments may be. "wallet completion"
// prints the script that asks.
func (a *app) completeValues(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup("status") != nil {
			statuses := []string{string(wallet.StatusApplied), string(wallet.StatusUnapplied)}
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp)))
		}
		if cmd.Flags().Lookup("state") != nil {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(holdStates, cobra.ShellCompDirectiveNoFileComp)))
		}
		if cmd.Flags().Lookup("hold") != nil {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc("hold", a.completeHold))
		}
		if takesWallet(cmd) {
			cmd.ValidArgsFunction = a.completeCurrency
		}
	}
}

// takesWallet reports whether USER is a command's first argument; CURRENCY is the second.
func takesWallet(cmd *cobra.Command) bool {
	words := strings.Fields(cmd.Use)
	return len(words) > 1 && strings.Trim(words[1], "[]") == "USER"
}

// completeHold offers the open holds of the wallet that the arguments name, the first of
// them.
func (a *app) completeHold(cmd *cobra.Command, args []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
	if len(args) < 2 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	_ = a.withPool(ctx, func(pool *pgxpool.Pool) error {
		holds, err := trail.New(pool).Holds(ctx, trail.HoldFilter{UserID: args[0], Currency: args[1], State: wallet.HoldOpen, Limit: completedHolds})
		for _, h := range holds {
			ids = append(ids, h.ID)
		}
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}

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
