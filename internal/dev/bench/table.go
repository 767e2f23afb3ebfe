package bench

import (
	"fmt"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table shows the rows of one store: use Render for terminals, RenderMarkdown for documents.
func Table(rows []Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"scenario", "by", "clients", "wallets", "per call", "commands/s", "p50 ms", "p99 ms",
		"client+worker", "Temporal", "Postgres", "events/cmd", "x textbook", "x coalesced", "of lanes", "of floor", "of plain", "exactly once"})
	t.SuppressEmptyColumns()
	columns := make([]table.ColumnConfig, 18)
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, Align: text.AlignRight}
	}
	columns[0].Align, columns[1].Align, columns[17].Align = text.AlignLeft, text.AlignLeft, text.AlignLeft
	t.SetColumnConfigs(columns)
	for _, r := range rows {
		t.AppendRow(table.Row{r.Scenario, r.Mode, r.Clients, r.Wallets, r.PerCall,
			figure(r.CommandsPerSecond), figure(r.Latency.P50), figure(r.Latency.P99),
			figure(r.CPU.ClientAndWorker), figure(r.CPU.Temporal), figure(r.CPU.Postgres), figure(r.HistoryEventsPerCommand),
			figure(r.Ratios.ToTextbook), figure(r.Ratios.ToCoalesced), percent(r.Ratios.ToLanes), percent(r.Ratios.ToFloor), percent(r.Ratios.ToPlain),
			verdict(r.Checked)})
	}
	return t
}

func verdict(c Checked) string {
	if len(c.Violations) > 0 {
		return "VIOLATED"
	}
	if answered := c.Applied + c.Refused; answered != c.Accepted {
		return fmt.Sprintf("%d of %d", answered, c.Accepted)
	}
	return strconv.Itoa(c.Accepted)
}

// figure shows three significant digits, or more before the point.
func figure(value float64) string {
	switch {
	case value == 0:
		return ""
	case value >= 100:
		return strconv.FormatFloat(value, 'f', 0, 64)
	case value >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	case value >= 1:
		return strconv.FormatFloat(value, 'f', 2, 64)
	default:
		return strconv.FormatFloat(value, 'f', 3, 64)
	}
}

func percent(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return figure(100*ratio) + "%"
}
