// Command wallet runs the service and talks to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/telemetry"
)

// Exit codes.
const (
	exitApplied   = 0
	exitError     = 1
	exitUnapplied = 2
)

// tracesPatience is how long the end of a command waits for its traces to be sent.
const tracesPatience = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	code := exitCode(err)
	if code == exitError { // a refusal is a result, printed as one
		fmt.Fprintln(os.Stderr, "wallet:", err)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", refused.Hint)
		}
	}
	os.Exit(code)
}

// run runs the command that the arguments name, and sends its traces if it makes any.
func run(ctx context.Context) error {
	stopTraces, err := telemetry.StartTraces(ctx)
	if err != nil {
		return err
	}
	err = newRootCommand().ExecuteContext(ctx)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesPatience)
	defer cancel()
	if unsent := stopTraces(flush); unsent != nil { // no reason to call the command failed
		fmt.Fprintln(os.Stderr, "wallet: traces were not sent:", unsent)
	}
	return err
}

func exitCode(err error) int {
	var unapplied *wallet.UnappliedError
	switch {
	case err == nil:
		return exitApplied
	case errors.As(err, &unapplied):
		return exitUnapplied
	default:
		return exitError
	}
}

// writesCSV annotates a command that takes --output csv.
const writesCSV = "csv"

// app is what the commands share: flags that all have.
type app struct {
	output    string // table or json; csv where writesCSV allows it
	database  service.Database
	owner     service.Database // of the tables; only "migrate" and "currency add" need it
	taskQueue string
	logLevel  string
	logFormat string
}

func newRootCommand() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "wallet",
		Short: "An internal balance and asset ledger on Temporal and Postgres",
		Long: `An internal balance and asset ledger on Temporal and Postgres.

Exit codes: 0 applied or done, 2 unapplied (refused, on the record), 1 error.

Temporal is found by Temporal's own variables and profile file (TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., TEMPORAL_PROFILE), Postgres
by WALLET_DATABASE_URL. After "wallet-dev run", ". .wallet/env" sets them.`,
		Version:       thisBuild().String(),
		SilenceUsage:  true,
		SilenceErrors: true, // printed once, by main
	}
	root.SetVersionTemplate("{{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "table for people, json for machines (wallet statement: csv too)")
	flags.StringVar(&a.database.URL, "database-url", os.Getenv("WALLET_DATABASE_URL"), "Postgres connection string (WALLET_DATABASE_URL)")
	flags.StringVar(&a.owner.URL, "owner-database-url", os.Getenv("WALLET_OWNER_DATABASE_URL"), "the same database as the owner of the tables, for migrate and currency add; else the database-url (WALLET_OWNER_DATABASE_URL)")
	flags.StringVar(&a.taskQueue, "task-queue", envOr("WALLET_TASK_QUEUE", wallet.DefaultTaskQueue), "task queue of the workers (WALLET_TASK_QUEUE)")
	flags.StringVar(&a.logLevel, "log-level", envOr("WALLET_LOG_LEVEL", "info"), "debug, info, warn or error (WALLET_LOG_LEVEL)")
	flags.StringVar(&a.logFormat, "log-format", envOr("WALLET_LOG_FORMAT", "console"), "console or json (WALLET_LOG_FORMAT)")
	for _, name := range []string{"database-url", "owner-database-url"} {
		flags.Lookup(name).DefValue = "" // it may hold a password: not for the help text
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		a.nameDatabases(cmd.Flags().Changed)
		_, csv := cmd.Annotations[writesCSV]
		switch {
		case a.output == "table", a.output == "json", a.output == "csv" && csv:
			return nil
		case csv:
			return fmt.Errorf("--output %q is unknown: use table, json or csv", a.output)
		default:
			return fmt.Errorf("--output %q is unknown to %q: use table or json", a.output, cmd.CommandPath())
		}
	}
	root.AddCommand(
		a.devCommand(), a.workerCommand(), a.readyCommand(), a.migrateCommand(), a.setupCommand(),
		a.changeCommand(wallet.TypeCreate), a.changeCommand(wallet.TypeAdd), a.changeCommand(wallet.TypeSubtract),
		a.scheduleCommand(),
		a.balanceCommand(), a.statementCommand(), a.eventsCommand(), a.commandsCommand(), a.verifyCommand(), a.receiptCommand(), a.headCommand(), a.repairCommand(), a.replayCommand(), a.currencyCommand(),
		a.benchCommand(), a.tortureCommand(), a.codecServerCommand(), a.versionCommand(),
	)
	a.completeValues(root)
	return root
}

// nameDatabases settles where the databases' URLs come from. One that was given on the
// command line counts more than any of the environment.
func (a *app) nameDatabases(given func(flag string) bool) {
	a.database.Setting, a.owner.Setting = "WALLET_DATABASE_URL", "WALLET_OWNER_DATABASE_URL"
	if given("database-url") {
		a.database.Setting = "--database-url"
	}
	if given("owner-database-url") {
		a.owner.Setting = "--owner-database-url"
	}
	if a.owner.URL == "" || given("database-url") && !given("owner-database-url") {
		a.owner = a.database
	}
}

func envOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
