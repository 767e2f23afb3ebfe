package cli

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/valueledger/wallet"
)

// NewTable begins a table whose columns of numbers are aligned to the right.
func NewTable(out io.Writer, header table.Row) table.Writer {
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

// ResultHeader names the columns of ResultRow.
var ResultHeader = table.Row{"command", "type", "amount", "status", "before", "after", "version", "position"}

// ResultRow shows what became of a command.
func ResultRow(r wallet.Result) table.Row {
	status := string(r.Status)
	if r.Reason != "" {
		status += ": " + string(r.Reason)
	}
	if r.Replayed {
		status += " (answered before)"
	}
	return table.Row{Plain(r.CommandID), r.Type, Amount(r.Amount), status, r.TotalBefore, r.TotalAfter, Number(r.Version), Number(r.Position)}
}

// Plain shows text of any Unicode in one table cell without letting it drive the
// terminal; JSON output has it verbatim.
func Plain(s string) string {
	quoted := fmt.Sprintf("%q", s)
	if unquoted := quoted[1 : len(quoted)-1]; unquoted == s {
		return s
	}
	return quoted
}

// Amount shows an amount, and none as an empty cell.
func Amount(a wallet.Amount) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

// Number shows a version or a position, and none as an empty cell.
func Number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
