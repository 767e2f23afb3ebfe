package main

import (
	"encoding/csv"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func (a *app) totalsCommand() *cobra.Command {
	var from, to timeFlag
	currency := ""
	cmd := &cobra.Command{
		Use: "totals", Short: "Show each currency's totals over all wallets",
		Long: `Show, for each currency, what all wallets held at the start of a period, what
came in and went out, and what they held at its end. It reads the whole
journal once, in constant memory; the result is exact even while commands are
being applied. Without --to the end is compared with the balances; exit code 1
if they differ.`,
		Example:     "  wallet totals\n  wallet totals --from 2026-01-01 --to 2026-02-01 --output csv > january.csv",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{writesCSV: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				all, err := trail.New(pool).Totals(cmd.Context(), currency, from.Time, to.Time)
				if err != nil {
					return err
				}
				if a.output == "csv" {
					return writeTotals(csv.NewWriter(cmd.OutOrStdout()), all)
				}
				if a.output == "json" {
					return printList(a, cmd, all, "", nil, func(trail.Totals) table.Row { return nil })
				}
				var lines []totalsLine
				for _, t := range all {
					lines = append(lines, linesOf(t)...)
				}
				return printList(a, cmd, lines, "there are no wallets yet", table.Row{"currency", "", "commands", "amount"}, func(l totalsLine) table.Row {
					return table.Row{l.currency, l.name, l.count, l.amount}
				})
			})
		},
	}
	cmd.Flags().StringVar(&currency, "currency", "", "only this currency")
	cmd.Flags().Var(&from, "from", "start, inclusive: RFC 3339, or a date for midnight UTC (default: the first entry)")
	cmd.Flags().Var(&to, "to", "end, exclusive: RFC 3339, or a date for midnight UTC (default: now)")
	return cmd
}

// totalsLine is a line of the totals of a currency.
type totalsLine struct {
	currency, name, count string
	amount                wallet.Amount
}

func linesOf(t trail.Totals) []totalsLine {
	line := func(name string, of trail.Turnover) totalsLine {
		return totalsLine{t.Currency, name, strconv.FormatInt(of.Count, 10), of.Sum}
	}
	return []totalsLine{
		{t.Currency, "opening", "", t.Opening},
		line("added", t.Added), line("subtracted", t.Subtracted), line("captured", t.Captured),
		line("reversed in", t.ReversedIn), line("reversed out", t.ReversedOut), line("expired", t.Expired),
		line("transferred in", t.TransferredIn), line("transferred out", t.TransferredOut),
		{t.Currency, "closing", "", t.Closing},
	}
}

// writeTotals writes no text of callers: nothing that a spreadsheet would run.
func writeTotals(w *csv.Writer, all []trail.Totals) error {
	if err := w.Write([]string{"currency", "line", "commands", "amount"}); err != nil {
		return err
	}
	for _, t := range all {
		for _, l := range linesOf(t) {
			if err := w.Write([]string{l.currency, l.name, l.count, l.amount.String()}); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}
