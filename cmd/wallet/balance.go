package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

// balance is one that may be ahead of Postgres's clock.
type balance struct {
	wallet.Balance
	// Ahead is how far the wallet's last entry is ahead of it, as in "8759h0m0s"; absent if it is
	// not.
	Ahead string `json:"ahead,omitempty"`
}

// pastOptions choose a balance of the past; the current one if none is set.
type pastOptions struct {
	at      timeFlag
	version int64
}

func (a *app) balanceCommand() *cobra.Command {
	var past pastOptions
	var by string
	cmd := &cobra.Command{
		Use: "balance USER [CURRENCY]", Short: "Show what a user owns, or owned at a time in the past",
		Long: `Show what a user owns. With --at or --version, show what it was then: exact,
from the journal, with the position and the hash of the last entry of that time.`,
		Example: "  wallet balance u1\n  wallet balance u1 USD --at 2026-01-31T18:30:00Z\n  wallet balance u1 USD --version 17",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args)
			if err != nil {
				return err
			}
			byVersion := cmd.Flags().Changed("version")
			if byVersion && currency == "" {
				return cli.Usagef("--version needs a currency: each wallet counts its own versions")
			}
			if err := checkBy(by); err != nil {
				return err
			}
			if by != "" {
				return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
					return a.balanceByGrant(cmd, trail.New(pool), userID, currency)
				})
			}
			var assets []wallet.Asset
			var ahead []trail.Ahead
			err = a.withReads(cmd.Context(), func(pool *pgxpool.Pool) (err error) {
				read := trail.New(pool)
				if assets, err = readBalances(cmd.Context(), read, userID, currency, past, byVersion); err != nil {
					return err
				}
				ahead, err = read.Ahead(cmd.Context(), userID, currency)
				return err
			})
			if err != nil {
				return err
			}
			balances := make([]balance, len(assets))
			for i, x := range assets {
				balances[i].Balance = x.Balance()
				for _, of := range ahead {
					if of.Currency == x.Currency {
						balances[i].Ahead = of.By.String()
					}
				}
			}
			err = printList(a, cmd, balances, "", table.Row{"user", "currency", "total", "hold", "available", "state", "version", "updated"}, func(b balance) table.Row {
				return table.Row{cli.Plain(b.UserID), b.Currency, b.Total, b.Hold, b.Available, b.state(), b.Version, when(b.UpdatedAt)}
			})
			if err != nil || a.output != "table" {
				return err
			}
			for _, b := range balances {
				noteDue(cmd.OutOrStdout(), b.Balance)
				noteThresholds(cmd.OutOrStdout(), b)
			}
			for _, of := range ahead {
				fmt.Fprintf(cmd.OutOrStdout(), "the last entry of the %s wallet has the time %s, %s ahead of Postgres's clock: --at counts it from then on, without --at it is counted (see \"Postgres's clock was ahead\" in docs/guides/when-lost.md)\n",
					of.Currency, when(of.UpdatedAt), of.By)
			}
			return nil
		},
	}
	cmd.Flags().Var(&past.at, "at", "as of this time, inclusive: RFC 3339, or a date for its midnight UTC")
	cmd.Flags().Int64Var(&past.version, "version", 0, "right after the applied command of this number")
	cmd.Flags().StringVar(&by, "by", "", "grant: what is left of each grant, and what is not granted")
	cmd.MarkFlagsMutuallyExclusive("at", "version", "by")
	return cmd
}

// state says what a wallet refuses, and its credit limit: empty for most.
func (b balance) state() string {
	var states []string
	if b.Closed {
		states = append(states, "closed")
	}
	if b.Frozen != "" {
		states = append(states, "frozen: "+wallet.FrozenText(b.Frozen, b.FreezeEnds, when))
	}
	if !b.CreditLimit.IsZero() {
		states = append(states, "credit limit: "+b.CreditLimit.String())
	}
	return strings.Join(states, ", ")
}

// noteThresholds lists those that are set, and says which of them the available amount is below.
func noteThresholds(out io.Writer, b balance) {
	for _, t := range b.Thresholds.List() {
		below := ""
		if b.Available.Cmp(t.Amount) < 0 {
			below = ": the available amount is below it"
		}
		fmt.Fprintf(out, "threshold %s of the %s wallet is %s%s\n", t.Name, b.Currency, t.Amount, below)
	}
}

// noteDue explains a balance that is ahead of its journal.
func noteDue(out io.Writer, b wallet.Balance) {
	if !b.DueGrants.IsZero() {
		fmt.Fprintf(out, "%s %s of grants has expired; the journal's entry of it is still to come\n", b.DueGrants, b.Currency)
	}
	if !b.Due.IsZero() {
		fmt.Fprintf(out, "%s %s of holds has expired and is available again; the journal's entry of it is still to come\n", b.Due, b.Currency)
	}
}

func readBalances(ctx context.Context, read trail.Reader, userID, currency string, past pastOptions, byVersion bool) ([]wallet.Asset, error) {
	one := func(asset wallet.Asset, err error) ([]wallet.Asset, error) { return []wallet.Asset{asset}, err }
	switch {
	case byVersion:
		return one(read.AssetAtVersion(ctx, userID, currency, past.version))
	case !past.at.IsZero() && currency != "":
		return one(read.AssetAt(ctx, userID, currency, past.at.Time))
	case !past.at.IsZero():
		return read.AssetsAt(ctx, userID, past.at.Time)
	case currency != "":
		return one(read.Asset(ctx, userID, currency))
	}
	assets, err := read.Assets(ctx, userID)
	if err == nil && len(assets) == 0 {
		err = fmt.Errorf("user %q: %w", userID, trail.ErrNoWallet)
	}
	return assets, err
}

// timeFlag is a flag that takes a time: RFC 3339, or a date for its midnight UTC.
// It is zero if it was not given.
type timeFlag struct{ time.Time }

// Set reads the flag's value.
func (f *timeFlag) Set(text string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() {
			f.Time = t.UTC()
			return nil
		}
	}
	return fmt.Errorf("not a time such as 2026-01-31T18:30:00Z, or a date such as 2026-01-31")
}

// Type names the value in the help text.
func (f *timeFlag) Type() string { return "time" }

// String gives the default for the help text: none.
func (f *timeFlag) String() string {
	if f.IsZero() {
		return ""
	}
	return f.Format(time.RFC3339Nano)
}
