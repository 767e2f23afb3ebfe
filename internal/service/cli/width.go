package cli

import (
	"io"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// Width is how many columns an output has: those of the terminal, or of the variable COLUMNS
// where it is none. 0 is no limit: what goes into a file or another program is not cut up.
func Width(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			return width
		}
	}
	width, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	return max(width, 0)
}

const (
	widthOfTime  = len("15:04:05.000000Z") // behind its date, in a second line
	widthOfEvent = len("wallet_asset.")    // its last word comes in a second line
	leastOfText  = 8
)

// leftOut are columns that a narrow terminal does without, the first ones first.
var leftOut = []string{"before", "version", "position", "hold id", "after", "description", "type", "table", "placed", "updated", "captured", "released", "hold", "at"}

// fitted are the columns for a width: times and events in two lines, other text wrapped, and
// only if that is not enough some columns hidden. Numbers stay whole, and no text is cut off.
func (t *Table) fitted(width int) (columns []table.ColumnConfig, hidden []string) {
	columns = slices.Clone(t.columns)
	if width == 0 {
		return columns, nil
	}
	for next := 0; ; next++ {
		if t.shrink(columns, width) {
			return columns, hidden
		}
		for next < len(leftOut) && (!slices.Contains(t.names, leftOut[next]) || columns[slices.Index(t.names, leftOut[next])].Hidden) {
			next++
		}
		if next == len(leftOut) {
			return columns, hidden
		}
		columns[slices.Index(t.names, leftOut[next])].Hidden = true
		hidden = append(hidden, leftOut[next])
	}
}

// shrink sets the widths of columns, and reports whether they fit.
func (t *Table) shrink(columns []table.ColumnConfig, width int) (fits bool) {
	widths, excess := slices.Clone(t.widest), 1-width
	for i := range columns {
		if !columns[i].Hidden {
			excess += widths[i] + 3 // a border and two spaces
		}
	}
	for excess > 0 {
		i, to := t.nextToShrink(columns, widths)
		if i < 0 {
			break
		}
		excess -= widths[i] - to
		widths[i] = to
	}
	for i := range columns {
		columns[i].WidthMax, columns[i].WidthMaxEnforcer = 0, nil
		if widths[i] < t.widest[i] {
			columns[i].WidthMax, columns[i].WidthMaxEnforcer = widths[i], wrap
		}
	}
	return excess <= 0
}

// wrap is text.WrapSoft, which puts a character that is two columns wide where only one is left.
func wrap(cell string, width int) string {
	if text.StringWidth(cell) > utf8.RuneCountInString(cell) {
		width--
	}
	return text.WrapSoft(cell, width)
}

// nextToShrink is the column that can best do with less, and how much it can do with; -1 if
// there is none.
func (t *Table) nextToShrink(columns []table.ColumnConfig, widths []int) (next, to int) {
	next = -1
	for i, name := range t.names {
		switch {
		case columns[i].Hidden || columns[i].Align == text.AlignRight:
		case slices.Contains([]string{"at", "updated", "placed", "expires", "next"}, name):
			if widths[i] > widthOfTime {
				return i, widthOfTime
			}
		case name == "event":
			if widths[i] > widthOfEvent {
				return i, widthOfEvent
			}
		case widths[i] > max(text.LongestLineLen(name), leastOfText) && (next < 0 || widths[i] > widths[next]):
			next, to = i, widths[i]-1
		}
	}
	return next, to
}
