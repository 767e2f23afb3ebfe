package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// span is a choice of how much of the past the plot shows.
type span struct {
	Name, Text string
	days       int // 0 for all
}

var spans = []span{{"week", "7 days", 7}, {"month", "30 days", 30}, {"year", "12 months", 365}, {"all", "since the beginning", 0}}

// lastEntries is how many entries the page of a wallet shows.
const lastEntries = 8

// walletPage is what the page of a wallet shows.
type walletPage struct {
	Balance wallet.Balance
	Spans   []span
	Span    string
	Plot    *plot // nil if there is nothing to plot
	Entries []wallet.Entry
	Holds   []trail.Hold
	Grants  []trail.Grant
}

func (c *Console) wallet(ctx context.Context, w http.ResponseWriter, r *request) error {
	v := walletPage{Spans: spans}
	chosen, err := r.oneOf("span", "week", "month", "year", "all")
	if err != nil {
		return err
	}
	asset, err := c.Read.Asset(ctx, r.ref.UserID, r.ref.Currency)
	if err != nil {
		return err
	}
	v.Balance = asset.Balance()
	if chosen == "" {
		chosen = "month"
	}
	v.Span = chosen
	if v.Plot, err = c.plotOf(ctx, r.ref, chosen); err != nil {
		return err
	}
	if v.Entries, _, err = c.entriesBefore(ctx, r.ref, asset.Position+1, "", lastEntries); err != nil {
		return err
	}
	v.Holds, err = c.Read.Holds(ctx, trail.HoldFilter{UserID: r.ref.UserID, Currency: r.ref.Currency, State: wallet.HoldOpen, AfterCurrency: r.ref.Currency, Limit: lastEntries})
	if err != nil {
		return err
	}
	if asset.OpenGrants > 0 {
		if v.Grants, err = c.Read.Grants(ctx, trail.GrantFilter{UserID: r.ref.UserID, Currency: r.ref.Currency, AfterCurrency: r.ref.Currency, Limit: lastEntries}); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "wallet", r.ref.UserID+" in "+r.ref.Currency, v)
}

// maxPoints is how many balances a plot shows of a period that has more than a page of them.
const maxPoints = 150

// plotOf reads how a balance changed: each change, or some of very many.
func (c *Console) plotOf(ctx context.Context, ref wallet.AssetRef, chosen string) (*plot, error) {
	var from time.Time
	for _, s := range spans {
		if s.Name == chosen && s.days > 0 {
			from = time.Now().UTC().AddDate(0, 0, -s.days)
		}
	}
	s, err := c.Read.Period(ctx, ref.UserID, ref.Currency, from, time.Time{})
	var invalid *wallet.InvalidError
	if errors.Is(err, trail.ErrNoWallet) || errors.As(err, &invalid) { // its clock is behind this one
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	points := []point{{s.From, s.Opening.Total, s.Opening.Available()}}
	if !s.Opening.Exists() {
		points = nil // the line begins where the wallet does
	}
	changes := s.Closing.Version - s.Opening.Version
	if changes <= trail.MaxPage {
		for line, err := range s.Lines(ctx) {
			if err != nil {
				return nil, err
			}
			points = append(points, point{line.OccurredAt, line.TotalAfter, line.TotalAfter.Sub(line.HoldAfter).Add(line.CreditLimit)})
		}
	} else {
		for i := range int64(maxPoints) {
			a, err := c.Read.AssetAtVersion(ctx, ref.UserID, ref.Currency, s.Opening.Version+1+i*(changes-1)/(maxPoints-1))
			if err != nil {
				return nil, err
			}
			points = append(points, point{a.UpdatedAt, a.Total, a.Available()})
		}
	}
	points = append(points, point{s.To, s.Closing.Total, s.Closing.Available()})
	p := newPlot(points)
	p.Changes, p.Some = changes, changes > trail.MaxPage
	return p, nil
}
