package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

func (a *app) eventsCommand() *cobra.Command {
	p, follow := paging{unit: "VERSION"}, false
	cmd := &cobra.Command{
		Use: "events [USER [CURRENCY]]", Short: "Show the audit trail: one event for each applied command",
		Example: "  wallet events u1 USD\n  wallet events u1 USD --after 17 --limit 100\n  wallet events --after u1/USD/17 --limit 100",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				return a.follow(cmd, args, p.after)
			}
			return readPages(a, cmd, args, p, list[trail.Event]{
				none:   noRows("events", args, p.after, ""),
				header: table.Row{"version", "event", "command", "amount", "before", "after", "at", "hold id", "description"},
				page: func(read trail.Reader, scope wallet.AssetRef, after place, limit int) ([]trail.Event, error) {
					return read.Events(cmd.Context(), trail.EventFilter{
						UserID: scope.UserID, Currency: scope.Currency, Limit: limit,
						AfterUserID: after.UserID, AfterCurrency: after.Currency, AfterVersion: after.number,
					})
				},
				place: func(e trail.Event) place {
					return place{wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}, e.Version}
				},
				row: func(e trail.Event) table.Row {
					return table.Row{e.Version, e.EventType, cli.Plain(e.CommandID), cli.Amount(e.Amount), e.TotalBefore, e.TotalAfter, when(e.OccurredAt), cli.Plain(e.HoldID), cli.Plain(e.Description)}
				},
			})
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show events as they come, until Ctrl-C: from now on, or --after the cursor of an event (0 for all there are)")
	cmd.MarkFlagsMutuallyExclusive("follow", "limit") // it has no end
	return cmd
}

func (a *app) findCommand() *cobra.Command {
	return &cobra.Command{
		Use: "find COMMAND_ID", Short: "Find out which wallets have a command with this id",
		Long: `Look up a command's id in all wallets, with one index lookup for each: a
million wallets take seconds. Exit code 1 if none has it. The id of a
transaction is looked up with "wallet transaction show".`,
		Example: "  wallet find order-7", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
				var entries []wallet.Entry
				read := trail.New(pool)
				err := read.Find(cmd.Context(), args[0], func(e wallet.Entry) error {
					entries = append(entries, e)
					return nil
				})
				if err != nil {
					return err
				}
				all, err := journalEntries(cmd.Context(), read, entries)
				if err != nil {
					return err
				}
				if len(all) == 0 {
					return fmt.Errorf("no wallet has a command with the id %q: it was not recorded, or under another id", args[0])
				}
				header := append(append(table.Row{"user", "currency"}, cli.ResultHeader...), "reversed", "at")
				return printList(a, cmd, all, "", header, func(e journalEntry) table.Row {
					return append(append(table.Row{cli.Plain(e.UserID), e.Currency}, cli.ResultRow(e.Result)...), cli.Amount(e.Reversed), when(e.RecordedAt))
				})
			})
		},
	}
}

func journalEntries(ctx context.Context, read trail.Reader, entries []wallet.Entry) ([]journalEntry, error) {
	reversed, err := read.Reversed(ctx, entries)
	if err != nil {
		return nil, err
	}
	all := make([]journalEntry, len(entries))
	for i, e := range entries {
		all[i] = journalEntry{e.UserID, e.Currency, e.Result(), reversed[i], e.RequestHash, content{Command: e.Command()}, e.PrevHash}
	}
	return all, nil
}

// journalEntry is wallet.Entry as machines read it.
type journalEntry struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	wallet.Result
	Reversed    wallet.Amount `json:"reversed,omitzero"` // of it, so far
	RequestHash wallet.Hash   `json:"request_hash"`
	content
	PrevHash wallet.Hash `json:"prev_hash"`
}

// content is what the command said that its Result does not repeat: of a name that both have,
// encoding/json takes the Result's, which is less deep.
type content struct {
	wallet.Command
	ID struct{} `json:"id,omitzero"` // it is the Result's command_id
}

