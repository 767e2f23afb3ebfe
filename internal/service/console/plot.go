package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// point is a balance from a time on.
type point struct {
	At               time.Time
	Total, Available wallet.Amount
}

// plot is a balance over time, as steps. Both drawings show the same: a page shows the one that fits
// its width.
type plot struct {
	Drawings []drawing
	// Rows are some of the points, for those who do not see the drawing.
	Rows     []point
	From, To time.Time
	Changes  int64
	Some     bool // of very many
}

// drawing is a plot in units of its own.
type drawing struct {
	Name                     string
	Width, Height            int
	Left, Right, Top, Bottom float64
	Total, Available, Area   string // paths
	X, Y                     []tick
}

type tick struct {
	At    float64
	Label string
}

const maxPlotRows = 20

func newPlot(points []point) *plot {
	p := &plot{From: points[0].At, To: points[len(points)-1].At}
	for i := range min(len(points), maxPlotRows) {
		p.Rows = append(p.Rows, points[i*(len(points)-1)/max(min(len(points), maxPlotRows)-1, 1)])
	}
	p.Drawings = []drawing{
		draw(points, drawing{Name: "wide", Width: 900, Height: 280, Left: 74, Right: 886, Top: 12, Bottom: 250}, 6),
		draw(points, drawing{Name: "narrow", Width: 380, Height: 240, Left: 58, Right: 372, Top: 12, Bottom: 210}, 3),
	}
	return p
}

// draw makes the paths and the axes of a drawing. What it shows is rounded to what can be seen.
func draw(points []point, d drawing, maxX int) drawing {
	from, to := points[0].At, points[len(points)-1].At
	length := max(to.Sub(from).Seconds(), 1)
	highest, lowest := 0.0, 0.0
	for _, p := range points {
		highest, lowest = max(highest, number(p.Total), number(p.Available)), min(lowest, number(p.Total))
	}
	step := niceStep((highest - lowest) / 5)
	top, bottom := max(math.Ceil(highest/step)*step, step), math.Floor(lowest/step)*step
	x := func(t time.Time) float64 { return d.Left + t.Sub(from).Seconds()/length*(d.Right-d.Left) }
	y := func(v float64) float64 { return d.Bottom - (v-bottom)/(top-bottom)*(d.Bottom-d.Top) }
	d.Total = steps(points, x, func(p point) float64 { return y(number(p.Total)) })
	d.Available = steps(points, x, func(p point) float64 { return y(number(p.Available)) })
	d.Area = d.Available + fmt.Sprintf("V%.1fH%.1fZ", y(0), x(from))
	for v := bottom; v <= top+step/2; v += step {
		d.Y = append(d.Y, tick{y(v), label(v, step)})
	}
	d.X = timeTicks(from, to, maxX, x)
	return d
}

// steps is a line that goes on until the balance changes.
func steps(points []point, x func(time.Time) float64, y func(point) float64) string {
	var path strings.Builder
	last := ""
	for i, p := range points {
		atX, atY := strconv.FormatFloat(x(p.At), 'f', 1, 64), strconv.FormatFloat(y(p), 'f', 1, 64)
		switch {
		case i == 0:
			fmt.Fprintf(&path, "M%s %s", atX, atY)
		case atY != last:
			fmt.Fprintf(&path, "H%sV%s", atX, atY)
		case i == len(points)-1:
			fmt.Fprintf(&path, "H%s", atX)
		}
		last = atY
	}
	return path.String()
}

func number(a wallet.Amount) float64 {
	v, _ := strconv.ParseFloat(a.String(), 64)
	return v
}

// niceStep is 1, 2 or 5 times a power of ten, at least v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

// label is a value on the axis of amounts.
func label(v, step float64) string {
	if v <= -step/2 {
		return "−" + label(-v, step)
	}
	v = max(v, 0) // -0 of a sum
	unit, sign := 1.0, ""
	for _, u := range []struct {
		size float64
		sign string
	}{{1e12, "T"}, {1e9, "bn"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= 10*u.size || v >= u.size && u.size > 1e3 {
			unit, sign = u.size, " "+u.sign
			break
		}
	}
	if v >= 1e16 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	decimals := max(0, int(math.Ceil(-math.Log10(step/unit)-1e-9)))
	return strconv.FormatFloat(v/unit, 'f', min(decimals, 12), 64) + sign
}

// timeSteps are distances between the labels of the axis of time.
var timeSteps = []time.Duration{
	time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour,
}

func timeTicks(from, to time.Time, most int, x func(time.Time) float64) (ticks []tick) {
	for _, step := range timeSteps {
		if to.Sub(from) > step*time.Duration(most) {
			continue
		}
		layout := "15:04:05"
		switch {
		case step >= 24*time.Hour:
			layout = "2 Jan"
		case step >= time.Hour && to.Sub(from) > 24*time.Hour:
			layout = "2 Jan 15:04"
		case step >= time.Minute:
			layout = "15:04"
		}
		for at := from.Truncate(step).Add(step); at.Before(to); at = at.Add(step) {
			ticks = append(ticks, tick{x(at), at.UTC().Format(layout)})
		}
		return ticks
	}
	months := 1
	for total := int(to.Sub(from).Hours()/24/30) + 1; total/months > most; {
		months++
	}
	for at := time.Date(from.Year(), from.Month()+1, 1, 0, 0, 0, 0, time.UTC); at.Before(to); at = at.AddDate(0, months, 0) {
		ticks = append(ticks, tick{x(at), at.Format("Jan 2006")})
	}
	return ticks
}
