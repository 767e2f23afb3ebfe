package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/valueledger/wallet"
)

// Table is a table whose columns of numbers are aligned to the right. It leaves the columns
// sometimes out where no row has a value: most wallets have no holds. It fits the terminal.
type Table struct {
	table.Writer
	out       io.Writer
	names     []string
	columns   []table.ColumnConfig
	widest    []int // cell of each column
	longest   []int // word of each column
	sometimes []int // the places of the columns that may be left out
}

// sometimes are the columns of what most commands have not.
var sometimes = []string{"hold id", "reverses", "reversed", "state"}

// NewTable starts a table.
func NewTable(out io.Writer, header table.Row) *Table {
	t := &Table{table.NewWriter(), out, make([]string, len(header)), make([]table.ColumnConfig, len(header)), make([]int, len(header)), make([]int, len(header)), nil}
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	for i, name := range header {
		t.names[i], t.columns[i].Number = fmt.Sprint(name), i+1
		if slices.Contains(sometimes, t.names[i]) {
			t.sometimes = append(t.sometimes, i)
		}
		switch name {
		case "amount", "total", "before", "after", "hold", "available", "version", "position", "scale", "added", "subtracted",
			"captured", "released", "left", "reversed", "lines", "applied", "refused", "invalid", "replayed", "waiting":
			t.columns[i].Align = text.AlignRight
		}
	}
	t.ResetRows()
	return t
}

// AppendRow adds a row.
func (t *Table) AppendRow(row table.Row) {
	for _, i := range t.sometimes {
		if row[i] != "" {
			t.columns[i].Hidden = false
		}
	}
	for i, cell := range row {
		t.widest[i] = max(t.widest[i], text.LongestLineLen(fmt.Sprint(cell)))
		for word := range strings.FieldsSeq(fmt.Sprint(cell)) {
			t.longest[i] = max(t.longest[i], text.StringWidth(word))
		}
	}
	t.Writer.AppendRow(row)
}

// Render prints the table.
func (t *Table) Render() {
	width := Width(t.out)
	columns, hidden := t.fitted(width)
	t.SetColumnConfigs(columns)
	t.Writer.Render()
	var notes []string
	if len(hidden) > 0 {
		notes = append(notes, "left out for want of width: "+strings.Join(hidden, ", "))
	}
	if slices.ContainsFunc(columns, func(c table.ColumnConfig) bool {
		return c.WidthMax > 0 && !c.Hidden && slices.Contains(ids, t.names[c.Number-1])
	}) {
		notes = append(notes, "ids with … are cut")
	}
	if len(notes) > 0 {
		fmt.Fprintln(t.out, text.WrapSoft(strings.Join(notes, "; ")+" (-o json has all)", width))
	}
}

// ResetRows starts the next table.
func (t *Table) ResetRows() {
	t.Writer.ResetRows()
	for i, name := range t.names {
		t.widest[i], t.longest[i] = text.LongestLineLen(name), 0
	}
	for _, i := range t.sometimes {
		t.columns[i].Hidden = true
	}
}

// ResultHeader names the columns of ResultRow.
var ResultHeader = table.Row{"command", "type", "amount", "status", "before", "after", "version", "position", "hold id", "reverses"}

// ResultRow shows the result of a command.
func ResultRow(r wallet.Result) table.Row {
	status := string(r.Status)
	if r.Reason != "" {
		status += ": " + string(r.Reason)
	}
	if r.Replayed {
		status += " (answered before)"
	}
	return table.Row{Plain(r.CommandID), r.Type, Amount(r.Amount), status, r.TotalBefore, r.TotalAfter, Number(r.Version), Number(r.Position), Plain(r.HoldID), Plain(r.OriginalID)}
}

// Plain makes any Unicode text safe for a table cell, so that it cannot control the terminal;
// JSON output has it unchanged.
func Plain(s string) string {
	quoted := fmt.Sprintf("%q", s)
	if unquoted := quoted[1 : len(quoted)-1]; unquoted == s {
		return s
	}
	return quoted
}

// Amount formats an amount; 0 is an empty cell.
func Amount(a wallet.Amount) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

// Number formats a version or a position; 0 is an empty cell.
func Number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
