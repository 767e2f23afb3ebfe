package bench

import (
	"fmt"

	"github.com/go-analyze/charts"
)

const (
	plotWidth     = 1100
	plotRowHeight = 64 // of a run
)

// Plot draws the throughput and the latency of rows as an SVG.
func Plot(rows []Row) ([]byte, error) {
	names := make([]string, len(rows))
	throughput := make([]float64, len(rows))
	p50, p99 := make([]float64, len(rows)), make([]float64, len(rows))
	for i, row := range rows {
		at := len(rows) - 1 - i // the first row at the top
		names[at] = plotName(row)
		throughput[at], p50[at], p99[at] = row.CommandsPerSecond, row.Latency.P50, row.Latency.P99
	}
	height := 120 + plotRowHeight*len(rows)/2
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: plotWidth, Height: 3 * height})
	painter.FilledRect(0, 0, plotWidth, 3*height, charts.ColorWhite, charts.ColorWhite, 0)
	top := painter.Child(charts.PainterBoxOption(charts.NewBox(0, 0, plotWidth, height)))
	if err := drawBars(top, "commands per second", names, []string{"commands/s"}, throughput); err != nil {
		return nil, err
	}
	bottom := painter.Child(charts.PainterBoxOption(charts.NewBox(0, height, plotWidth, 3*height)))
	if err := drawBars(bottom, "latency of a call in ms", names, []string{"p50", "p99"}, p50, p99); err != nil {
		return nil, err
	}
	return painter.Bytes()
}

func drawBars(p *charts.Painter, title string, names, legend []string, values ...[]float64) error {
	option := charts.NewBarChartOptionWithData(values)
	option.Horizontal = true
	option.Title.Text = title
	option.CategoryAxis.Labels = names
	option.Legend.SeriesNames = legend
	option.ValueFormatter = figure
	for i := range option.SeriesList {
		option.SeriesList[i].Label.Show = charts.Ptr(true)
		option.SeriesList[i].Label.ValueFormatter = figure
	}
	return p.BarChart(option)
}

func plotName(r Row) string {
	name := fmt.Sprintf("%s %s %d", r.Scenario, r.Mode, r.Clients)
	if r.PerCall > 1 {
		name += fmt.Sprintf("x%d", r.PerCall)
	}
	if r.Wallets > 1 {
		name += fmt.Sprintf(" (%d wallets)", r.Wallets)
	}
	return name
}
