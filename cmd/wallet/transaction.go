package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

const transactionTimeout = 30 * time.Second

func (a *app) transferCommand() *cobra.Command {
	var t starter.Transfer
	var notAfter timeFlag
	var timeout time.Duration
	var dryRun bool
	cmd := &cobra.Command{
		Use: "transfer FROM TO CURRENCY AMOUNT", Short: "Move an amount from one wallet to another, atomically",
		Long: `Move an amount from one user's wallet to another's: both change, or neither
does. With --hold it is captured from a hold of FROM. Exit code 2 if it is
refused; each wallet then has an entry that says why.`,
		Example: "  wallet transfer u1 u2 USD 10 --id t-1\n  wallet transfer u1 shop USD 10 --hold order-7 --id order-7-paid",
		Args:    cobra.ExactArgs(4),
	}
	flags := cmd.Flags()
	flags.StringVar(&t.ID, "id", "", "transaction id: sent again with the same id, it counts once (without this flag one is made up and printed, on a terminal only)")
	flags.StringVar(&t.FromHoldID, "hold", "", "id of the hold to capture the amount from")
	flags.BoolVar(&t.Partial, "partial", false, "keep the rest of the hold reserved (default: release it)")
	flags.Var(&notAfter, "not-after", notAfterHelp)
	flags.StringVar(&t.Description, "description", "", "what it is for, at most 256 characters")
	flags.StringVar(&t.Actor, "actor", "", "who asks for it")
	flags.DurationVar(&timeout, "timeout", transactionTimeout, "how long to wait for the answer")
	addDryRun(flags, &dryRun)
	metadata := addMetadata(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		t.FromUserID, t.ToUserID, t.Currency, t.NotAfter, t.Metadata = args[0], args[1], args[2], notAfter.Time, metadata()
		if t.Amount, err = wallet.ParseAmount(args[3]); err != nil {
			return err
		}
		if t.Partial && t.FromHoldID == "" {
			return cli.Usagef("--partial is about a hold: name it with --hold, or leave --partial out")
		}
		invented, err := a.inventID(cmd, &t.ID)
		if err != nil {
			return err
		}
		if dryRun {
			return a.dryRunTransaction(cmd, timeout, t.Transaction())
		}
		err = a.transact(cmd, timeout, func(ctx context.Context, wallets *starter.Client) (wallet.TransactionResult, error) {
			return wallets.Transfer(ctx, t)
		})
		return howToRepeat(err, invented, t.ID)
	}
	return cmd
}

func (a *app) transactionCommand() *cobra.Command {
	var timeout time.Duration
	var dryRun bool
	cmd := &cobra.Command{
		Use: "transaction FILE", Short: "Apply commands for several wallets, all or none",
		Long: `Apply the transaction in a file of JSON ("-" for standard input): 2 to 100
commands for any wallets, of which all are applied or none is.

  {"id": "order-7", "must_balance": true, "commands": [
    {"user_id": "u1", "currency": "USD", "type": "subtract", "amount": "10"},
    {"user_id": "shop", "currency": "USD", "type": "add", "amount": "9.50"},
    {"user_id": "fees", "currency": "USD", "type": "add", "amount": "0.50"}]}

Its id makes it count once. With must_balance, one that does not take as much as
it gives in each currency is invalid (exit code 3, nothing is recorded). A
refusal exits with 2 and is recorded in each wallet; a used id with other
content exits with 2 and is not recorded.`,
		Example: "  wallet transaction order-7.json\n  wallet transaction show order-7",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Usagef("unknown command %q for %q: give one file, or \"show\" and an id", args[0], cmd.CommandPath())
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(cmd, args[0])
			if err != nil {
				return err
			}
			t, err := wallet.DecodeTransaction(data, "")
			if err != nil {
				return err
			}
			if dryRun {
				return a.dryRunTransaction(cmd, timeout, t)
			}
			return a.transact(cmd, timeout, func(ctx context.Context, wallets *starter.Client) (wallet.TransactionResult, error) {
				return wallets.Transaction(ctx, t)
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", transactionTimeout, "how long to wait for the answer")
	addDryRun(cmd.Flags(), &dryRun)
	cmd.AddCommand(&cobra.Command{
		Use: "show ID", Short: "Show what became of a transaction",
		Example: "  wallet transaction show order-7", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				t, err := trail.New(pool).Transaction(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if a.output == "table" {
					return a.printTransaction(cmd, t.TransactionResult)
				}
				return printList(a, cmd, []trail.Transaction{t}, "", nil, nil)
			})
		},
	})
	return cmd
}

// maxFile is far more than the largest transaction takes.
const maxFile = 16 << 20

func readFile(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, cli.Usagef("%v: name a file of JSON, or - for standard input", err)
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = cli.Usagef("%s has more than %d bytes, which no transaction has", name, maxFile)
	}
	return data, err
}

// transact sends a transaction and prints its result, of a refusal too.
func (a *app) transact(cmd *cobra.Command, timeout time.Duration, send func(context.Context, *starter.Client) (wallet.TransactionResult, error)) error {
	wallets, temporal, err := a.dialWallets(cmd.Context())
	if err != nil {
		return unsent(err)
	}
	defer temporal.Close()
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	result, err := send(ctx, wallets)
	var refused *wallet.TransactionRefusedError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	return errors.Join(a.printTransaction(cmd, result), err)
}

func (a *app) printTransaction(cmd *cobra.Command, r wallet.TransactionResult) error {
	if a.output != "table" {
		return printList(a, cmd, []wallet.TransactionResult{r}, "", nil, nil)
	}
	if err := a.printLegs(cmd, r); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case r.RefusedLeg > 0:
		fmt.Fprintf(out, "transaction %s was refused because of leg %d: %s\n", cli.Plain(r.TransactionID), r.RefusedLeg, r.Message)
	case r.Status != wallet.StatusApplied:
		fmt.Fprintln(out, r.Message)
	case r.Replayed:
		fmt.Fprintf(out, "transaction %s was applied before, at %s\n", cli.Plain(r.TransactionID), when(r.RecordedAt))
	default:
		fmt.Fprintf(out, "transaction %s is applied\n", cli.Plain(r.TransactionID))
	}
	return nil
}

func (a *app) printLegs(cmd *cobra.Command, r wallet.TransactionResult) error {
	header := table.Row{"leg", "user", "currency", "type", "amount", "status", "before", "after", "position", "hold id"}
	return printList(a, cmd, r.Results, "nothing was recorded", header, func(leg wallet.LegResult) table.Row {
		status := string(leg.Status)
		if leg.Reason != "" {
			status += ": " + string(leg.Reason)
		}
		return table.Row{leg.Leg, cli.Plain(leg.UserID), leg.Currency, leg.Type, cli.Amount(leg.Amount), status, leg.TotalBefore, leg.TotalAfter, cli.Number(leg.Position), cli.Plain(leg.HoldID)}
	})
}
