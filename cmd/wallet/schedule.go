package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/schedules"
	"github.com/valueledger/wallet/starter"
)

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "schedule", Short: "Recurring commands, on Temporal Schedules",
		Long: `Recurring commands, on Temporal Schedules that start ApplyCommand.

The command of each scheduled time has the id schedule/NAME/TIME. So a time is
paid once, whatever starts its run: the schedule, a catch-up after an outage, a
backfill, "wallet schedule run", or the Web UI's Trigger button.`,
	}
	cmd.AddCommand(
		a.scheduleCreateCommand(), a.scheduleListCommand(), a.scheduleRunCommand(),
		a.scheduleChangeCommand("pause", "Stop a schedule; times that pass meanwhile are not made up for", "paused", schedules.Client.Pause),
		a.scheduleChangeCommand("resume", "Let a paused schedule go on with its next time", "goes on", schedules.Client.Resume),
		a.scheduleChangeCommand("delete", "Delete a schedule; runs that have started go on", "deleted", schedules.Client.Delete),
	)
	return cmd
}

// withSchedules connects for the time of do.
func (a *app) withSchedules(ctx context.Context, do func(schedules.Client) error) error {
	logger, err := service.NewLogger("error", a.logFormat)
	if err != nil {
		return err
	}
	c := schedules.Client{TaskQueue: a.taskQueue, Converter: converter.GetDefaultDataConverter()}
	c.Temporal, c.Namespace, err = service.DialTemporal(ctx, logger, func(o *client.Options) {
		if o.DataConverter != nil {
			c.Converter = o.DataConverter
		}
	})
	if err != nil {
		return err
	}
	defer c.Temporal.Close()
	return do(c)
}

func (a *app) scheduleListCommand() *cobra.Command {
	user := ""
	cmd := &cobra.Command{
		Use: "list", Short: "List the schedules that send commands", Args: cobra.NoArgs,
		Long: `List the schedules that send commands. Below the table, for the next 12 months:
the dates on which a time does not exist or exists twice, because the clock
changes, and what happens then.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSchedules(cmd.Context(), func(c schedules.Client) error {
				entries, err := c.List(cmd.Context(), user)
				if err != nil {
					return err
				}
				return a.printSchedules(cmd, entries)
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "only those of this user")
	return cmd
}

func (a *app) scheduleChangeCommand(name, short, done string, change func(schedules.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSchedules(cmd.Context(), func(c schedules.Client) error {
				if err := change(c, cmd.Context(), args[0]); err != nil {
					return err
				}
				if a.output == "json" {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"schedule": args[0], "action": name})
				}
				fmt.Fprintf(cmd.OutOrStdout(), "schedule %s %s\n", cli.Plain(args[0]), done)
				return nil
			})
		},
	}
}

func (a *app) scheduleRunCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Send now the command of the last scheduled time, unless sent", Args: cobra.ExactArgs(1),
		Long: `Send now the command of the last scheduled time, also one from before the
schedule was made, and print its result. A time that was paid is not paid again:
the result is the first one, "answered before". The next scheduled time is paid
at its time.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return unsent(a.withSchedules(cmd.Context(), func(c schedules.Client) error {
				due, err := c.Due(cmd.Context(), args[0], time.Now())
				if err != nil {
					return err
				}
				wallets, err := starter.New(c.Temporal, starter.Options{TaskQueue: a.taskQueue})
				if err != nil {
					return err
				}
				return a.apply(cmd, wallets, timeout, due)
			}))
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	return cmd
}

func (a *app) printSchedules(cmd *cobra.Command, entries []schedules.Entry) error {
	err := printList(a, cmd, entries, "no schedule sends commands; a new one is listed after a moment", table.Row{"schedule", "user", "currency", "type", "amount", "when", "next"}, func(e schedules.Entry) table.Row {
		next := "paused"
		switch {
		case !e.Next.IsZero():
			next = e.Next.UTC().Format("2006-01-02 15:04:05Z")
		case !e.Paused:
			next = ""
		}
		return table.Row{cli.Plain(e.Name), cli.Plain(e.UserID), e.Currency, e.Type, cli.Amount(e.Amount), cli.Plain(e.Times), next}
	})
	if err != nil || a.output == "json" { // which has them
		return err
	}
	for _, e := range entries {
		for _, change := range e.ClockChanges {
			fmt.Fprintf(cmd.OutOrStdout(), "%s, %s\n", cli.Plain(e.Name), cli.Plain(change.String()))
		}
		if e.ClockUnknown != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "%s, changes of the clock: %s\n", cli.Plain(e.Name), cli.Plain(e.ClockUnknown))
		}
	}
	return nil
}
