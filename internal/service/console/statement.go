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
	// csvTime is how long a download may take, csvWriteTime each write of it.
	csvTime      = 5 * time.Minute
	csvWriteTime = 20 * time.Second
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
			return p, problem{http.StatusBadRequest, "The address cannot be read", fmt.Sprintf("%.60q is not a time.", text)}
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
	Next      int64 // the version to go on after; 0 at the end
	Upto      string
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
	v.Balance, v.First = asset.Balance(), after == 0
	read := c.Read.Statement
	if !v.First {
		read = c.Read.Period // the first page has the sums, for which the whole period is read
	}
	v.Statement, err = read(ctx, r.ref.UserID, r.ref.Currency, v.from, v.to)
	var invalid *wallet.InvalidError
	switch {
	case errors.Is(err, trail.ErrNoWallet):
		v.Message = "The wallet did not exist yet at the end of this period."
	case errors.As(err, &invalid):
		v.Message = "The period ends before it begins."
	case err != nil:
		return err
	default:
		v.Upto = v.Statement.To.Format(time.RFC3339Nano)
		if err := v.readLines(ctx, after); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "statement", "Statement of "+r.ref.UserID+" in "+r.ref.Currency, v)
}

// readLines reads the lines of a page. Those of one type may be far apart.
func (v *statementPage) readLines(ctx context.Context, after int64) error {
	limit := pageRows
	if v.Type != "" {
		limit = trail.MaxPage
	}
	after, end := max(after, v.Statement.Opening.Version), v.Statement.Closing.Version
	for read := 0; read < maxRead && len(v.Lines) < pageRows && after < end; read += limit {
		events, err := v.Statement.Page(ctx, after, limit)
		if err != nil {
			return err
		}
		for _, e := range events {
			if len(v.Lines) == pageRows {
				break
			}
			if after = e.Version; v.Type == "" || kindOf(e) == v.Type {
				v.Lines = append(v.Lines, e)
			}
		}
	}
	if after < end {
		v.Next = after
	}
	return nil
}

func texts[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

// statementCSV is the whole period, with each event, for programs or for a spreadsheet.
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
	if err := statement.Print(ctx, s, statement.NewCSV(download{ctx, w}, r.get("spreadsheet") != "")); err != nil {
		c.Logger.Warn("a statement was cut off", zap.Error(err))
		panic(http.ErrAbortHandler) // so that the browser does not take a part for the whole
	}
	return nil
}

// download is a response that lasts: each write has its time, and the whole that of its context.
type download struct {
	context.Context
	http.ResponseWriter
}

func (d download) Write(p []byte) (int, error) {
	if err := d.Err(); err != nil {
		return 0, err
	}
	_ = http.NewResponseController(d.ResponseWriter).SetWriteDeadline(time.Now().Add(csvWriteTime)) // not of a recorder in tests
	return d.ResponseWriter.Write(p)
}
