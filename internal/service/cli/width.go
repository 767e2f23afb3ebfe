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
	leastOfWord  = len("insufficient_funds") // longer words are broken
	leastOfID    = 10                        // as long as columns can be left out instead
)

// ids are the columns whose cells are cut with an ellipsis: a name in two lines cannot be copied
// either.
var ids = []string{"command", "user", "hold id", "schedule", "consumer", "workflow id", "run id"}

// leftOut are columns that a narrow terminal does without, the first ones first.
var leftOut = []string{"before", "version", "position", "hold id", "after", "description", "type", "table", "placed", "updated", "captured", "released", "hold", "at", "since", "skipped"}

// fitted are the columns for a width: times and events in two lines, ids cut, other text
// wrapped, and only if that is not enough some columns hidden. Numbers stay whole.
func (t *Table) fitted(width int) (columns []table.ColumnConfig, hidden []string) {
	columns = slices.Clone(t.columns)
	if width == 0 {
		return columns, nil
	}
	for next := 0; ; next++ {
		if t.shrink(columns, width, leastOfID, leastOfWord) {
			return columns, hidden
		}
		for next < len(leftOut) && !t.mayLack(columns, leftOut[next]) {
			next++
		}
		if next == len(leftOut) {
			t.shrink(columns, width, leastOfText, leastOfText)
			return columns, hidden
		}
		columns[slices.Index(t.names, leftOut[next])].Hidden = true
		hidden = append(hidden, leftOut[next])
	}
}

// mayLack reports whether a table has a column and can do without it. A table of holds is about
// their ids.
func (t *Table) mayLack(columns []table.ColumnConfig, name string) bool {
	i := slices.Index(t.names, name)
	return i >= 0 && !columns[i].Hidden && (name != "hold id" || slices.Contains(t.names, "command"))
}

// shrink sets the widths of columns, where ids keep leastID and words leastWord, and reports
// whether they fit.
func (t *Table) shrink(columns []table.ColumnConfig, width, leastID, leastWord int) (fits bool) {
	widths, excess := slices.Clone(t.widest), 1-width
	for i := range columns {
		if !columns[i].Hidden {
			excess += widths[i] + 3 // a border and two spaces
		}
	}
	for excess > 0 {
		i, to := t.nextToShrink(columns, widths, leastID, leastWord)
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
			if slices.Contains(ids, t.names[i]) {
				columns[i].WidthMaxEnforcer = cut
			}
		}
	}
	return excess <= 0
}

func cut(cell string, width int) string { return text.Snip(cell, width, "…") }

// wrap is text.WrapSoft, which puts a character that is two columns wide where only one is left.
func wrap(cell string, width int) string {
	if text.StringWidth(cell) > utf8.RuneCountInString(cell) {
		width--
	}
	return text.WrapSoft(cell, width)
}

// nextToShrink is the column that can best do with less, and how much it can do with; -1 if
// there is none.
func (t *Table) nextToShrink(columns []table.ColumnConfig, widths []int, leastID, leastWord int) (next, to int) {
	next = -1
	for i, name := range t.names {
		least := max(leastOfText, min(t.longest[i], leastWord))
		if slices.Contains(ids, name) {
			least = leastID
		}
		switch {
		case columns[i].Hidden || columns[i].Align == text.AlignRight:
		case slices.Contains([]string{"at", "updated", "placed", "expires", "next", "since", "skipped"}, name):
			if widths[i] > widthOfTime {
				return i, widthOfTime
			}
		case name == "event":
			if widths[i] > widthOfEvent {
				return i, widthOfEvent
			}
		case widths[i] > max(text.LongestLineLen(name), least) && (next < 0 || widths[i] > widths[next]):
			next, to = i, widths[i]-1
		}
	}
	return next, to
}
