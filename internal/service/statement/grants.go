package statement

import (
	"context"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// Line is an event, or what it did with one grant.
type Line struct {
	trail.Event
	Grant   int64  `json:"grant,omitempty"` // absent of what is not granted
	GrantID string `json:"grant_id,omitempty"`
}

// Grants divides events by grant. It knows the ids of the grants that were asked for before.
type Grants struct {
	read trail.Reader
	ids  map[int64]string
}

// NewGrants reads the ids of grants from a trail.
func NewGrants(read trail.Reader) Grants { return Grants{read, map[int64]string{}} }

// Split makes lines of an event that changed the total: one for each grant, and one for what is not granted.
// Their totals follow each other.
func (n Grants) Split(ctx context.Context, e trail.Event) ([]Line, error) {
	if !ChangesTotal(e) {
		return []Line{{Event: e}}, nil
	}
	parts := e.Grants
	if e.MadeGrant() {
		n.ids[e.Position] = e.CommandID
		parts = wallet.GrantParts{{Grant: e.Position, Amount: e.Amount}}
	}
	if err := n.find(ctx, e, parts); err != nil {
		return nil, err
	}
	var lines []Line
	add := func(l Line) {
		if len(lines) > 0 {
			l.Reversed = wallet.Amount{} // which is of the whole
		}
		lines = append(lines, l)
	}
	at, grows := e.TotalBefore, e.TotalAfter.Cmp(e.TotalBefore) > 0
	for _, part := range parts {
		l := Line{Event: e, Grant: part.Grant, GrantID: n.ids[part.Grant]}
		l.TotalBefore = at
		if grows {
			at = at.Add(part.Amount)
		} else {
			at = at.Sub(part.Amount)
		}
		l.TotalAfter, l.Amount, l.Grants = at, part.Amount, wallet.GrantParts{part}
		add(l)
	}
	if at.Cmp(e.TotalAfter) != 0 {
		l := Line{Event: e}
		l.TotalBefore, l.Grants = at, nil
		if l.Amount = at.Sub(e.TotalAfter); grows {
			l.Amount = e.TotalAfter.Sub(at)
		}
		add(l)
	}
	return lines, nil
}

func (n Grants) find(ctx context.Context, e trail.Event, parts wallet.GrantParts) error {
	var unknown []int64
	for _, part := range parts {
		if _, known := n.ids[part.Grant]; !known {
			unknown = append(unknown, part.Grant)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	found, err := n.read.GrantIDs(ctx, e.UserID, e.Currency, unknown)
	for number, id := range found {
		n.ids[number] = id
	}
	return err
}
