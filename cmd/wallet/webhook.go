package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

const allowNetworksSetting = "WALLET_WEBHOOK_ALLOW_NETWORKS"

func (a *app) webhookCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "webhook", Short: "Send events by HTTP, to endpoints that are managed here",
		Long: `Send events by HTTP, to endpoints that are managed here (docs/webhooks.md).

Commands that write connect to WALLET_OWNER_DATABASE_URL, or else to
WALLET_DATABASE_URL. The role must own the tables, or be a member of
wallet_webhooks. ` + codec.Setting + ` encrypts secrets, as it does payloads.`,
	}
	cmd.AddCommand(a.webhookAddCommand(), a.webhookChangeCommand(), a.webhookListCommand(), a.webhookShowCommand(),
		a.webhookPauseCommand(), a.webhookResumeCommand(), a.webhookRotateCommand(), a.webhookRemoveCommand(),
		a.webhookParkedCommand(), a.webhookRedeliverCommand(), a.webhookRunCommand())
	return cmd
}

// guardFlag is where webhooks may go besides the Internet.
type guardFlag struct{ networks string }

func (f *guardFlag) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.networks, "allow-networks", os.Getenv(allowNetworksSetting), "networks that webhooks may be sent to besides the Internet, also without TLS, such as 10.1.0.0/16 ("+allowNetworksSetting+")")
}

func (f *guardFlag) guard() (*webhooks.Guard, error) {
	g, err := webhooks.ParseGuard(f.networks)
	if err != nil {
		return nil, cli.Usagef("--allow-networks or %s: %w", allowNetworksSetting, err)
	}
	return g, nil
}

// withWebhooks opens the store to write.
func (a *app) withWebhooks(cmd *cobra.Command, guard guardFlag, do func(*pgxpool.Pool, *webhooks.Store) error) error {
	g, err := guard.guard()
	if err != nil {
		return err
	}
	keys, err := codec.FromEnv()
	if err != nil {
		return err
	}
	return a.asOwner(withWriterPool(cmd.Context(), a.owner, func(pool *pgxpool.Pool) error {
		return do(pool, webhooks.NewStore(pool, g, keys))
	}))
}

// settingsFlags are what an endpoint is made of, but for its URL.
type settingsFlags struct {
	guardFlag
	description string
	webhooks.Filter
}

func (f *settingsFlags) addTo(cmd *cobra.Command) {
	f.guardFlag.addTo(cmd)
	cmd.Flags().StringVar(&f.description, "description", "", "what it is for")
	cmd.Flags().StringArrayVar(&f.Users, "user", nil, "send only events of this user's wallets; may be repeated")
	cmd.Flags().StringArrayVar(&f.Currencies, "currency", nil, "send only events of this currency; may be repeated")
	cmd.Flags().StringArrayVar(&f.Events, "event", nil, "send only events of this type, such as wallet_asset.added; may be repeated")
}

// newEndpoint is what the commands print that make a secret.
type newEndpoint struct {
	ID     string `json:"endpoint_id"`
	Secret string `json:"secret"`
}

func (a *app) printSecret(cmd *cobra.Command, n newEndpoint) error {
	return a.printDone(cmd, n, fmt.Sprintf("endpoint %s\nsecret   %s (it is not shown again)", n.ID, n.Secret))
}

func (a *app) webhookAddCommand() *cobra.Command {
	var f settingsFlags
	var actor string
	cmd := &cobra.Command{
		Use: "add URL", Short: "Send the events from now on to a URL", Args: cobra.ExactArgs(1),
		Long: `Send the events from now on to a URL. The secret, by which the receiver knows
who sends, is shown only now.

The URL must be https and lead to the Internet, unless --allow-networks says
otherwise here and to "wallet webhook run".`,
		Example: "  wallet webhook add https://example.com/webhooks --event wallet_asset.subtracted",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWebhooks(cmd, f.guardFlag, func(_ *pgxpool.Pool, store *webhooks.Store) error {
				id, secret, err := store.Add(cmd.Context(), webhooks.Settings{URL: args[0], Description: f.description, Filter: f.Filter}, actor)
				if err != nil {
					return err
				}
				return a.printSecret(cmd, newEndpoint{id, secret})
			})
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&actor, "actor", "", "who adds it; the role of the database by default")
	return cmd
}