func (a *app) commandsCommand() *cobra.Command {
	p, status, original := paging{unit: "POSITION"}, "", ""
	cmd := &cobra.Command{
		Use: "commands [USER [CURRENCY]]", Short: "Show the journal: every command, applied or refused",
		Example: "  wallet commands u1 USD\n  wallet commands u1 USD --after 17 --limit 100\n  wallet commands --status unapplied\n  wallet commands u1 USD --reverses order-7",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if status != "" && status != string(wallet.StatusApplied) && status != string(wallet.StatusUnapplied) {
				return cli.Usagef("--status %q is unknown: use applied or unapplied", status)
			}
			what := "commands"
			if original != "" {
				what = "reversals of " + cli.Plain(original)
				if len(args) < 2 {
					return cli.Usagef("--reverses needs a user and a currency: a command is reversed in its own wallet")
				}
			}
			return readPages(a, cmd, args, p, list[journalEntry]{
				none:   noRows(what, args, p.after, status),
				header: append(slices.Clone(cli.ResultHeader), "reversed", "at"),
				page: func(read trail.Reader, scope wallet.AssetRef, after place, limit int) ([]journalEntry, error) {
					entries, err := read.Commands(cmd.Context(), trail.CommandFilter{
						UserID: scope.UserID, Currency: scope.Currency, Status: wallet.Status(status), OriginalID: original, Limit: limit,
						AfterUserID: after.UserID, AfterCurrency: after.Currency, AfterPosition: after.number,
					})
					if err != nil {
						return nil, err
					}
					return journalEntries(cmd.Context(), read, entries)
				},
				place: func(e journalEntry) place {
					return place{wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}, e.Position}
				},
				row: func(e journalEntry) table.Row {
					return append(cli.ResultRow(e.Result), cli.Amount(e.Reversed), when(e.RecordedAt))
				},
			})
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&status, "status", "", "only applied or only unapplied; what lies between is read too, so rare ones take time")
	cmd.Flags().StringVar(&original, "reverses", "", "only the reversals of the command with this id")
	cmd.MarkFlagsMutuallyExclusive("status", "reverses")
	return cmd
}

// list is how a command reads and shows its rows.
type list[T any] struct {
	none   string // what to say if there are none
	header table.Row
	page   func(read trail.Reader, scope wallet.AssetRef, after place, limit int) ([]T, error)
	place  func(T) place
	row    func(T) table.Row
}

// readPages prints the rows of a scope page by page, so that memory does not grow
// with their number.
func readPages[T any](a *app, cmd *cobra.Command, args []string, p paging, l list[T]) error {
	userID, currency, err := walletArgs(args)
	if err != nil {
		return err
	}
	scope := wallet.AssetRef{UserID: userID, Currency: currency}
	after, err := p.place(scope)
	if err != nil {
		return err
	}
	if p.limit < 0 {
		return cli.Usagef("--limit %d is negative: use 0 for all", p.limit)
	}
	return a.withReads(cmd.Context(), func(pool *pgxpool.Pool) error {
		t, encoder := newPagedTable(cmd.OutOrStdout(), append(unnamed(scope, "user", "currency"), l.header...)), json.NewEncoder(cmd.OutOrStdout())
		shown := 0
		for left := p.limit; ; {
			read := trail.New(pool)
			items, err := l.page(read, scope, after, left)
			if err != nil {
				return err
			}
			if len(items) == 0 && scope.UserID != "" && p.after == "" && after == (place{}) {
				// Is there nothing to show, or is the name wrong?
				if _, err := readBalances(cmd.Context(), read, userID, currency, pastOptions{}, false); err != nil {
					return err
				}
			}
			for _, item := range items {
				after = l.place(item)
				if a.output == "table" {
					t.append(append(unnamed(scope, cli.Plain(after.UserID), after.Currency), l.row(item)...))
				} else if err := encoder.Encode(item); err != nil {
					return err
				}
			}
			shown += len(items)
			left -= len(items)
			if p.limit > 0 && left <= 0 || len(items) < trail.MaxPage {
				break
			}
		}
		switch {
		case shown == 0:
			a.tellNone(cmd, l.none)
		case a.output == "table":
			t.Render()
		}
		return nil
	})
}

// noRows says that a list has none: "no unapplied commands of u1 in USD after 17".
func noRows(what string, args []string, after, status string) string {
	words := []string{"no"}
	if status != "" {
		words = append(words, status)
	}
	words = append(words, what)
	if len(args) > 0 {
		words = append(words, "of", cli.Plain(args[0]))
	}
	if len(args) > 1 {
		words = append(words, "in", cli.Plain(args[1]))
	}
	if after != "" {
		words = append(words, "after", cli.Plain(after))
	}
	return strings.Join(words, " ")
}

// unnamed gives the columns that a scope needs: what the arguments name is not one.
func unnamed(scope wallet.AssetRef, user, currency string) table.Row {
	switch {
	case scope.UserID == "":
		return table.Row{user, currency}
	case scope.Currency == "":
		return table.Row{currency}
	default:
		return nil
	}
}

// walletArgs reads the arguments [USER [CURRENCY]].
func walletArgs(args []string) (userID, currency string, err error) {
	if len(args) == 0 {
		return "", "", nil
	}
	if err := wallet.ValidateUserID(args[0]); err != nil {
		return "", "", err
	}
	if len(args) == 1 {
		return args[0], "", nil
	}
	return args[0], args[1], wallet.ValidateCurrency(args[1])
}
