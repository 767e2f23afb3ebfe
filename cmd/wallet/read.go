package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// balance is a wallet asset as machines read it.
type balance struct {
	UserID    string        `json:"user_id"`
	Currency  string        `json:"currency"`
	Total     wallet.Amount `json:"total"`
	Hold      wallet.Amount `json:"hold"`
	Available wallet.Amount `json:"available"`
	Version   int64         `json:"version"`
	Position  int64         `json:"position"`
	Hash      wallet.Hash   `json:"hash"`
	UpdatedAt time.Time     `json:"updated_at"`
}

func (a *app) balanceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "balance USER [CURRENCY]", Short: "Show what a user owns",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args)
			if err != nil {
				return err
			}
			var assets []wallet.Asset
			err = a.withPool(cmd.Context(), func(pool *pgxpool.Pool) (err error) {
				if currency != "" {
					assets = make([]wallet.Asset, 1)
					assets[0], err = trail.New(pool).Asset(cmd.Context(), userID, currency)
					return err
				}
				assets, err = trail.New(pool).Assets(cmd.Context(), userID)
				if err == nil && len(assets) == 0 {
					err = fmt.Errorf("user %q: %w", userID, trail.ErrNoWallet)
				}
				return err
			})
			if err != nil {
				return err
			}
			balances := make([]balance, len(assets))
			for i, x := range assets {
				balances[i] = balance{x.UserID, x.Currency, x.Total, x.Hold, x.Available(), x.Version, x.Position, x.Hash, x.UpdatedAt}
			}
			return print(a, cmd, balances, table.Row{"user", "currency", "total", "hold", "available", "version", "updated"}, func(b balance) table.Row {
				return table.Row{plain(b.UserID), b.Currency, b.Total, b.Hold, b.Available, b.Version, when(b.UpdatedAt)}
			})
		},
	}
}

func (a *app) eventsCommand() *cobra.Command {
	limit, follow, after := 0, false, ""
	cmd := &cobra.Command{
		Use: "events [USER [CURRENCY]]", Short: "Show the audit trail of a user: one event for each applied command",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				return a.follow(cmd, args, after)
			}
			return readPages(a, cmd, args, limit, table.Row{"version", "event", "command", "amount", "before", "after", "at", "description"},
				func(read trail.Reader, filter trail.EventFilter, last *trail.Event) ([]trail.Event, error) {
					if last != nil {
						filter.AfterCurrency, filter.AfterVersion = last.Currency, last.Version
					}
					return read.Events(cmd.Context(), filter)
				},
				func(e trail.Event) table.Row {
					return table.Row{e.Version, e.EventType, plain(e.CommandID), amount(e.Amount), e.TotalBefore, e.TotalAfter, when(e.OccurredAt), plain(e.Description)}
				})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many, the oldest; 0 for all")
	cmd.Flags().StringVar(&after, "after", "", "with --follow: the cursor of the last event seen, or 0 for all there are")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show events as they come, until Ctrl-C")
	return cmd
}

// journalEntry is wallet.Entry as machines read it.
type journalEntry struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	wallet.Result
	RequestHash wallet.Hash       `json:"request_hash"`
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	PrevHash    wallet.Hash       `json:"prev_hash"`
}

func (a *app) commandsCommand() *cobra.Command {
	limit, status := 0, ""
	cmd := &cobra.Command{
		Use: "commands USER [CURRENCY]", Short: "Show the journal of a user: every command, applied or refused",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if status != "" && status != string(wallet.StatusApplied) && status != string(wallet.StatusUnapplied) {
				return fmt.Errorf("--status %q is unknown: use applied or unapplied", status)
			}
			return readPages(a, cmd, args, limit, append(slices.Clone(resultHeader), "at"),
				func(read trail.Reader, filter trail.EventFilter, last *journalEntry) ([]journalEntry, error) {
					f := trail.CommandFilter{UserID: filter.UserID, Currency: filter.Currency, Status: wallet.Status(status), Limit: filter.Limit}
					if last != nil {
						f.AfterCurrency, f.AfterPosition = last.Currency, last.Position
					}
					entries, err := read.Commands(cmd.Context(), f)
					list := make([]journalEntry, len(entries))
					for i, e := range entries {
						list[i] = journalEntry{e.UserID, e.Currency, e.Result(), e.RequestHash, e.Description, e.Actor, e.Metadata, e.PrevHash}
					}
					return list, err
				},
				func(e journalEntry) table.Row { return append(resultRow(e.Result), when(e.RecordedAt)) })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many, the oldest; 0 for all")
	cmd.Flags().StringVar(&status, "status", "", "only applied or only unapplied")
	return cmd
}

// readPages prints all pages of a user's rows, or the first limit rows. JSON is
// written as it is read.
func readPages[T any](a *app, cmd *cobra.Command, args []string, limit int, header table.Row,
	page func(trail.Reader, trail.EventFilter, *T) ([]T, error), row func(T) table.Row) error {
	userID, currency, err := walletArgs(args)
	if err != nil {
		return err
	}
	return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
		t, encoder := newTable(cmd.OutOrStdout(), header), json.NewEncoder(cmd.OutOrStdout())
		var last *T
		for left := limit; ; {
			items, err := page(trail.New(pool), trail.EventFilter{UserID: userID, Currency: currency, Limit: left}, last)
			if err != nil {
				return err
			}
			for i := range items {
				last = &items[i]
				if a.output == "table" {
					t.AppendRow(row(items[i]))
				} else if err := encoder.Encode(items[i]); err != nil {
					return err
				}
			}
			left -= len(items)
			if limit > 0 && left <= 0 || len(items) < trail.MaxPage {
				break
			}
		}
		if a.output == "table" {
			t.Render()
		}
		return nil
	})
}

func walletArgs(args []string) (userID, currency string, err error) {
	if err := wallet.ValidateUserID(args[0]); err != nil {
		return "", "", err
	}
	if len(args) == 1 {
		return args[0], "", nil
	}
	return args[0], args[1], wallet.ValidateCurrency(args[1])
}
