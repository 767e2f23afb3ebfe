package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/statement"
	"github.com/valueledger/wallet/trail"
)

const (
	// maxRead is how many entries a page reads at most to find the few that it shows.
	maxRead = 10_000
	// csvTime is how long a download may take, csvPageTime each thousand lines of it.
	csvTime     = 5 * time.Minute
	csvPageTime = 20 * time.Second
)

// period is what the fields From and To of a form say.
type period struct {
	From, To string // as they were entered: dates, both included
	from, to time.Time
}

// period reads the days of a form. upto fixes the end for the pages that follow the first.
func (r *request) period() (p period, err error) {
	p.From, p.To = r.get("from"), r.get("to")
	if p.from, err = day("from", p.From); err != nil {
		return p, err
	}
	if p.to, err = day("to", p.To); err != nil {
		return p, err
	}
	if !p.to.IsZero() {
		p.to = p.to.AddDate(0, 0, 1)
	}
	if text := r.get("upto"); text != "" {
		upto, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return p, problem{http.StatusBadRequest, "The address cannot be read", fmt.Sprintf("%.60q is no time.", text)}
		}
		if p.to.IsZero() || upto.Before(p.to) {
			p.to = upto.UTC()
		}
	}
	return p, nil
}

func day(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || t.IsZero() || t.Year() > 9998 {
		return t, problem{http.StatusBadRequest, "The date cannot be read", fmt.Sprintf("%s is %.60q: write a date such as 2026-01-31.", name, text)}
	}
	return t, nil
}

// statementPage is what the page of a statement shows.
type statementPage struct {
	Balance wallet.Balance
	period
	Type  wallet.CommandType
	Types []wallet.CommandType
	// Message is why there is no statement.
	Message   string
	Statement trail.Statement
	Lines     []trail.Event
	First     bool
	Next      int64 // the position to go on after; 0 at the end
	Upto      string
	Read      int64 // lines that were read and not shown
}

func (c *Console) statement(ctx context.Context, w http.ResponseWriter, r *request) error {
	v := statementPage{}
	after, err := r.number("after")
	if err != nil {
		return err
	}
	for _, k := range wallet.Kinds() {
		v.Types = append(v.Types, k.Type)
	}
	chosen, err := r.oneOf("type", texts(v.Types)...)
	if err != nil {
		return err
	}
	v.Type = wallet.CommandType(chosen)
	if v.period, err = r.period(); err != nil {
		return err
	}
	asset, err := c.Read.Asset(ctx, r.ref.UserID, r.ref.Currency)
	if err != nil {
		return err
	}
	v.Balance = asset.Balance()
	v.Statement, err = c.Read.Statement(ctx, r.ref.UserID, r.ref.Currency, v.from, v.to)
	var invalid *wallet.InvalidError
	switch {
	case errors.Is(err, trail.ErrNoWallet):
		v.Message = "The wallet did not exist yet at the end of this period."
	case errors.As(err, &invalid):
		v.Message = "The period ends before it begins."
	case err != nil:
		return err
	default:
		v.Upto, v.First = v.Statement.To.Format(time.RFC3339Nano), after == 0
		if err := c.statementLines(ctx, &v, max(after, v.Statement.Opening.Position)); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "statement", "Statement of "+r.ref.UserID+" in "+r.ref.Currency, v)
}

// statementLines reads the lines of a page, from the journal.
func (c *Console) statementLines(ctx context.Context, v *statementPage, after int64) error {
	var shown []wallet.Entry
	end := v.Statement.Closing
reading:
	for read := 0; read < maxRead; {
		entries, err := c.Read.Commands(ctx, trail.CommandFilter{
			UserID: end.UserID, Currency: end.Currency, Status: wallet.StatusApplied, AfterPosition: after, Limit: trail.MaxPage,
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Version > end.Version {
				after = 0
				break reading
			}
			if len(shown) == pageRows {
				break reading
			}
			after = e.Position
			if v.Type == "" || e.Type == v.Type {
				shown = append(shown, e)
			} else {
				v.Read++
			}
		}
		if read += len(entries); len(entries) < trail.MaxPage {
			after = 0
			break
		}
	}
	if after == end.Position {
		after = 0
	}
	v.Next = after
	reversed, err := c.Read.Reversed(ctx, shown)
	for i, e := range shown {
		line := trail.EventOf(e)
		if err == nil {
			line.Reversed = reversed[i]
		}
		v.Lines = append(v.Lines, line)
	}
	return err
}

func texts[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

// statementCSV is the whole period, with each event, for a spreadsheet or, verbatim, for programs.
func (c *Console) statementCSV(ctx context.Context, w http.ResponseWriter, r *request) error {
	p, err := r.period()
	if err != nil {
		return err
	}
	s, err := c.Read.Statement(ctx, r.ref.UserID, r.ref.Currency, p.from, p.to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), csvTime)
	defer cancel()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="statement-%s.csv"`, r.ref.Currency)) // a user id may be no name of a file
	if err := c.writeCSV(ctx, w, s, r.get("verbatim") == ""); err != nil {
		c.Logger.Warn("a statement was cut off", zap.Error(err))
		panic(http.ErrAbortHandler) // so that the browser does not take a part for the whole
	}
	return nil
}

func (c *Console) writeCSV(ctx context.Context, w http.ResponseWriter, s trail.Statement, spreadsheet bool) error {
	connection := http.NewResponseController(w)
	out := statement.NewCSV(w, spreadsheet)
	if err := out.Opening(s); err != nil {
		return err
	}
	lines := 0
	for line, err := range s.Lines(ctx) {
		if err != nil {
			return err
		}
		if lines%trail.MaxPage == 0 {
			_ = connection.SetWriteDeadline(time.Now().Add(csvPageTime)) // not of a recorder in tests
		}
		lines++
		if err := out.Line(statement.Line{Event: line}); err != nil {
			return err
		}
	}
	return out.Closing(s)
}
