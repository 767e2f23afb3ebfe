package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/statement"
	"github.com/valueledger/wallet/trail"
)

func (a *app) statementCommand() *cobra.Command {
	var from, to timeFlag
	spreadsheet, by := false, ""
	cmd := &cobra.Command{
		Use: "statement USER CURRENCY", Short: "Show what became of a balance in a period",
		Long: `Show the balance at the start of a period, each event in it, and the
balance at its end, exact even while commands are being applied. Lines are
streamed: --output csv and json take a million lines as easily as ten.
With --by grant, each change of the total has a line for each of its grants, and
one for what is not granted.`,
		Example:     "  wallet statement u1 USD\n  wallet statement u1 USD --from 2026-01-01 --to 2026-02-01 --output csv > january.csv\n  wallet statement u1 USD --by grant",
		Args:        cobra.ExactArgs(2),
		Annotations: map[string]string{writesCSV: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args)
			if err != nil {
				return err
			}
			if err := checkBy(by); err != nil {
				return err
			}
			switch {
			case !spreadsheet:
			case a.output == "json":
				return cli.Usagef("--spreadsheet is for CSV: leave out --output json")
			default:
				a.output = "csv"
			}
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				read := trail.New(pool)
				s, err := read.Statement(cmd.Context(), userID, currency, from.Time, to.Time)
				if err != nil {
					return err
				}
				printer := a.statementPrinter(cmd.OutOrStdout(), spreadsheet, by != "")
				if by != "" {
					return statement.PrintByGrant(cmd.Context(), s, read, printer)
				}
				return statement.Print(cmd.Context(), s, printer)
			})
		},
	}
	cmd.Flags().BoolVar(&spreadsheet, "spreadsheet", false, "CSV to open in a spreadsheet: a byte order mark, and an apostrophe before text that would run as a formula; --output csv by itself has all text unchanged, for programs")
	cmd.Flags().StringVar(&by, "by", "", "grant: a line for each grant")
	cmd.Flags().Var(&from, "from", "start, inclusive: RFC 3339, or a date for midnight UTC (default: the wallet's first entry)")
	cmd.Flags().Var(&to, "to", "end, exclusive: RFC 3339, or a date for midnight UTC (default: now)")
	return cmd
}

// statementPrinter writes a statement in one of the outputs.
func (a *app) statementPrinter(out io.Writer, spreadsheet, byGrant bool) statement.Printer {
	switch a.output {
	case "csv":
		out := statement.NewCSV(out, spreadsheet)
		if byGrant {
			out = out.ByGrant()
		}
		return out
	case "json":
		return jsonStatement{json.NewEncoder(out)}
	default:
		header := table.Row{"at", "version", "event", "command", "added", "subtracted", "total", "hold", "reverses", "reversed", "description"}
		if byGrant {
			header = append(header, "grant")
		}
		return tableStatement{newPagedTable(out, header), out, byGrant}
	}
}

type tableStatement struct {
	pages   pagedTable
	out     io.Writer
	byGrant bool
}

func (p tableStatement) Opening(s trail.Statement) error {
	p.pages.append(table.Row{when(s.From), cli.Number(s.Opening.Version), "opening balance", "", "", "", s.Opening.Total, s.Opening.Hold, "", "", ""})
	return nil
}

func (p tableStatement) Line(l statement.Line) error {
	e := l.Event
	added, subtracted := statement.Sides(e)
	total := e.TotalAfter.String()
	if !statement.ChangesTotal(e) {
		total = "(" + total + ")"
	}
	row := table.Row{when(e.OccurredAt), e.Version, e.EventType, cli.Plain(e.CommandID), added, subtracted, total, e.HoldAfter, cli.Plain(e.OriginalID), cli.Amount(e.Reversed), cli.Plain(e.Description)}
	if p.byGrant {
		row = append(row, cli.Plain(l.GrantID))
	}
	p.pages.append(row)
	return nil
}

func (p tableStatement) Closing(s trail.Statement) error {
	p.pages.append(table.Row{when(s.To), s.Closing.Version, "closing balance", "", s.Added.Sum, s.Subtracted.Sum, s.Closing.Owned(), s.Closing.Reserved(), "", "", ""})
	p.pages.Render()
	noteDue(p.out, s.Closing.Balance())
	others := ""
	if n := s.Closing.Version - s.Opening.Version - s.Added.Count - s.Subtracted.Count; n > 0 {
		others = fmt.Sprintf(", %d without a change of the total (in brackets)", n)
	}
	_, err := fmt.Fprintf(p.out, "%d added, %d subtracted%s\n", s.Added.Count, s.Subtracted.Count, others)
	return err
}

type jsonStatement struct{ *json.Encoder }

func (e jsonStatement) Opening(s trail.Statement) error {
	return e.Encode(struct {
		Kind string    `json:"kind"`
		From time.Time `json:"from"`
		wallet.Balance
	}{"opening", s.From, s.Opening.Balance()})
}

func (e jsonStatement) Line(l statement.Line) error {
	return e.Encode(struct {
		Kind string `json:"kind"`
		statement.Line
		ChangesTotal bool `json:"changes_total"`
	}{"line", l, statement.ChangesTotal(l.Event)})
}

func (e jsonStatement) Closing(s trail.Statement) error {
	return e.Encode(struct {
		Kind string    `json:"kind"`
		To   time.Time `json:"to"`
		wallet.Balance
		Added      trail.Turnover `json:"added"`
		Subtracted trail.Turnover `json:"subtracted"`
	}{"closing", s.To, s.Closing.Balance(), s.Added, s.Subtracted})
}
