// Package statement writes statements, and CSV.
package statement

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

// Printer writes a statement in some format.
type Printer interface {
	Opening(trail.Statement) error
	Line(Line) error
	Closing(trail.Statement) error
}

// Print writes a whole statement.
func Print(ctx context.Context, s trail.Statement, to Printer) error {
	return printEach(ctx, s, to, func(e trail.Event) error { return to.Line(Line{Event: e}) })
}

// PrintByGrant writes a line for each grant that an event is of, and one for what is not granted.
func PrintByGrant(ctx context.Context, s trail.Statement, read trail.Reader, to Printer) error {
	grants := NewGrants(read)
	return printEach(ctx, s, to, func(e trail.Event) error {
		lines, err := grants.Split(ctx, e)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if err := to.Line(l); err != nil {
				return err
			}
		}
		return nil
	})
}

func printEach(ctx context.Context, s trail.Statement, to Printer, line func(trail.Event) error) error {
	if err := to.Opening(s); err != nil {
		return err
	}
	for event, err := range s.Lines(ctx) {
		if err != nil {
			return err
		}
		if err := line(event); err != nil {
			return err
		}
	}
	return to.Closing(s)
}

// CSV writes text verbatim, so that programs read back what was written; or, for a spreadsheet, so
// that none of it is run as a formula and the file is read as UTF-8.
type CSV struct {
	*csv.Writer
	out         io.Writer
	spreadsheet bool
	byGrant     bool
}

// NewCSV writes to out, in large parts.
func NewCSV(out io.Writer, spreadsheet bool) CSV {
	buffered := bufio.NewWriterSize(out, 32<<10) // which csv uses, and flushes
	return CSV{Writer: csv.NewWriter(buffered), out: buffered, spreadsheet: spreadsheet}
}

// ByGrant is the same with two columns more, for PrintByGrant.
func (w CSV) ByGrant() CSV {
	w.byGrant = true
	return w
}

// ByteOrderMark begins a file for spreadsheets.
const ByteOrderMark = "\ufeff"

// Text is a field that callers have written. Spreadsheets run one that begins with one of
// these characters.
func (w CSV) Text(field string) string {
	if w.spreadsheet && field != "" && strings.ContainsRune("=+-@\t\r\n", rune(field[0])) {
		return "'" + field
	}
	return field
}

// Opening writes the header, and the balance at the start.
func (w CSV) Opening(s trail.Statement) error {
	header := []string{"kind", "user_id", "currency", "at", "version", "event_type", "command_id", "hold_id", "added", "subtracted", "changes_total", "total", "hold",
		"description", "actor", "metadata", "added_count", "subtracted_count", "original_id", "reversed"}
	if w.spreadsheet {
		if _, err := io.WriteString(w.out, ByteOrderMark); err != nil {
			return err
		}
	}
	if w.byGrant {
		header = append(header, "grant", "grant_id")
	}
	if err := w.Write(header); err != nil {
		return err
	}
	o := s.Opening
	return w.write([]string{"opening", w.Text(o.UserID), o.Currency, timestamp(s.From), strconv.FormatInt(o.Version, 10), "", "", "", "", "", "", o.Total.String(), o.Hold.String(),
		"", "", "", "", "", "", ""})
}

// write writes a row that is of no grant.
func (w CSV) write(row []string) error {
	if w.byGrant {
		row = append(row, "", "")
	}
	return w.Write(row)
}

// Line writes an event.
func (w CSV) Line(l Line) error {
	e := l.Event
	added, subtracted := Sides(e)
	metadata := ""
	if len(e.Metadata) > 0 {
		encoded, err := json.Marshal(e.Metadata)
		if err != nil {
			return err
		}
		metadata = string(encoded)
	}
	row := []string{"line", w.Text(e.UserID), e.Currency, timestamp(e.OccurredAt), strconv.FormatInt(e.Version, 10), e.EventType, w.Text(e.CommandID), w.Text(e.HoldID), added, subtracted, strconv.FormatBool(ChangesTotal(e)),
		e.TotalAfter.String(), e.HoldAfter.String(), w.Text(e.Description), w.Text(e.Actor), metadata, "", "", w.Text(e.OriginalID), cli.Amount(e.Reversed)}
	if w.byGrant {
		row = append(row, cli.Number(l.Grant), w.Text(l.GrantID))
	}
	return w.Write(row)
}

// Closing writes the balance at the end, and what is left in the buffer.
func (w CSV) Closing(s trail.Statement) error {
	c := s.Closing
	err := w.write([]string{"closing", w.Text(c.UserID), c.Currency, timestamp(s.To), strconv.FormatInt(c.Version, 10), "", "", "", s.Added.Sum.String(), s.Subtracted.Sum.String(), "",
		c.Owned().String(), c.Reserved().String(), "", "", "", strconv.FormatInt(s.Added.Count, 10), strconv.FormatInt(s.Subtracted.Count, 10), "", ""})
	if err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

// ChangesTotal is false of an event that only opens the wallet, or reserves or gives back a
// part of its total.
func ChangesTotal(e trail.Event) bool { return e.TotalAfter.Cmp(e.TotalBefore) != 0 }

// Sides gives what an event changed of the total, in the column that it belongs to. Both are
// empty for one that did not change it.
func Sides(e trail.Event) (added, subtracted string) {
	switch e.TotalAfter.Cmp(e.TotalBefore) {
	case 1:
		return e.TotalAfter.Sub(e.TotalBefore).String(), ""
	case -1:
		return "", e.TotalBefore.Sub(e.TotalAfter).String()
	default:
		return "", ""
	}
}

func timestamp(t time.Time) string { return t.Format(time.RFC3339Nano) }
