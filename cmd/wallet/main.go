// Command wallet runs the service and talks to it.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
)

func main() {
	root := newRootCommand()
	err := cli.Execute(root)
	if err != nil {
		printError(root.Name(), asksForJSON(os.Args[1:]), err)
	}
	os.Exit(exitOf(err).code)
}

// writesCSV annotates a command that takes --output csv.
const writesCSV = "csv"

// app is what the commands share: flags that all have.
type app struct {
	output    string // table or json; csv where writesCSV allows it
	database  service.Database
	read      service.Database // where reads of the journal go; the database, unless it is set
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

Exit codes: 0 done, 1 failed, 2 refused, 3 invalid, 4 no answer yet
("wallet help exit-codes").

Temporal is found by Temporal's own variables and profile file
(TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_...,
TEMPORAL_PROFILE), Postgres by WALLET_DATABASE_URL. After "wallet-dev run",
". .wallet/env" sets them.`,
		Version:       thisBuild().String(),
		SilenceUsage:  true,
		SilenceErrors: true, // printed once, by main
	}
	root.SetVersionTemplate("{{.Version}}\n")
	flags := root.PersistentFlags()
	cli.AddOutputFlag(root, &a.output, "table for people, json for machines (wallet statement, totals: csv too)", "table", "json", "csv")
	cli.AddTaskQueueFlag(root, &a.taskQueue)
	cli.AddLogFlags(root, &a.logLevel, &a.logFormat, "info")
	flags.StringVar(&a.database.URL, "database-url", os.Getenv("WALLET_DATABASE_URL"), "Postgres connection string (WALLET_DATABASE_URL)")
	flags.StringVar(&a.read.URL, "read-database-url", os.Getenv("WALLET_READ_DATABASE_URL"), "a standby of it, for reads of the journal; else the database-url (WALLET_READ_DATABASE_URL)")
	flags.StringVar(&a.owner.URL, "owner-database-url", os.Getenv("WALLET_OWNER_DATABASE_URL"), "the same database as the owner of the tables, for migrate and currency add; else the database-url (WALLET_OWNER_DATABASE_URL)")
	for _, name := range []string{"database-url", "read-database-url", "owner-database-url"} {
		flags.Lookup(name).DefValue = "" // it may hold a password: not for the help text
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		a.nameDatabases(cmd.Flags().Changed)
		formats := []string{"table", "json"}
		if _, ok := cmd.Annotations[writesCSV]; ok {
			formats = append(formats, "csv")
		}
		return errors.Join(refuseEmpty(cmd), cli.CheckOutput(cmd, a.output, formats...), cli.CheckLog(a.logLevel, a.logFormat))
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages", fmt.Sprintf("FlagUsagesWrapped %d", helpColumns)))
	addGroup(root, "Move value:", append(a.changeCommands(), a.transferCommand(), a.transactionCommand(), a.runCommand(), a.scheduleCommand())...)
	addGroup(root, "Look:", a.balanceCommand(), a.holdsCommand(), a.grantsCommand(), a.statementCommand(), a.eventsCommand(), a.commandsCommand(), a.findCommand(), a.totalsCommand())
	addGroup(root, "Prove:", a.verifyCommand(), a.receiptCommand(), a.headCommand())
	addGroup(root, "Operate:", a.workerCommand(), a.serveCommand(), a.tokenCommand(), a.readyCommand(), a.doctorCommand(), a.feedCommand(), a.webhookCommand(), a.migrateCommand(), a.setupCommand(), a.currencyCommand(),
		a.repairCommand(), a.salvageCommand(), a.replayCommand(), a.codecServerCommand(), a.versionCommand())
	root.SetHelpCommandGroupID("Operate:")
	root.SetCompletionCommandGroupID("Operate:")
	root.AddCommand(exitCodesTopic())
	root.SetFlagErrorFunc(negativeAmount)
	a.completeValues(root)
	return root
}

// helpColumns is how wide the help of flags may be.
const helpColumns = 80

// addGroup adds commands under a heading of the help text.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

// negativeAmount says of "-5" that it is no amount, where cobra takes it for a flag.
func negativeAmount(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || !strings.Contains(cmd.Use, "AMOUNT") {
		return err
	}
	if text := unknown.GetSpecifiedShortnames(); text != "" && strings.Trim(text, "0123456789.,") == "" {
		_, err = wallet.ParseAmount("-" + text)
	}
	return err
}

// mayBeEmpty are flags whose empty value is as good as none.
var mayBeEmpty = []string{"description", "actor"}

// refuseEmpty refuses a flag without a value, such as --id "$ORDER" where the variable is not
// set: an id would be invented, a hold captured in full, a filter left out.
func refuseEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if flag.Value.Type() == "string" && flag.Value.String() == "" && !slices.Contains(mayBeEmpty, flag.Name) {
			err = errors.Join(err, fmt.Errorf("--%s is empty: give it a value, or leave it out", flag.Name))
		}
	})
	return err
}

// nameDatabases settles where the databases' URLs come from. One that was given on the
// command line counts more than any of the environment.
func (a *app) nameDatabases(given func(flag string) bool) {
	a.database.Setting, a.read.Setting, a.owner.Setting = "WALLET_DATABASE_URL", "WALLET_READ_DATABASE_URL", "WALLET_OWNER_DATABASE_URL"
	if given("database-url") {
		a.database.Setting = "--database-url"
	}
	if given("read-database-url") {
		a.read.Setting = "--read-database-url"
	}
	if given("owner-database-url") {
		a.owner.Setting = "--owner-database-url"
	}
	if a.read.URL == "" || given("database-url") && !given("read-database-url") {
		a.read = a.database
	}
	if a.owner.URL == "" || given("database-url") && !given("owner-database-url") {
		a.owner = a.database
	}
}
