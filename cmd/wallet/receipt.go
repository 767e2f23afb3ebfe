package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

func (a *app) receiptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "receipt USER CURRENCY COMMAND_ID", Short: "Print the receipt of a command, as JSON to keep",
		Example: "  wallet receipt u1 USD order-7 > order-7.json\n  wallet verify --receipt order-7.json",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, err := walletArgs(args[:2]); err != nil {
				return err
			}
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				receipt, err := trail.New(pool).Receipt(cmd.Context(), args[0], args[1], args[2])
				if err != nil {
					return err
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(receipt)
			})
		},
	}
}

func (a *app) headCommand() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "head [USER [CURRENCY]]", Short: "Export the heads of hash chains, as JSON lines to keep",
		Example: "  wallet head --all > heads.jsonl\n  wallet verify --heads heads.jsonl",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all != (len(args) == 0) {
				return cli.Usagef("name a user, or export all with --all")
			}
			userID, currency := "", ""
			if len(args) > 0 {
				var err error
				if userID, currency, err = walletArgs(args); err != nil {
					return err
				}
			}
			encoder := json.NewEncoder(cmd.OutOrStdout())
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				exported := 0
				err := trail.New(pool).Heads(cmd.Context(), userID, currency, func(head trail.Receipt) error {
					exported++
					return encoder.Encode(head)
				})
				if err == nil && exported == 0 {
					a.note(cmd, "no wallet has an entry, so there is no head to export")
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "of all wallets")
	return cmd
}

// receiptsReport is what became of exported receipts or heads.
type receiptsReport struct {
	Receipts int64           `json:"receipts"` // that were read and compared
	Findings []trail.Finding `json:"findings"`
}

// verifyReceipts is "wallet verify --receipt FILE" and "--heads FILE". What was found
// before a receipt that cannot be read is printed, too.
func (a *app) verifyReceipts(cmd *cobra.Command, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	report := receiptsReport{Findings: []trail.Finding{}}
	failed := a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
		read, findings, err := trail.New(pool).CheckReceipts(cmd.Context(), file)
		report.Receipts, report.Findings = read, append(report.Findings, findings...)
		return err
	})
	if failed != nil {
		failed = fmt.Errorf("%s: %w", path, failed)
	}
	if report.Receipts == 0 {
		return cmp.Or(failed, fmt.Errorf("%s holds no receipt", path))
	}
	if a.output == "json" {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	} else {
		err = a.printFindings(cmd, report.Findings)
	}
	var wrong error
	if len(report.Findings) > 0 {
		wrong = fmt.Errorf("%d of %d receipts do not match the journal", len(report.Findings), report.Receipts)
	}
	if err := errors.Join(err, wrong, failed); err != nil {
		return err
	}
	if a.output == "table" {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d receipts match: the journal has exactly these entries at their places\n", report.Receipts)
	}
	return err
}
