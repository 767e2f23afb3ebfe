package main

import (
	"context"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

// checkBy refuses what balances and statements are not divided by.
func checkBy(by string) error {
	if by != "" && by != "grant" {
		return cli.Usagef("--by %q is unknown: use grant", by)
	}
	return nil
}

// statementLine is an event, or what it did with one grant.
type statementLine struct {
	trail.Event
	Grant   int64  `json:"grant,omitempty"` // absent of what is not granted
	GrantID string `json:"grant_id,omitempty"`
}

// grantNames knows the ids of the grants that were asked for before.
type grantNames struct {
	read trail.Reader
	ids  map[int64]string
}

// split makes lines of an event that changed the total: one for each grant, and one for what is not granted.
// Their totals follow each other.
func (n grantNames) split(ctx context.Context, e trail.Event) ([]statementLine, error) {
	if !changesTotal(e) {
		return []statementLine{{Event: e}}, nil
	}
	parts := e.Grants
	if e.MadeGrant() {
		n.ids[e.Position] = e.CommandID
		parts = wallet.GrantParts{{Grant: e.Position, Amount: e.Amount}}
	}
	if err := n.find(ctx, e, parts); err != nil {
		return nil, err
	}
	var lines []statementLine
	add := func(l statementLine) {
		if len(lines) > 0 {
			l.Reversed = wallet.Amount{} // which is of the whole
		}
		lines = append(lines, l)
	}
	at, grows := e.TotalBefore, e.TotalAfter.Cmp(e.TotalBefore) > 0
	for _, part := range parts {
		l := statementLine{Event: e, Grant: part.Grant, GrantID: n.ids[part.Grant]}
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
		l := statementLine{Event: e}
		l.TotalBefore, l.Grants = at, nil
		if l.Amount = at.Sub(e.TotalAfter); grows {
			l.Amount = e.TotalAfter.Sub(at)
		}
		add(l)
	}
	return lines, nil
}

func (n grantNames) find(ctx context.Context, e trail.Event, parts wallet.GrantParts) error {
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
