package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// journalPage is what a page of a journal shows, newest first.
type journalPage struct {
	Balance wallet.Balance
	Status  string
	Entries []wallet.Entry
	Next    int64 // the entries before this position are not read yet; 0 at the end
	Newest  bool
}

func (c *Console) journal(ctx context.Context, w http.ResponseWriter, r *request) error {
	v := journalPage{}
	var err error
	if v.Status, err = r.oneOf("status", string(wallet.StatusApplied), string(wallet.StatusUnapplied)); err != nil {
		return err
	}
	before, err := r.number("before")
	if err != nil {
		return err
	}
	asset, err := c.Read.Asset(ctx, r.ref.UserID, r.ref.Currency)
	if err != nil {
		return err
	}
	v.Balance = asset.Balance()
	if v.Newest = before == 0; v.Newest {
		before = asset.Position + 1
	}
	v.Entries, v.Next, err = c.entriesBefore(ctx, r.ref, min(before, asset.Position+1), wallet.Status(v.Status), pageRows)
	if err != nil {
		return err
	}
	title := "Commands of "
	if v.Status == string(wallet.StatusUnapplied) {
		title = "Refused commands of "
	}
	return c.render(w, r, http.StatusOK, "journal", title+r.ref.UserID+" in "+r.ref.Currency, v)
}

// entriesBefore reads the last entries before a position, newest first, and where to go on.
func (c *Console) entriesBefore(ctx context.Context, ref wallet.AssetRef, before int64, status wallet.Status, limit int) (found []wallet.Entry, next int64, err error) {
	window := int64(limit)
	for read := int64(0); read < maxRead && before > 1; read += window {
		from := max(before-window, 1)
		entries, err := c.Read.Commands(ctx, trail.CommandFilter{UserID: ref.UserID, Currency: ref.Currency, AfterPosition: from - 1, Limit: int(before - from)})
		if err != nil {
			return nil, 0, err
		}
		for _, e := range slices.Backward(entries) {
			if status != "" && e.Status != status {
				continue
			}
			if found = append(found, e); len(found) == limit {
				return found, onlyAbove1(e.Position), nil
			}
		}
		before, window = from, trail.MaxPage
	}
	return found, onlyAbove1(before), nil
}

// onlyAbove1 is 0 where no entries are before a position.
func onlyAbove1(position int64) int64 {
	if position <= 1 {
		return 0
	}
	return position
}

// entryPage is what the page of an entry shows.
type entryPage struct {
	wallet.Entry
	Done   bool
	HoldID string
	Place  place
	// CreditLimitBefore is that of the entry before it.
	CreditLimitBefore wallet.Amount
	// What was reversed of it, and what can be.
	Reversible     bool
	Reversed, Left wallet.Amount
}

// place is that of an entry in its chain.
type place struct {
	Before, After *wallet.Entry // nil if there is none
	// Problem is what is wrong with the row itself; Linked is whether it names the hash of the entry
	// before it, and that after it names its.
	Problem string
	Linked  bool
}

func (c *Console) entry(ctx context.Context, w http.ResponseWriter, r *request) error {
	position, err := r.number("position")
	if err != nil {
		return err
	}
	if id := r.get("id"); id != "" {
		receipt, err := c.Read.Receipt(ctx, r.ref.UserID, r.ref.Currency, id)
		if err != nil {
			return err
		}
		position = receipt.Position
	}
	v := entryPage{Done: r.get("done") != ""}
	if err := c.readPlace(ctx, r.ref, position, &v); err != nil {
		return err
	}
	v.HoldID = v.TargetHoldID()
	if o := wallet.OriginalOf(v.Entry); o.IsReversible() {
		reversed, err := c.Read.Reversed(ctx, []wallet.Entry{v.Entry})
		if err != nil {
			return err
		}
		v.Reversed, v.Left = reversed[0], o.Moved.Sub(reversed[0])
		v.Reversible = !v.Left.IsZero()
	}
	return c.render(w, r, http.StatusOK, "entry", fmt.Sprintf("Entry %d of %s in %s", position, r.ref.UserID, r.ref.Currency), v)
}

