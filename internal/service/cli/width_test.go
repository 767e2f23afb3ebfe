package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/require"
)

func TestATableFits80ColumnsAndCutsNothingOff(t *testing.T) {
	const at, id, amount = "2026-01-31 18:30:00.000000Z", "an-id-of-many-characters-as-shops-make-them-000000000042", "1234567.89"
	for name, c := range map[string]struct {
		header, row table.Row
		hidden      string
	}{
		"few":      {table.Row{"currency", "scale"}, table.Row{"USD", 2}, ""},
		"balance":  {table.Row{"user", "currency", "total", "hold", "available", "version", "updated"}, table.Row{"u1", "USD", amount, "0.00", amount, 7, at}, "version"},
		"commands": {table.Row{"command", "type", "amount", "status", "before", "after", "version", "position", "hold id", "at"}, table.Row{id, "subtract", amount, "unapplied: insufficient_funds", amount, amount, 3, 4, "", at}, "before, version, position"},
		"events":   {table.Row{"user", "currency", "version", "event", "command", "amount", "before", "after", "at", "description"}, table.Row{id, "USD", 3, "wallet_asset.subtracted", id, amount, amount, amount, at, "many words that stand in a line of their own"}, "before, version, after, description, at"},
		"problems": {table.Row{"user", "currency", "table", "position", "problem"}, table.Row{id, "USD", "wallet_commands", 2, strings.Repeat("all of this is wrong ", 9) + strings.Repeat("f", 64)}, ""},
		"wide":     {table.Row{"command", "amount"}, table.Row{strings.Repeat("あ", 128), amount}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("COLUMNS", "80")
			var out bytes.Buffer
			tab := NewTable(&out, c.header)
			tab.AppendRow(c.row)
			tab.Render()
			shown := map[string]string{} // the text of each column, all lines of it together
			var names []string
			for _, line := range strings.Split(out.String(), "\n") {
				require.LessOrEqual(t, text.StringWidthWithoutEscSequences(line), 80, out.String())
				cells := strings.Split(strings.Trim(line, "│"), "│")
				switch {
				case !strings.HasPrefix(line, "│"):
				case names == nil:
					for _, name := range cells {
						names = append(names, strings.TrimSpace(name))
					}
				default:
					for i, cell := range cells {
						shown[names[i]] += strings.ReplaceAll(cell, " ", "")
					}
				}
			}
			require.Equal(t, c.hidden != "", strings.Contains(strings.Join(strings.Fields(out.String()), " "), "left out for want of width: "+c.hidden+" ("))
			for i, cell := range c.row {
				name := c.header[i].(string)
				if !slices.Contains(strings.Split(c.hidden, ", "), name) && name != "hold id" {
					require.Equal(t, strings.ReplaceAll(fmt.Sprint(cell), " ", ""), shown[name], out.String())
				}
			}

			t.Setenv("COLUMNS", "")
			out.Reset()
			tab.Render()
			require.Equal(t, 5, strings.Count(out.String(), "\n"), "nothing is cut up in a file")
		})
	}
}
