package main

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/cli"
)

func (a *app) feedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "feed", Short: "Show and fix what stops consumers of the feed",
		Long: `A consumer that fails for an event continues with other wallets and retries this
event, with pauses of up to a minute. Later events of its wallet wait. After 10
failures, unless the consumer says otherwise, the wallet is parked: it is still
retried, but somebody should look at it.`,
	}
	cmd.AddCommand(a.feedListCommand(), a.feedRetryCommand(), a.feedSkipCommand(), a.feedRedeliverCommand())
	return cmd
}

func (a *app) feedListCommand() *cobra.Command {
	var skipped bool
	cmd := &cobra.Command{
		Use: "list [CONSUMER]", Short: "List the wallets whose events wait for a consumer, and why", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			consumer := first(args)
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				if skipped {
					return a.listSkipped(cmd, pool, consumer)
				}
				return a.listWaiting(cmd, pool, consumer)
			})
		},
	}
	cmd.Flags().BoolVar(&skipped, "skipped", false, "list the events that were skipped instead, by whom and why")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) listWaiting(cmd *cobra.Command, pool *pgxpool.Pool, consumer string) error {
	list, err := feed.ListWaiting(cmd.Context(), pool, consumer)
	if err != nil {
		return err
	}
	return printList(a, cmd, list, "no wallet waits for a consumer", table.Row{"consumer", "event", "state", "failures", "since", "last error"}, func(w feed.Waiting) table.Row {
		state := "waiting"
		if w.Parked {
			state = "parked"
		}
		return table.Row{cli.Plain(w.Consumer), cli.Plain(w.EventID), state, w.Failures, when(w.Since), cli.Plain(w.LastError)}
	})
}

func (a *app) listSkipped(cmd *cobra.Command, pool *pgxpool.Pool, consumer string) error {
	list, err := feed.ListSkipped(cmd.Context(), pool, consumer)
	if err != nil {
		return err
	}
	return printList(a, cmd, list, "no event was skipped", table.Row{"consumer", "event", "skipped", "actor", "reason", "last error"}, func(s feed.Skipped) table.Row {
		return table.Row{cli.Plain(s.Consumer), cli.Plain(s.EventID), when(s.SkippedAt), cli.Plain(s.Actor), cli.Plain(s.Reason), cli.Plain(s.LastError)}
	})
}

// mendsFeed is what the help of the commands says that write.
const mendsFeed = `

It connects to WALLET_OWNER_DATABASE_URL, or else to WALLET_DATABASE_URL. The
role must own the tables, or be a member of the role that registered the
consumer.`

func (a *app) feedRetryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "retry CONSUMER [USER [CURRENCY]]", Short: "Have a consumer retry waiting wallets at once", Args: cobra.RangeArgs(1, 3),
		Long: `Have a consumer retry waiting wallets at once: all, those of a user, or one. A
wallet whose event succeeds now catches up in order.` + mendsFeed,
		Example: "  wallet feed retry billing\n  wallet feed retry billing u1 USD",
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args[1:])
			if err != nil {
				return err
			}
			var wallets int64
			err = withWriterPool(cmd.Context(), a.owner, func(pool *pgxpool.Pool) (err error) {
				wallets, err = feed.Retry(cmd.Context(), pool, args[0], userID, currency)
				return err
			})
			if err != nil {
				return a.asOwner(err)
			}
			done := struct {
				Consumer string `json:"consumer"`
				Wallets  int64  `json:"wallets"`
			}{args[0], wallets}
			what := "wallets"
			if wallets == 1 {
				what = "wallet"
			}
			return a.printDone(cmd, done, fmt.Sprintf("consumer %q tries %d %s again now", done.Consumer, wallets, what))
		},
	}
}

func (a *app) feedSkipCommand() *cobra.Command {
	var actor, reason string
	cmd := &cobra.Command{
		Use: "skip CONSUMER EVENT --actor WHO --reason WHY", Short: "Skip an event for a consumer, on record", Args: cobra.ExactArgs(2),
		Long: `Skip an event for a consumer: do its work by hand, or have it redelivered
later. The consumer continues with the wallet's next event. Who decided this,
when and why is on record ("wallet feed list --skipped"). The event itself stays
in the trail.` + mendsFeed,
		Example: `  wallet feed skip billing USD/u1/17-9f86d081884c7d65 --actor ann --reason "plan was deleted, credited by hand"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := withWriterPool(cmd.Context(), a.owner, func(pool *pgxpool.Pool) error {
				return feed.Skip(cmd.Context(), pool, args[0], args[1], actor, reason)
			})
			if err != nil {
				return a.asOwner(err)
			}
			done := struct {
				Consumer string `json:"consumer"`
				EventID  string `json:"event_id"`
			}{args[0], args[1]}
			return a.printDone(cmd, done, fmt.Sprintf("event %q is skipped for the consumer %q", done.EventID, done.Consumer))
		},
	}
	cmd.Flags().StringVar(&actor, "actor", "", "who decides that")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cobra.CheckErr(cmd.MarkFlagRequired("actor"))
	cobra.CheckErr(cmd.MarkFlagRequired("reason"))
	return cmd
}

func (a *app) feedRedeliverCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "redeliver CONSUMER [EVENT]", Short: "Hand skipped events to a consumer after all", Args: cobra.RangeArgs(1, 2),
		Long: `Hand a skipped event to a consumer after all, or all of them (--all): each by
itself, after later events of its wallet, once. If that fails, it stays skipped,
and "wallet feed list --skipped" has the error.` + mendsFeed,
		Example: "  wallet feed redeliver billing USD/u1/17-9f86d081884c7d65",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 2) {
				return cli.Usagef("say which events: one by its id, or --all")
			}
			events := int64(1)
			err := withWriterPool(cmd.Context(), a.owner, func(pool *pgxpool.Pool) (err error) {
				if all {
					events, err = feed.RedeliverSkipped(cmd.Context(), pool, args[0])
					return err
				}
				return feed.Redeliver(cmd.Context(), pool, args[0], args[1])
			})
			if err != nil {
				return a.asOwner(err)
			}
			done := struct {
				Consumer string `json:"consumer"`
				Events   int64  `json:"events"`
			}{args[0], events}
			return a.printDone(cmd, done, fmt.Sprintf("skipped events that consumer %q gets after all: %d", done.Consumer, done.Events))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that are skipped")
	return cmd
}

// printDone says what was done: as JSON, or as a sentence.
func (a *app) printDone(cmd *cobra.Command, done any, sentence string) error {
	if a.output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), sentence)
	return err
}
