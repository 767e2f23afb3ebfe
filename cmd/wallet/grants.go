package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

func (a *app) grantsCommand() *cobra.Command {
	var filter trail.GrantFilter
	var before timeFlag
	cmd := &cobra.Command{
		Use: "grants USER [CURRENCY]", Short: "Show credits that expire, and what became of them",
		Long: `Show the grants of a user, by currency and number: how much was added, what is
left, held, used and expired of it, and until when. A grant that is due is
shown as expired, even if the service records it later.`,
		Example: "  wallet grants u1\n  wallet grants u1 USD --expires-before 2026-04-01\n  wallet grants u1 USD --all",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if filter.UserID, filter.Currency, err = walletArgs(args); err != nil {
				return err
			}
			filter.ExpiresBefore = before.Time
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error { return a.printGrants(cmd, trail.New(pool), filter) })
		},
	}
	cmd.Flags().BoolVar(&filter.All, "all", false, "those of which nothing is left too")
	cmd.Flags().Var(&before, "expires-before", "only those that expire before this time: RFC 3339, or a date for its midnight UTC")
	return cmd
}

// printGrants prints page by page, so that memory does not grow with their number.
func (a *app) printGrants(cmd *cobra.Command, read trail.Reader, filter trail.GrantFilter) error {
	scope := wallet.AssetRef{UserID: filter.UserID, Currency: filter.Currency}
	out := cmd.OutOrStdout()
	header := table.Row{"grant", "command id", "state", "priority", "amount", "left", "held", "used", "expired", "added", "expires"}
	t, encoder := newPagedTable(out, append(unnamed(scope, "user", "currency"), header...)), json.NewEncoder(out)
	for shown := 0; ; {
		grants, err := read.Grants(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if shown += len(grants); shown == 0 {
			if _, err := readBalances(cmd.Context(), read, filter.UserID, filter.Currency, pastOptions{}, false); err != nil {
				return err
			}
			a.tellNone(cmd, fmt.Sprintf("user %q has no such grants", filter.UserID))
			return nil
		}
		for _, g := range grants {
			if a.output == "table" {
				t.append(append(unnamed(scope, cli.Plain(g.UserID), g.Currency), g.Number, cli.Plain(g.ID), g.State, g.Priority, g.Amount, g.Left, g.Held, g.Used, g.Expired, when(g.AddedAt), expiry(g.ExpiresAt)))
			} else if err := encoder.Encode(g); err != nil {
				return err
			}
			filter.AfterCurrency, filter.AfterNumber = g.Currency, g.Number
		}
		if len(grants) < trail.MaxPage {
			break
		}
	}
	if a.output == "table" {
		t.Render()
	}
	return nil
}

// balanceByGrant is "wallet balance --by grant": the open grants, and a line for what is not granted.
func (a *app) balanceByGrant(cmd *cobra.Command, read trail.Reader, userID, currency string) error {
	assets, err := read.GrantedAssets(cmd.Context(), userID, currency)
	if err != nil {
		return err
	}
	type part struct {
		UserID    string        `json:"user_id"`
		Currency  string        `json:"currency"`
		Grant     int64         `json:"grant,omitempty"` // absent of what is not granted
		CommandID string        `json:"command_id,omitempty"`
		Available wallet.Amount `json:"available"`
		Held      wallet.Amount `json:"held"`
		ExpiresAt time.Time     `json:"expires_at,omitzero"`
	}
	var parts []part
	for _, x := range assets {
		rest := part{UserID: x.UserID, Currency: x.Currency, Available: x.Available(), Held: x.Reserved()}
		for _, g := range x.Grants {
			parts = append(parts, part{x.UserID, x.Currency, g.Number, g.ID, g.Left, g.Held, g.ExpiresAt})
			rest.Available, rest.Held = rest.Available.Sub(g.Left), rest.Held.Sub(g.Held)
		}
		parts = append(parts, rest)
	}
	return printList(a, cmd, parts, "", table.Row{"user", "currency", "grant", "available", "held", "expires"}, func(p part) table.Row {
		name := "not granted"
		if p.Grant != 0 {
			name = cli.Plain(p.CommandID)
		}
		return table.Row{cli.Plain(p.UserID), p.Currency, name, p.Available, p.Held, expiry(p.ExpiresAt)}
	})
}
