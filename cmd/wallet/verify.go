package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

func (a *app) verifyCommand() *cobra.Command {
	parallel, receipt, heads := 0, "", ""
	cmd := &cobra.Command{
		Use: "verify [USER [CURRENCY]]", Short: "Recompute everything from the journal, report what is wrong",
		Long: `Derive everything again from the rows, without writing: the hash chain of each
journal, each entry as the rules would have made it from the one before, one
equal event for each applied entry, each event in the feed, and the balance as
the end of the journal. The first bad row of each wallet is named. Exit code 0
only if all is right.

Somebody who may write to the database can also forge a whole chain, or cut off
its end; the rest then passes this check. --receipt and --heads find that:
they check that the journal still has exactly the entries exported earlier.`,
		Example: "  wallet verify\n  wallet verify u1 USD\n  wallet verify --receipt order-7.json\n  wallet verify --heads heads.jsonl",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if exported := receipt + heads; exported != "" {
				if len(args) > 0 {
					return cli.Usagef("--receipt and --heads check the wallets that the file names: leave out %q", args)
				}
				return a.verifyReceipts(cmd, exported)
			}
			if parallel < 0 {
				return cli.Usagef("--parallel %d is negative: use 0 for what the connections of the pool allow", parallel)
			}
			options := trail.VerifyOptions{Parallel: parallel}
			if len(args) > 0 {
				var err error
				if options.UserID, options.Currency, err = walletArgs(args); err != nil {
					return err
				}
			}
			var report trail.Report
			err := a.withReads(cmd.Context(), func(pool *pgxpool.Pool) (err error) {
				report, err = a.verifyWithProgress(cmd, trail.New(pool), options)
				return err
			})
			if err != nil {
				return err
			}
			if err := a.printReport(cmd, report); err != nil {
				return err
			}
			switch {
			case len(report.Findings) > 0:
				return fmt.Errorf("%d of %d wallets failed verification", len(report.Findings), report.Wallets)
			case report.Wallets == 0 && len(args) > 0:
				return fmt.Errorf("user %q: %w", args[0], trail.ErrNoWallet)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&parallel, "parallel", runtime.NumCPU(), "ranges of wallets to read at a time, on three connections each; 0 for what the pool allows")
	cmd.Flags().StringVar(&receipt, "receipt", "", "check the journal against a receipt (wallet receipt) instead")
	cmd.Flags().StringVar(&heads, "heads", "", "check the journal against earlier heads (wallet head) instead")
	cmd.MarkFlagsMutuallyExclusive("receipt", "heads")
	return cmd
}

func (a *app) printReport(cmd *cobra.Command, report trail.Report) error {
	if a.output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	}
	if err := a.printFindings(cmd, report.Findings); err != nil {
		return err
	}
	if err := a.printNotes(cmd, report.Notes); err != nil {
		return err
	}
	notes := ""
	if n := len(report.Notes); n > 0 {
		notes = ", " + plural(n, "note", "notes")
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "verified %d wallets, %d journal entries, %d events: %d findings%s\n", report.Wallets, report.Entries, report.Events, len(report.Findings), notes)
	return err
}

func (a *app) printNotes(cmd *cobra.Command, notes []trail.Note) error {
	if len(notes) == 0 {
		return nil
	}
	return printList(a, cmd, notes, "", table.Row{"user", "currency", "version", "position", "at", "note"}, func(n trail.Note) table.Row {
		return table.Row{cli.Plain(n.UserID), n.Currency, cli.Number(n.Version), n.Position, when(n.RecordedAt), cli.Plain(n.Note)}
	})
}

func (a *app) printFindings(cmd *cobra.Command, findings []trail.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return printList(a, cmd, findings, "", table.Row{"user", "currency", "table", "position", "problem"}, func(f trail.Finding) table.Row {
		return table.Row{cli.Plain(f.UserID), f.Currency, f.Table, cli.Number(f.Position), cli.Plain(f.Problem)}
	})
}
