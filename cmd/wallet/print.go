package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
)

// print writes a list: as JSON lines for machines, one object each, or as the
// table that row makes of it.
func print[T any](a *app, cmd *cobra.Command, list []T, header table.Row, row func(T) table.Row) error {
	if a.output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		for _, item := range list {
			if err := encoder.Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(cmd.OutOrStdout(), header)
	for _, item := range list {
		t.AppendRow(row(item))
	}
	t.Render()
	return nil
}

func newTable(out io.Writer, header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i, name := range header {
		switch name {
		case "amount", "total", "before", "after", "hold", "available", "version", "position", "scale", "added", "subtracted":
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	return t
}

// rowsPerTable is what a list holds in memory before it is printed.
const rowsPerTable = 1000

// pagedTable prints a list of any length as one table after the other.
type pagedTable struct{ table.Writer }

func newPagedTable(out io.Writer, header table.Row) pagedTable {
	return pagedTable{newTable(out, header)}
}

func (p pagedTable) append(row table.Row) {
	if p.Length() == rowsPerTable {
		p.Render()
		p.ResetRows()
	}
	p.AppendRow(row)
}

var resultHeader = table.Row{"command", "type", "amount", "status", "before", "after", "version", "position"}

func resultRow(r wallet.Result) table.Row {
	status := string(r.Status)
	if r.Reason != "" {
		status += ": " + string(r.Reason)
	}
	if r.Replayed {
		status += " (answered before)"
	}
	return table.Row{plain(r.CommandID), r.Type, amount(r.Amount), status, r.TotalBefore, r.TotalAfter, number(r.Version), number(r.Position)}
}

func (a *app) printResult(cmd *cobra.Command, r wallet.Result) error {
	if err := print(a, cmd, []wallet.Result{r}, resultHeader, resultRow); err != nil {
		return err
	}
	if r.Message != "" && a.output == "table" {
		fmt.Fprintln(cmd.OutOrStdout(), r.Message)
	}
	return nil
}

// plain shows text of any Unicode in one table cell without letting it drive the
// terminal; JSON output has it verbatim.
func plain(s string) string {
	quoted := fmt.Sprintf("%q", s)
	if unquoted := quoted[1 : len(quoted)-1]; unquoted == s {
		return s
	}
	return quoted
}

func amount(a wallet.Amount) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000Z") }