func (a *app) webhookChangeCommand() *cobra.Command {
	var f settingsFlags
	var url string
	cmd := &cobra.Command{
		Use: "change ENDPOINT", Short: "Change an endpoint's URL, description or filters", Args: cobra.ExactArgs(1),
		Long: `Change an endpoint's URL, description or filters. What is not given stays; a
filter that is given replaces the previous one, and --user, --currency or
--event with "*" ends it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWebhooks(cmd, f.guardFlag, func(pool *pgxpool.Pool, store *webhooks.Store) error {
				found, err := webhooks.List(cmd.Context(), pool, args[0])
				if err != nil {
					return err
				}
				o := webhooks.Settings{URL: found[0].URL, Description: found[0].Description, Filter: found[0].Filter}
				changed := cmd.Flags().Changed
				if changed("url") {
					o.URL = url
				}
				if changed("description") {
					o.Description = f.description
				}
				for flag, to := range map[string]struct{ list, with *[]string }{
					"user": {&o.Users, &f.Users}, "currency": {&o.Currencies, &f.Currencies}, "event": {&o.Events, &f.Events},
				} {
					if changed(flag) {
						*to.list = withoutStar(*to.with)
					}
				}
				if err := store.Change(cmd.Context(), args[0], o); err != nil {
					return err
				}
				return a.printEndpointDone(cmd, args[0], "is changed")
			})
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&url, "url", "", "where to send to")
	return cmd
}

func withoutStar(list []string) []string {
	if len(list) == 1 && list[0] == "*" {
		return nil
	}
	return list
}

func (a *app) printEndpointDone(cmd *cobra.Command, id, what string) error {
	return a.printDone(cmd, struct {
		ID string `json:"endpoint_id"`
	}{id}, fmt.Sprintf("endpoint %s %s", id, what))
}

func (a *app) webhookListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the endpoints, and how far they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listEndpoints(cmd, "") },
	}
}

func (a *app) webhookShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ENDPOINT", Short: "Show one endpoint", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.listEndpoints(cmd, args[0]) },
	}
}

func (a *app) listEndpoints(cmd *cobra.Command, id string) error {
	return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
		list, err := webhooks.List(cmd.Context(), pool, id)
		if err != nil {
			return err
		}
		return printList(a, cmd, list, "there is no endpoint",
			table.Row{"endpoint", "url", "only", "state", "delivered", "waiting", "since", "parked", "last error"}, func(e webhooks.Endpoint) table.Row {
				state, since := string(e.State), ""
				if e.State == webhooks.Active && !e.RetryAt.IsZero() {
					state = "down"
				}
				if !e.WaitingFrom.IsZero() {
					since = when(e.WaitingFrom)
				}
				return table.Row{e.ID, cli.Plain(e.URL), cli.Plain(strings.Join(append(append(append([]string{}, e.Users...), e.Currencies...), e.Events...), " ")),
					state, e.Delivered, e.Waiting, since, e.Parked, cli.Plain(e.LastError)}
			})
	})
}

// endpointCommand does something to one endpoint.
func (a *app) endpointCommand(use, short, long, done string, do func(*webhooks.Store, *cobra.Command, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " ENDPOINT", Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWebhooks(cmd, guardFlag{}, func(_ *pgxpool.Pool, store *webhooks.Store) error {
				if err := do(store, cmd, args[0]); err != nil {
					return err
				}
				return a.printEndpointDone(cmd, args[0], done)
			})
		},
	}
}

func (a *app) webhookPauseCommand() *cobra.Command {
	return a.endpointCommand("pause", "Send nothing to an endpoint until \"resume\"",
		"Send nothing to an endpoint until \"resume\", but for what is being sent now.\nWhat happens meanwhile waits.", "is paused",
		func(s *webhooks.Store, cmd *cobra.Command, id string) error { return s.Pause(cmd.Context(), id) })
}

func (a *app) webhookResumeCommand() *cobra.Command {
	return a.endpointCommand("resume", "Send to an endpoint again, now",
		"Send to an endpoint again that was paused or parked, or that is down, and try\nat once what waits.", "is active",
		func(s *webhooks.Store, cmd *cobra.Command, id string) error { return s.Resume(cmd.Context(), id) })
}

func (a *app) webhookRemoveCommand() *cobra.Command {
	return a.endpointCommand("remove", "Forget an endpoint, and what it is still to be sent", "", "is removed",
		func(s *webhooks.Store, cmd *cobra.Command, id string) error { return s.Remove(cmd.Context(), id) })
}

func (a *app) webhookRotateCommand() *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate ENDPOINT", Short: "Make a new secret for an endpoint", Args: cobra.ExactArgs(1),
		Long: `Make a new secret for an endpoint, which is shown only now. For the time of
--overlap, events are signed with the last secret too. If that has leaked, use
--overlap 0.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWebhooks(cmd, guardFlag{}, func(_ *pgxpool.Pool, store *webhooks.Store) error {
				secret, err := store.Rotate(cmd.Context(), args[0], overlap)
				if err != nil {
					return err
				}
				return a.printSecret(cmd, newEndpoint{args[0], secret})
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", webhooks.DefaultOverlap, "how long the last secret stays valid")
	return cmd
}

func (a *app) webhookParkedCommand() *cobra.Command {
	return &cobra.Command{
		Use: "parked [ENDPOINT]", Short: "List the events that are parked, or that hold up their wallet", Args: cobra.MaximumNArgs(1),
		Long: fmt.Sprintf(`List the events that are parked, and those that failed and that are tried again
while the later events of their wallet wait; at most %d.`, webhooks.MaxListed),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				list, err := webhooks.ListEvents(cmd.Context(), pool, first(args))
				if err != nil {
					return err
				}
				return printList(a, cmd, list, "no event is parked or waits", table.Row{"endpoint", "event", "state", "failures", "since", "last error"}, func(e webhooks.Event) table.Row {
					state := "waiting"
					if e.Parked {
						state = "parked"
					}
					return table.Row{e.EndpointID, cli.Plain(e.EventID), state, e.Failures, when(e.Since), cli.Plain(e.LastError)}
				})
			})
		},
	}
}

