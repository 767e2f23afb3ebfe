package main

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/cli"
)

// follow prints events as they come, of all wallets, a user or one wallet asset,
// until Ctrl-C: those after a place in the feed, or from now on.
func (a *app) follow(cmd *cobra.Command, args []string, after string) error {
	var o feed.FollowOptions
	var err error
	if len(args) > 0 {
		if o.UserID, o.Currency, err = walletArgs(args); err != nil {
			return err
		}
	}
	return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
		if after == "" {
			o.After, err = feed.End(cmd.Context(), pool)
		} else if o.After, err = feed.ParseCursor(after); err != nil {
			err = cli.Usagef("--after: %w", err)
		}
		if err != nil {
			return err
		}
		out, encoder := cmd.OutOrStdout(), json.NewEncoder(cmd.OutOrStdout())
		return feed.Follow(cmd.Context(), pool, o, func(e feed.Event) error {
			if a.output == "json" {
				return encoder.Encode(e)
			}
			_, err := fmt.Fprintf(out, "%s  %-26s  %s %s  %s -> %s  %s  %s  (cursor %s)\n", when(e.OccurredAt), e.EventType,
				cli.Plain(e.UserID), e.Currency, e.TotalBefore, e.TotalAfter, cli.Plain(e.CommandID), cli.Plain(e.Description), e.Cursor)
			return err
		})
	})
}
