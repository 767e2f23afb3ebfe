package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
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
With --by grant, what changed the total has a line for each grant that it was
of, and one for what is not granted.`,
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
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				read := trail.New(pool)
				s, err := read.Statement(cmd.Context(), userID, currency, from.Time, to.Time)
				if err != nil {
					return err
				}
				printer := a.statementPrinter(cmd.OutOrStdout(), spreadsheet, by != "")
				grants := grantNames{read: read, ids: map[int64]string{}}
				if err := printer.opening(s); err != nil {
					return err
				}
				for line, err := range s.Lines(cmd.Context()) {
					if err != nil {
						return err
					}
					lines := []statementLine{{Event: line}}
					if by != "" {
						if lines, err = grants.split(cmd.Context(), line); err != nil {
							return err
						}
					}
					for _, l := range lines {
						if err := printer.line(l); err != nil {
							return err
						}
					}
				}
				return printer.closing(s)
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
type statementPrinter interface {
	opening(trail.Statement) error
	line(statementLine) error
	closing(trail.Statement) error
}

func (a *app) statementPrinter(out io.Writer, spreadsheet, byGrant bool) statementPrinter {
	switch a.output {
	case "csv":
		return csvStatement{csv.NewWriter(out), out, spreadsheet, byGrant}
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

func (p tableStatement) opening(s trail.Statement) error {
	p.pages.append(table.Row{when(s.From), cli.Number(s.Opening.Version), "opening balance", "", "", "", s.Opening.Total, s.Opening.Hold, "", "", ""})
	return nil
}

func (p tableStatement) line(e statementLine) error {
	added, subtracted := sides(e.Event)
	total := e.TotalAfter.String()
	if !changesTotal(e.Event) {
		total = "(" + total + ")"
	}
	row := table.Row{when(e.OccurredAt), e.Version, e.EventType, cli.Plain(e.CommandID), added, subtracted, total, e.HoldAfter, cli.Plain(e.OriginalID), cli.Amount(e.Reversed), cli.Plain(e.Description)}
	if p.byGrant {
		row = append(row, cli.Plain(e.GrantID))
	}
	p.pages.append(row)
	return nil
}

func (p tableStatement) closing(s trail.Statement) error {
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

// changesTotal is false of an event that only opens the wallet, or reserves or gives back a
// part of its total.
func changesTotal(e trail.Event) bool { return e.TotalAfter.Cmp(e.TotalBefore) != 0 }

// sides gives what an event changed of the total, in the column that it belongs to. Both are
// empty for one that did not change it.
func sides(e trail.Event) (added, subtracted string) {
	switch e.TotalAfter.Cmp(e.TotalBefore) {
	case 1:
		return e.TotalAfter.Sub(e.TotalBefore).String(), ""
	case -1:
		return "", e.TotalBefore.Sub(e.TotalAfter).String()
	default:
		return "", ""
	}
}

// csvStatement writes text verbatim, so that programs read back what was written; or, for a
// spreadsheet, so that none of it is run as a formula and the file is read as UTF-8.
type csvStatement struct {
	*csv.Writer
	out         io.Writer
	spreadsheet bool
	byGrant     bool
}

const byteOrderMark = "\ufeff"

// text is a field that callers have written. Spreadsheets run one that begins with one of
// these characters.
func (w csvStatement) text(field string) string {
	if w.spreadsheet && field != "" && strings.ContainsRune("=+-@\t\r\n", rune(field[0])) {
		return "'" + field
	}
	return field
}

func (w csvStatement) opening(s trail.Statement) error {
	header := []string{"kind", "user_id", "currency", "at", "version", "event_type", "command_id", "hold_id", "added", "subtracted", "changes_total", "total", "hold",
		"description", "actor", "metadata", "added_count", "subtracted_count", "original_id", "reversed"}
	if w.spreadsheet {
		if _, err := io.WriteString(w.out, byteOrderMark); err != nil {
			return err
		}
	}
	if w.byGrant {
		header = append(header, "grant", "grant_id")
	}
	if err := w.Write(header); err != nil {
		return err
	}
	o := s.Opening
	return w.write([]string{"opening", w.text(o.UserID), o.Currency, timestamp(s.From), strconv.FormatInt(o.Version, 10), "", "", "", "", "", "", o.Total.String(), o.Hold.String(),
		"", "", "", "", "", "", ""})
}

// write writes a row that is of no grant.
func (w csvStatement) write(row []string) error {
	if w.byGrant {
		row = append(row, "", "")
	}
	return w.Write(row)
}

func (w csvStatement) line(e statementLine) error {
	added, subtracted := sides(e.Event)
	metadata := ""
	if len(e.Metadata) > 0 {
		encoded, err := json.Marshal(e.Metadata)
		if err != nil {
			return err
		}
		metadata = string(encoded)
	}
	grant := ""
	if e.Grant != 0 {
		grant = strconv.FormatInt(e.Grant, 10)
	}
	row := []string{"line", w.text(e.UserID), e.Currency, timestamp(e.OccurredAt), strconv.FormatInt(e.Version, 10), e.EventType, w.text(e.CommandID), w.text(e.HoldID), added, subtracted, strconv.FormatBool(changesTotal(e.Event)),
		e.TotalAfter.String(), e.HoldAfter.String(), w.text(e.Description), w.text(e.Actor), metadata, "", "", w.text(e.OriginalID), cli.Amount(e.Reversed)}
	if w.byGrant {
		row = append(row, grant, w.text(e.GrantID))
	}
	return w.Write(row)
}

func (w csvStatement) closing(s trail.Statement) error {
	c := s.Closing
	err := w.write([]string{"closing", w.text(c.UserID), c.Currency, timestamp(s.To), strconv.FormatInt(c.Version, 10), "", "", "", s.Added.Sum.String(), s.Subtracted.Sum.String(), "",
		c.Owned().String(), c.Reserved().String(), "", "", "", strconv.FormatInt(s.Added.Count, 10), strconv.FormatInt(s.Subtracted.Count, 10), "", ""})
	if err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

func timestamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

type jsonStatement struct{ *json.Encoder }

func (e jsonStatement) opening(s trail.Statement) error {
	return e.Encode(struct {
		Kind string    `json:"kind"`
		From time.Time `json:"from"`
		wallet.Balance
	}{"opening", s.From, s.Opening.Balance()})
}

func (e jsonStatement) line(l statementLine) error {
	return e.Encode(struct {
		Kind string `json:"kind"`
		statementLine
		ChangesTotal bool `json:"changes_total"`
	}{"line", l, changesTotal(l.Event)})
}

func (e jsonStatement) closing(s trail.Statement) error {
	return e.Encode(struct {
		Kind string    `json:"kind"`
		To   time.Time `json:"to"`
		wallet.Balance
		Added      trail.Turnover `json:"added"`
		Subtracted trail.Turnover `json:"subtracted"`
	}{"closing", s.To, s.Closing.Balance(), s.Added, s.Subtracted})
}
