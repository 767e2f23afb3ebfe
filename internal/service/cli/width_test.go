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

func TestATableFits80ColumnsAndCutsOnlyIDs(t *testing.T) {
	const at, id, amount = "2026-01-31 18:30:00.000000Z", "an-id-of-many-characters-as-shops-make-them-000000000042", "1234567.89"
	for name, c := range map[string]struct {
		header, row table.Row
		hidden      string
	}{
		"few":             {table.Row{"currency", "scale"}, table.Row{"USD", 2}, ""},
		"balance":         {table.Row{"user", "currency", "total", "hold", "available", "version", "updated"}, table.Row{"u1", "USD", amount, "0.00", amount, 7, at}, "version"},
		"commands":        {table.Row{"command", "type", "amount", "status", "before", "after", "version", "position", "hold id", "at"}, table.Row{id, "subtract", amount, "unapplied: insufficient_funds", amount, amount, 3, 4, "", at}, "before, version, position, after"},
		"events":          {table.Row{"user", "currency", "version", "event", "command", "amount", "before", "after", "at", "description"}, table.Row{id, "USD", 3, "wallet_asset.subtracted", id, amount, amount, amount, at, "many words that stand in a line of their own"}, "before, version, after, description, at"},
		"problems":        {table.Row{"user", "currency", "table", "position", "problem"}, table.Row{id, "USD", "wallet_commands", 2, strings.Repeat("all of this is wrong ", 9) + strings.Repeat("f", 64)}, ""},
		"statement":       {table.Row{"at", "version", "event", "command", "added", "subtracted", "total", "hold", "description"}, table.Row{at, 3, "wallet_asset.hold_expired", id, amount, amount, "(" + amount + ")", amount, "order 7 of a shop"}, "version, description, hold, at"},
		"small statement": {table.Row{"at", "version", "event", "command", "added", "subtracted", "total", "hold", "description"}, table.Row{at, 3, "wallet_asset.subtracted", id, "20.00", "", "(20.00)", "0.00", "created by the first command"}, "version, description, hold"},
		"holds":           {table.Row{"currency", "hold id", "state", "amount", "captured", "released", "left", "placed", "expires"}, table.Row{"USD", id, "captured", amount, amount, amount, amount, at, at}, "placed, captured, released"},
		"schedules":       {table.Row{"schedule", "user", "currency", "type", "amount", "when", "next"}, table.Row{id, id, "USD", "subtract", amount, "every 15 minutes from 09:00 to 17:45, Monday to Friday America/Argentina/Buenos_Aires", "2027-03-01 00:00:00Z"}, "type"},
		"waiting":         {table.Row{"consumer", "event", "state", "failures", "since", "last error"}, table.Row{id, "USD/" + id + "/17", "waiting", 10, at, "no such plan: " + id}, "since"},
		"skipped":         {table.Row{"consumer", "event", "skipped", "actor", "reason", "last error"}, table.Row{id, "USD/" + id + "/17", at, id, "plan was deleted, credited by hand", "no such plan: " + id}, "skipped"},
		"replay":          {table.Row{"workflow id", "run id", "problem"}, table.Row{"wallet-asset/USD/" + id, "01a22885-6d2e-765f-9f4c-c07acafe3a39", "nondeterministic workflow definition"}, ""},
		"repair":          {table.Row{"user", "currency", "events appended", "ranges appended", "holds restored"}, table.Row{id, "USD", 1, 1, 1}, ""},
		"wide":            {table.Row{"command", "amount"}, table.Row{strings.Repeat("あ", 128), amount}, ""},
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
			note := ""
			if _, rest, noted := strings.Cut(strings.Join(strings.Fields(out.String()), " "), "left out for want of width: "); noted {
				note, _, _ = strings.Cut(rest, " (")
				note, _, _ = strings.Cut(note, ";")
			}
			require.Equal(t, c.hidden, note)
			cuts := 0
			for i, cell := range c.row {
				name := c.header[i].(string)
				if !slices.Contains(strings.Split(c.hidden, ", "), name) && cell != "" {
					whole := strings.ReplaceAll(fmt.Sprint(cell), " ", "")
					if start, isCut := strings.CutSuffix(shown[name], "…"); isCut {
						require.Contains(t, ids, name)
						require.True(t, strings.HasPrefix(whole, start), out.String())
						require.Contains(t, strings.Join(strings.Fields(out.String()), " "), "ids with … are cut")
						cuts++
						continue
					}
					require.Equal(t, whole, shown[name], out.String())
				}
			}

			require.Equal(t, name != "few" && name != "balance", cuts > 0, out.String())

			t.Setenv("COLUMNS", "")
			out.Reset()
			tab.Render()
			require.Equal(t, 5, strings.Count(out.String(), "\n"), "nothing is cut up in a file")
		})
	}
}
