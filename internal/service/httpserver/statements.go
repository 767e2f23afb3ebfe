package httpserver

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/statement"
	"github.com/valueledger/wallet/trail"
)

type statementInput struct {
	ReadPath
	Paging
	From        string `query:"from" doc:"inclusive; the wallet's first entry by default"`
	To          string `query:"to" doc:"exclusive; now by default"`
	After       int64  `query:"after" minimum:"0" doc:"next of the page before; send its from and to with it"`
	Format      string `query:"format" enum:"json,csv" doc:"csv is the whole, as with Accept: text/csv"`
	Spreadsheet bool   `query:"spreadsheet" doc:"of CSV: a byte order mark, and an apostrophe before text that would run as a formula"`
}

// Statement is a page of a statement: how a balance changed in a period.
type Statement struct {
	From       time.Time       `json:"from" doc:"inclusive"`
	To         time.Time       `json:"to" doc:"exclusive"`
	Opening    wallet.Balance  `json:"opening"`
	Closing    wallet.Balance  `json:"closing"`
	Added      *trail.Turnover `json:"added,omitempty" doc:"of the whole period, on the first page"`
	Subtracted *trail.Turnover `json:"subtracted,omitempty" doc:"of the whole period, on the first page"`
	Page[StatementLine]
}

// StatementLine is an event of the period.
type StatementLine struct {
	trail.Event
	ChangesTotal bool `json:"changes_total" doc:"false of an event that only opens the wallet, or reserves or gives back a part"`
}

func (s *Server) statementRoutes() {
	register(s, route{
		id: "get-statement", method: http.MethodGet, path: prefix + "/wallets/{user}/{currency}/statement", scope: access.Read, errors: []int{http.StatusNotFound},
		summary: "How a balance changed in a period: JSON in pages, or CSV",
		text:    "Later pages repeat from and to of the first. CSV has all lines, and the closing balance last: without that it was cut off.",
		content: map[string]reflect.Type{jsonType: reflect.TypeFor[Statement](), csvType: nil},
	}, s.statement)
}

func (s *Server) statement(ctx context.Context, in *statementInput) (*streamed, error) {
	from, err := parseTime("from", in.From)
	if err != nil {
		return nil, err
	}
	to, err := parseTime("to", in.To)
	if err != nil {
		return nil, err
	}
	asCSV := in.Format == "csv" || in.Format == "" && connectionOf(ctx).acceptsCSV || in.Spreadsheet
	switch {
	case in.Spreadsheet && in.Format == "json":
		return nil, badInput("spreadsheet", "true", "spreadsheet is for CSV: leave out format=json")
	case asCSV && in.After > 0:
		return nil, badInput("after", strconv.FormatInt(in.After, 10), "CSV has all lines: leave out after")
	case asCSV:
		found, err := s.read.Statement(ctx, in.User, in.Currency, from, to)
		if err != nil {
			return nil, err
		}
		return s.streamOf(csvType, func(ctx context.Context, out *output) error {
			return statement.Print(ctx, found, statement.NewCSV(out, in.Spreadsheet))
		}), nil
	}
	page, err := s.statementPage(ctx, in, from, to)
	if err != nil {
		return nil, err
	}
	return s.streamOf(jsonType, func(_ context.Context, out *output) error { return json.NewEncoder(out).Encode(page) }), nil
}

func (s *Server) statementPage(ctx context.Context, in *statementInput, from, to time.Time) (Statement, error) {
	read := s.read.Statement
	if in.After > 0 { // or each page would read the whole period
		read = s.read.Period
	}
	found, err := read(ctx, in.User, in.Currency, from, to)
	if err != nil {
		return Statement{}, err
	}
	events, err := found.Page(ctx, in.After, in.Limit)
	if err != nil {
		return Statement{}, err
	}
	lines := make([]StatementLine, len(events))
	for i, e := range events {
		lines[i] = StatementLine{e, statement.ChangesTotal(e)}
	}
	page := Statement{From: found.From, To: found.To, Opening: found.Opening.Balance(), Closing: found.Closing.Balance(), Page: Page[StatementLine]{Items: lines}}
	if n := len(events); n > 0 && events[n-1].Version < found.Closing.Version {
		page.Next = strconv.FormatInt(events[n-1].Version, 10)
	}
	if in.After == 0 {
		page.Added, page.Subtracted = &found.Added, &found.Subtracted
	}
	return page, nil
}