func (a *app) webhookRedeliverCommand() *cobra.Command {
	var r webhooks.Redelivery
	var since, until timeFlag
	cmd := &cobra.Command{
		Use: "redeliver ENDPOINT [EVENT]", Short: "Send one event again, a range, or all parked ones", Args: cobra.RangeArgs(1, 2),
		Long: `Send one event again, all parked ones, or all of a range of time that pass the
endpoint's filters. They come with the same webhook-id, and beside the
newer events of their wallets. An event that holds up its wallet is tried now.`,
		Example: `  wallet webhook redeliver ENDPOINT USD/u1/17-9f86d081884c7d65
  wallet webhook redeliver ENDPOINT --parked
  wallet webhook redeliver ENDPOINT --since 2026-01-31T18:00:00Z --user u1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.EventID, r.Since, r.Until = first(args[1:]), since.Time, until.Time
			switch r.Check() {
			case webhooks.ErrWhichEvents:
				return cli.Usagef("say which events: one by its id, --parked, or --since")
			case webhooks.ErrNoSince:
				return cli.Usagef("--until, --user and --currency are of a range: use --since too")
			}
			return a.withWebhooks(cmd, guardFlag{}, func(_ *pgxpool.Pool, store *webhooks.Store) error {
				n, err := store.Redeliver(cmd.Context(), args[0], r)
				if err != nil {
					return err
				}
				return a.printDone(cmd, struct {
					ID     string `json:"endpoint_id"`
					Events int64  `json:"events"`
				}{args[0], n}, fmt.Sprintf("events to send to endpoint %s again: %d", args[0], n))
			})
		},
	}
	cmd.Flags().BoolVar(&r.Parked, "parked", false, "all parked events")
	cmd.Flags().Var(&since, "since", "all events from this time on: RFC 3339, or a date for its midnight UTC")
	cmd.Flags().Var(&until, "until", "and before this time; now by default")
	cmd.Flags().StringVar(&r.UserID, "user", "", "and of this user")
	cmd.Flags().StringVar(&r.Currency, "currency", "", "and of this currency")
	return cmd
}