// readPlace reads an entry and its neighbours.
func (c *Console) readPlace(ctx context.Context, ref wallet.AssetRef, position int64, v *entryPage) error {
	around, err := c.Read.Commands(ctx, trail.CommandFilter{UserID: ref.UserID, Currency: ref.Currency, AfterPosition: max(position-2, 0), Limit: 3})
	if err != nil {
		return err
	}
	known := false
	for i, e := range around {
		switch e.Position {
		case position - 1:
			v.Place.Before, v.CreditLimitBefore = &around[i], e.CreditLimit
		case position:
			v.Entry, known = e, true
		case position + 1:
			v.Place.After = &around[i]
		}
	}
	if !known {
		return fmt.Errorf("the journal of the %s wallet of user %q has no entry %d: %w", ref.Currency, ref.UserID, position, trail.ErrNoCommand)
	}
	p := &v.Place
	p.Linked = (p.Before == nil && position == 1 && v.PrevHash.IsZero() || p.Before != nil && p.Before.Hash == v.PrevHash) &&
		(p.After == nil || p.After.PrevHash == v.Hash)
	finding, err := c.Read.CheckReceipt(ctx, trail.Receipt{UserID: ref.UserID, Currency: ref.Currency, CommandID: v.CommandID, Position: position, Hash: v.Hash})
	if finding != nil {
		p.Problem = finding.Problem
	}
	return err
}

// verify checks a wallet from its first entry on.
func (c *Console) verify(ctx context.Context, w http.ResponseWriter, r *request) error {
	var report trail.Report
	err := c.Widely(ctx, func() (err error) {
		report, err = c.Read.VerifyWallet(ctx, r.ref)
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = problem{http.StatusServiceUnavailable, "It took too long",
			`This wallet has more entries than a page can verify, or others are being verified. "wallet verify" takes as long as it needs.`}
	}
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "verify", "Verification of "+r.ref.UserID+" in "+r.ref.Currency, struct {
		wallet.AssetRef
		trail.Report
	}{r.ref, report})
}

// holdsPage is what a page of holds shows.
type holdsPage struct {
	Balance wallet.Balance
	State   string
	Holds   []trail.Hold
	Next    string
	First   bool
}

func (c *Console) holds(ctx context.Context, w http.ResponseWriter, r *request) error {
	v := holdsPage{First: r.get("after") == ""}
	var err error
	if v.State, err = r.oneOf("state", "open", "captured", "released", "expired"); err != nil {
		return err
	}
	asset, err := c.Read.Asset(ctx, r.ref.UserID, r.ref.Currency)
	if err != nil {
		return err
	}
	v.Balance = asset.Balance()
	v.Holds, err = c.Read.Holds(ctx, trail.HoldFilter{
		UserID: r.ref.UserID, Currency: r.ref.Currency, State: wallet.HoldState(v.State), AfterCurrency: r.ref.Currency, AfterID: r.get("after"), Limit: pageRows,
	})
	if err != nil {
		return err
	}
	if len(v.Holds) == pageRows {
		v.Next = v.Holds[pageRows-1].ID
	}
	return c.render(w, r, http.StatusOK, "holds", "Holds of "+r.ref.UserID+" in "+r.ref.Currency, v)
}

// grantsPage is what a page of grants shows.
type grantsPage struct {
	Balance wallet.Balance
	Show    string
	All     bool
	Grants  []trail.Grant
	First   bool
	Next    int64 // the number to go on after; 0 at the end
}

func (c *Console) grants(ctx context.Context, w http.ResponseWriter, r *request) error {
	after, err := r.number("after")
	if err != nil {
		return err
	}
	v := grantsPage{First: after == 0}
	if v.Show, err = r.oneOf("show", "open", "all"); err != nil {
		return err
	}
	v.All = v.Show == "all"
	asset, err := c.Read.Asset(ctx, r.ref.UserID, r.ref.Currency)
	if err != nil {
		return err
	}
	v.Balance = asset.Balance()
	v.Grants, err = c.Read.Grants(ctx, trail.GrantFilter{UserID: r.ref.UserID, Currency: r.ref.Currency, All: v.All, AfterCurrency: r.ref.Currency, AfterNumber: after, Limit: pageRows})
	if err != nil {
		return err
	}
	if len(v.Grants) == pageRows {
		v.Next = v.Grants[pageRows-1].Number
	}
	return c.render(w, r, http.StatusOK, "grants", "Grants of "+r.ref.UserID+" in "+r.ref.Currency, v)
}
