package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

var holdStates = []string{string(wallet.HoldOpen), string(wallet.HoldCaptured), string(wallet.HoldReleased), string(wallet.HoldExpired)}

func (a *app) holdsCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "holds USER [CURRENCY]", Short: "Show what is reserved, and what became of it",
		Long: `Show the holds of a user, by currency and id: how much each reserved, how much
of that was captured and released, what is left of it, and until when. A hold
that is due is shown as expired, even if the service records it later.`,
		Example: "  wallet holds u1\n  wallet holds u1 USD --state open",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args)
			if err != nil {
				return err
			}
			if state != "" && !slices.Contains(holdStates, state) {
				return cli.Usagef("--state %q is unknown: use %s", state, strings.Join(holdStates, ", "))
			}
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				return a.printHolds(cmd, trail.New(pool), trail.HoldFilter{UserID: userID, Currency: currency, State: wallet.HoldState(state)})
			})
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only those that are "+strings.Join(holdStates, ", ")+"; what lies between is read too, so rare ones take time")
	return cmd
}

// printHolds prints page by page, so that memory does not grow with their number.
func (a *app) printHolds(cmd *cobra.Command, read trail.Reader, filter trail.HoldFilter) error {
	scope := wallet.AssetRef{UserID: filter.UserID, Currency: filter.Currency}
	out := cmd.OutOrStdout()
	header := table.Row{"hold id", "state", "amount", "captured", "released", "left", "placed", "expires"}
	t, encoder := newPagedTable(out, append(unnamed(scope, "user", "currency"), header...)), json.NewEncoder(out)
	for shown := 0; ; {
		holds, err := read.Holds(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if shown += len(holds); shown == 0 {
			return a.noHolds(cmd, read, filter)
		}
		for _, h := range holds {
			if a.output == "table" {
				t.append(append(unnamed(scope, cli.Plain(h.UserID), h.Currency), holdRow(h)...))
			} else if err := encoder.Encode(h); err != nil {
				return err
			}
			filter.AfterCurrency, filter.AfterID = h.Currency, h.ID
		}
		if len(holds) < trail.MaxPage {
			break
		}
	}
	if a.output == "table" {
		t.Render()
	}
	return nil
}

func holdRow(h trail.Hold) table.Row {
	return table.Row{cli.Plain(h.ID), h.State, h.Amount, h.Captured, h.Released, h.Left, when(h.PlacedAt), expiry(h.ExpiresAt)}
}

// expiry shows when a hold expires.
func expiry(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return when(at)
}

// noHolds says that there are none, unless there is no such wallet either.
func (a *app) noHolds(cmd *cobra.Command, read trail.Reader, filter trail.HoldFilter) error {
	if _, err := readBalances(cmd.Context(), read, filter.UserID, filter.Currency, pastOptions{}, false); err != nil {
		return err
	}
	which, where := "holds", ""
	if filter.State != "" {
		which = string(filter.State) + " holds"
	}
	if filter.Currency != "" {
		where = " in " + filter.Currency
	}
	a.tellNone(cmd, fmt.Sprintf("user %q has no %s%s", filter.UserID, which, where))
	return nil
}
