package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/cli"
)

func addDryRun(flags *pflag.FlagSet, dryRun *bool) {
	flags.BoolVar(dryRun, "dry-run", false, "show what it would do now, and record nothing: reads Postgres, is no promise")
}

// dryRunRefusal is a refusal that is not on record.
type dryRunRefusal struct{ error }

func (e *dryRunRefusal) Error() string { return "dry run: " + e.error.Error() }
func (e *dryRunRefusal) Unwrap() error { return e.error }

// dryRun prints what a command would do, with the exit code that it would have.
func (a *app) dryRun(cmd *cobra.Command, timeout time.Duration, userID, currency string, command wallet.Command) error {
	return a.withDryRun(cmd, timeout, func(ctx context.Context, run activities.DryRun) error {
		result, err := run.Apply(ctx, userID, currency, command)
		var refused *wallet.UnappliedError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		return errors.Join(a.printDryRun(cmd, result), markDryRun(err))
	})
}

func (a *app) dryRunTransaction(cmd *cobra.Command, timeout time.Duration, t wallet.Transaction) error {
	return a.withDryRun(cmd, timeout, func(ctx context.Context, run activities.DryRun) error {
		result, err := run.Transaction(ctx, t)
		var refused *wallet.TransactionRefusedError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		return errors.Join(a.printDryRunTransaction(cmd, result), markDryRun(err))
	})
}

func (a *app) withDryRun(cmd *cobra.Command, timeout time.Duration, do func(context.Context, activities.DryRun) error) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	return a.withPool(ctx, func(pool *pgxpool.Pool) error { return do(ctx, activities.NewDryRun(pool)) })
}

func markDryRun(refusal error) error {
	if refusal == nil {
		return nil
	}
	return &dryRunRefusal{refusal}
}

func (a *app) printDryRun(cmd *cobra.Command, r wallet.DryRunResult) error {
	if a.output != "table" {
		return printList(a, cmd, []wallet.DryRunResult{r}, "", nil, nil)
	}
	if err := a.printResult(cmd, r.Result); err != nil {
		return err
	}
	if r.HoldBefore.Cmp(r.HoldAfter) != 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "on hold: %s before, %s after\n", r.HoldBefore, r.HoldAfter)
	}
	return sayDryRun(cmd, r.DryRun)
}

func (a *app) printDryRunTransaction(cmd *cobra.Command, r wallet.DryRunTransactionResult) error {
	if a.output != "table" {
		return printList(a, cmd, []wallet.DryRunTransactionResult{r}, "", nil, nil)
	}
	if err := a.printLegs(cmd, r.TransactionResult); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case r.Replayed:
		fmt.Fprintf(out, "transaction %s was recorded before, at %s: %s\n", cli.Plain(r.TransactionID), when(r.RecordedAt), r.Status)
	case r.RefusedLeg > 0:
		fmt.Fprintf(out, "transaction %s would be refused because of leg %d: %s\n", cli.Plain(r.TransactionID), r.RefusedLeg, r.Message)
	case r.Status != wallet.StatusApplied:
		fmt.Fprintln(out, r.Message)
	default:
		fmt.Fprintf(out, "transaction %s would be applied\n", cli.Plain(r.TransactionID))
	}
	return sayDryRun(cmd, r.DryRun)
}

func sayDryRun(cmd *cobra.Command, d wallet.DryRun) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "dry run:", d.Note)
	return err
}
