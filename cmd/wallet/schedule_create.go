package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	schedulepb "go.temporal.io/api/schedule/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/schedules"
)

// scheduledTimes are the flags that say when.
type scheduledTimes struct {
	cron, calendar, timezone string
	every, offset            time.Duration
}

// scheduledTypes are those that a schedule sends, each with the help of the flag that names it
// and has its amount.
var scheduledTypes = []struct {
	commandType wallet.CommandType
	help        string
}{
	{wallet.TypeAdd, "amount to add at each time"},
	{wallet.TypeSubtract, "amount to subtract at each time, if that much is available; else that time is refused, for good"},
	{wallet.TypeHold, "amount to reserve at each time, in a hold of its own, or to raise that of --hold-id by"},
	{wallet.TypeCapture, "amount to take from the hold of --hold-id at each time, as long as that much is left; the rest stays reserved"},
	{wallet.TypeRelease, "amount of the hold of --hold-id to give back at each time"},
}

func (a *app) scheduleCreateCommand() *cobra.Command {
	var (
		in       wallet.ApplyCommandInput
		times    scheduledTimes
		metadata func() map[string]string
	)
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Send a command at each time of a cron, an interval or a calendar", Args: cobra.ExactArgs(1),
		Example: `  wallet schedule create monthly-credit --user u1 --currency USD --add 10.00 --cron "0 0 1 * *" --timezone Europe/Berlin
  wallet schedule create points --user u1 --currency POINTS --add 5 --every 24h --offset 6h
  wallet schedule create instalment --user u1 --currency USD --capture 50 --hold-id deposit-7 --cron "0 0 1 * *"
  wallet schedule create fee --user u1 --currency USD --subtract 2.50 --calendar '{"dayOfWeek":"FRI","hour":"17","minute":"30"}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, of := range scheduledTypes {
				if flag := cmd.Flags().Lookup(string(of.commandType)); flag.Changed {
					amount, err := wallet.ParseAmount(flag.Value.String())
					if err != nil {
						return err
					}
					in.Command.Type, in.Command.Amount = of.commandType, amount
				}
			}
			in.Command.Metadata = metadata()
			in.Command.Partial = in.Command.Type == wallet.TypeCapture // or the second time would find it closed
			spec, err := times.spec()
			if err != nil {
				return err
			}
			if err := schedules.Check(args[0], in, spec); err != nil {
				return cli.Usagef("%w", err)
			}
			if err := a.checkScheduled(cmd, in); err != nil {
				return err
			}
			return a.withSchedules(cmd.Context(), func(c schedules.Client) error {
				if err := c.Create(cmd.Context(), args[0], in, spec, times.String()); err != nil {
					return err
				}
				entry, err := c.Get(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printSchedules(cmd, []schedules.Entry{entry})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in.UserID, "user", "", "whose wallet")
	flags.StringVar(&in.Currency, "currency", "", "in which currency")
	var types []string
	for _, of := range scheduledTypes {
		flags.String(string(of.commandType), "", of.help)
		types = append(types, string(of.commandType))
	}
	flags.StringVar(&in.Command.HoldID, "hold-id", "", "id of the hold: of the command that placed it")
	flags.StringVar(&in.Command.ExpiresIn, "expires-in", "", "with --hold or --add: how long it lasts, such as 90s, 15m, 24h or 7d")
	flags.BoolVar(&in.ExpiresAtNext, "expires-at-next", false, "with --hold or --add: until the schedule's next time, so that a month's credits end as those of the next come")
	flags.Var((*priorityFlag)(&in.Command.Priority), "priority", "with --add: 1 is used up first, 100 last")
	flags.StringVar(&times.cron, "cron", "", "minute, hour, day of month, month, day of week, such as \"0 0 1 * *\"")
	flags.DurationVar(&times.every, "every", 0, "interval, counted from 1970-01-01T00:00:00Z, such as 24h")
	flags.DurationVar(&times.offset, "offset", 0, "how much later than the interval's multiples")
	flags.StringVar(&times.calendar, "calendar", "", `JSON as "temporal schedule create" takes it: second, minute, hour, dayOfMonth, month, year, dayOfWeek, such as {"dayOfMonth":"1","hour":"9"}`)
	flags.StringVar(&times.timezone, "timezone", "", "of the cron and the calendar, such as Europe/Berlin (UTC without this flag)")
	flags.StringVar(&in.Command.Description, "description", "", "what it is for, at most 256 characters")
	flags.StringVar(&in.Command.Actor, "actor", "", "who asks for it")
	metadata = addMetadata(flags)
	for _, name := range []string{"user", "currency"} {
		cobra.CheckErr(cmd.MarkFlagRequired(name))
	}
	for _, group := range [][]string{types, {"cron", "every", "calendar"}} {
		cmd.MarkFlagsOneRequired(group...)
		cmd.MarkFlagsMutuallyExclusive(group...)
	}
	return cmd
}

// checkScheduled refuses what would be refused at each of the schedule's times.
func (a *app) checkScheduled(cmd *cobra.Command, in wallet.ApplyCommandInput) error {
	if err := wallet.ValidateWallet(in.UserID, in.Currency); err != nil {
		return err
	}
	if a.database.URL == "" {
		a.note(cmd, "not checked whether the currency is registered and has the amount's decimals: set WALLET_DATABASE_URL for that")
		return nil
	}
	var scale int32
	err := a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
		return pool.QueryRow(cmd.Context(), sqlGetCurrency, in.Currency).Scan(&scale)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return wallet.UnknownCurrency(in.Currency)
	}
	if err != nil {
		return fmt.Errorf("look up currency %s: %w", in.Currency, err)
	}
	if _, fits := in.Command.Amount.AtScale(scale); !fits {
		return cli.Usagef("amount %s has more decimals than %s allows (%d): each time of the schedule would be refused, choose a rounded amount", in.Command.Amount, in.Currency, scale)
	}
	return nil
}

func (t scheduledTimes) spec() (spec client.ScheduleSpec, err error) {
	spec.TimeZoneName = t.timezone
	switch {
	case t.cron != "":
		spec.CronExpressions = []string{t.cron}
	case t.calendar != "":
		cron, err := cronOf(t.calendar)
		if err != nil {
			return spec, err
		}
		spec.CronExpressions = []string{cron}
	default:
		if t.every < time.Second || t.every%time.Second != 0 || t.offset%time.Second != 0 || t.offset < 0 || t.offset >= t.every {
			return spec, cli.Usagef("--every %s --offset %s: use whole seconds, an interval of 1s at least, and an offset below it", t.every, t.offset)
		}
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: t.every, Offset: t.offset}}
	}
	return spec, nil
}

// cronOf writes a calendar as the server's cron of seven fields, which is the same.
func cronOf(calendar string) (string, error) {
	var c schedulepb.CalendarSpec
	if err := protojson.Unmarshal([]byte(calendar), &c); err != nil {
		return "", cli.Usagef("--calendar %q: %w", calendar, err)
	}
	var fields []string
	for _, field := range []struct{ value, otherwise string }{
		{c.Second, "0"}, {c.Minute, "0"}, {c.Hour, "0"}, {c.DayOfMonth, "*"}, {c.Month, "*"}, {c.DayOfWeek, "*"}, {c.Year, "*"},
	} {
		value := field.value
		if value == "" {
			value = field.otherwise
		}
		if len(strings.Fields(value)) != 1 {
			return "", cli.Usagef("--calendar %q: %q is not a value, a list or a range without spaces", calendar, value)
		}
		fields = append(fields, value)
	}
	return strings.Join(fields, " "), nil
}

// String is what was asked for, to create the schedule again.
func (t scheduledTimes) String() string {
	when := "cron " + t.cron
	switch {
	case t.every != 0:
		when = "every " + t.every.String()
		if t.offset != 0 {
			when += " offset " + t.offset.String()
		}
	case t.calendar != "":
		when = "calendar " + t.calendar
	}
	if t.timezone != "" {
		when += " " + t.timezone
	}
	return when
}
