package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/walletnexus"
)

func (a *app) devCommand() *cobra.Command {
	var options devstack.Options
	once, httpAddress := false, ""
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything on this machine: Postgres, Temporal with its Web UI, the worker, a demonstration",
		Long: `Run everything on this machine: a private Postgres, a Temporal server with its Web
UI, the migrations, the worker, and a short demonstration. All of it listens on
127.0.0.1 only, writes into one folder and stops with Ctrl-C; the next start finds
the data again. Temporal's data of one --temporal-store is not seen by the other;
the wallets are the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd, options, httpAddress, once) },
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Dir, "dir", cli.EnvOr("WALLET_DEV_DIR", ".wallet"), "folder for everything that is written (WALLET_DEV_DIR)")
	flags.StringVar((*string)(&options.TemporalStore), "temporal-store", cli.EnvOr("WALLET_TEMPORAL_STORE", string(devstack.StoreSQLite)), "where Temporal keeps its histories: sqlite (quick to start) or postgres (the server of a deployment) (WALLET_TEMPORAL_STORE)")
	flags.StringVar(&options.TemporalCLI, "temporal-cli", os.Getenv("WALLET_TEMPORAL_CLI"), "the Temporal CLI to use with sqlite (WALLET_TEMPORAL_CLI)")
	flags.IntVar(&options.PostgresPort, "postgres-port", envPort("WALLET_POSTGRES_PORT"), "0 for a free port (WALLET_POSTGRES_PORT)")
	flags.IntVar(&options.TemporalPort, "temporal-port", envPort("WALLET_TEMPORAL_PORT"), "0 for a free port (WALLET_TEMPORAL_PORT)")
	flags.IntVar(&options.UIPort, "ui-port", envPort("WALLET_UI_PORT"), "0 for a free port (WALLET_UI_PORT)")
	flags.StringVar(&httpAddress, "http-address", cli.EnvOr("WALLET_HTTP_ADDRESS", "127.0.0.1:0"), "listen there for metrics and probes, by default on a free port (WALLET_HTTP_ADDRESS)")
	flags.BoolVar(&once, "once", false, "stop after the demonstration")
	return cmd
}

func envPort(name string) int {
	port, err := strconv.Atoi(cli.EnvOr(name, "0"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "wallet: %s=%q is not a port number, a free port is used\n", name, os.Getenv(name))
	}
	return port
}

func (a *app) dev(cmd *cobra.Command, options devstack.Options, httpAddress string, once bool) (err error) {
	ctx := cmd.Context()
	logger, err := service.NewLogger(a.logLevel, a.logFormat)
	if err != nil {
		return err
	}
	keys, err := codec.FromEnv()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
	options.Log = say
	say("starting Postgres and Temporal in %s ...", options.Dir)
	stack, err := devstack.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, stack.Stop())
		say("stopped")
	}()

	if err := stack.Postgres.CreateDatabase(ctx, "wallet"); err != nil {
		return err
	}
	ownerURL := stack.Postgres.URL("wallet")
	if _, err := migrations.Up(ctx, ownerURL); err != nil {
		return err
	}
	password := rand.Text() // for as long as the servers run
	if err := migrations.AllowLogin(ctx, ownerURL, password); err != nil {
		return err
	}
	databaseURL := stack.Postgres.URLOf(migrations.RoleApp, password, "wallet")
	pool, err := service.OpenPool(ctx, service.Database{URL: databaseURL, Setting: "the database of wallet-dev run"})
	if err != nil {
		return err
	}
	defer pool.Close()
	connection := client.Options{HostPort: stack.Temporal.Address(), Logger: service.SDKLogger(logger)}
	service.WorkerConnection(&connection)
	keys.Secure(&connection)
	resourceid.Secure(&connection)
	if err := telemetry.TraceClient(&connection); err != nil {
		return err
	}
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		return err
	}
	metrics.Client(&connection)
	temporal, err := client.DialContext(ctx, connection)
	if err != nil {
		return err
	}
	defer temporal.Close()
	s, err := service.Start(ctx, service.Options{
		Temporal: temporal, Namespace: client.DefaultNamespace, Pool: pool, TaskQueue: a.taskQueue, Logger: logger,
		Metrics: metrics, HTTPAddress: httpAddress,
	})
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := nexushandler.RegisterEndpoint(ctx, temporal, walletnexus.Endpoint, client.DefaultNamespace, a.taskQueue); err != nil {
		return err
	}
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: a.taskQueue})
	if err != nil {
		return err
	}

	envFile := filepath.Join(options.Dir, "env")
	if err := writeEnv(envFile, stack.Temporal, databaseURL, ownerURL, a.taskQueue); err != nil {
		return err
	}
	defer os.Remove(envFile)
	if err := demonstrate(ctx, wallets, cmd); err != nil {
		return err
	}
	if once {
		return nil
	}
	say(`
Temporal Web UI   %s (of a wallet, see the tab "User Metadata")
Temporal          %s, namespace %s, task queue %s
Postgres          127.0.0.1:%d, database wallet
metrics, probes   %s/metrics, /healthz, /readyz
logs              %s, %s

Try in another terminal (Ctrl-C here stops everything):
  . %s
  wallet add u1 USD 12.50 --id order-7 --description "refund"
  wallet balance u1
  wallet events u1 USD
  temporal workflow update execute --workflow-id wallet-asset/USD/%s --name apply --input '{"id":"order-8","type":"subtract","amount":"1.50"}'`,
		stack.Temporal.UI(), stack.Temporal.Address(), client.DefaultNamespace, a.taskQueue, stack.Postgres.Port(), s.URL(),
		filepath.Join(options.Dir, "postgres", "log"), stack.Temporal.LogPath(), quoteShell(envFile), demoUser)
	if err := waitForEnd(ctx, s, stack); err != nil {
		return err
	}
	say("\nstopping ...")
	return nil
}

// waitForEnd returns at Ctrl-C, or with the reason why a part ended by itself.
func waitForEnd(ctx context.Context, s *service.Service, stack *devstack.Stack) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := stack.Wait(ctx)
		ended <- err
		cancel()
	}()
	if err := s.Wait(ctx); err != nil {
		return err
	}
	return <-ended
}

// writeEnv writes what a shell needs to talk to the servers. It holds passwords.
func writeEnv(path string, temporal *devstack.Temporal, databaseURL, ownerURL, taskQueue string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var content strings.Builder
	for _, variable := range [][2]string{
		{"TEMPORAL_ADDRESS", temporal.Address()}, {"TEMPORAL_NAMESPACE", client.DefaultNamespace},
		{"TEMPORAL_HTTP_URL", temporal.HTTP()}, {"TEMPORAL_UI_URL", temporal.UI()},
		{"WALLET_DATABASE_URL", databaseURL}, {"WALLET_OWNER_DATABASE_URL", ownerURL}, {"WALLET_TASK_QUEUE", taskQueue},
	} {
		fmt.Fprintf(&content, "export %s=%s\n", variable[0], quoteShell(variable[1]))
	}
	fmt.Fprintf(&content, "export PATH=%s:\"$PATH\"\n", quoteShell(filepath.Dir(self)))
	return os.WriteFile(path, []byte(content.String()), 0o600)
}

func quoteShell(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const demoUser = "demo"

// demonstrate sends a few commands and prints what became of them. The wallet is
// opened under a fixed id, so a later start shows that the earlier data is there.
func demonstrate(ctx context.Context, wallets *starter.Client, cmd *cobra.Command) error {
	run := time.Now().UTC().Format("0102-150405.000")
	change := func(id, amount, description string) starter.Change {
		c := starter.Change{UserID: demoUser, Currency: "USD", CommandID: id, Description: description}
		if amount != "" {
			c.Amount = wallet.MustAmount(amount)
		}
		return c
	}
	t := cli.NewTable(cmd.OutOrStdout(), cli.ResultHeader)
	for _, step := range []struct {
		send    func(context.Context, starter.Change) (wallet.Result, error)
		change  starter.Change
		refused bool
	}{
		{wallets.Create, change("open", "", "open the wallet"), false},
		{wallets.Add, change("salary-"+run, "100.00", "salary"), false},
		{wallets.Subtract, change("rent-"+run, "60.00", "rent"), false},
		{wallets.Subtract, change("yacht-"+run, "1000000.00", "more than there is"), true},
		{wallets.Add, change("salary-"+run, "100.00", "salary"), false}, // a retry: counts once
	} {
		result, err := step.send(ctx, step.change)
		var unapplied *wallet.UnappliedError
		if err != nil && !errors.As(err, &unapplied) {
			return fmt.Errorf("demonstration: %w", err)
		}
		if refused := unapplied != nil; refused != step.refused {
			return fmt.Errorf("demonstration: command %s was %s", step.change.CommandID, result.Status)
		}
		t.AppendRow(cli.ResultRow(result))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nThe demonstration, user %s, USD:\n", demoUser)
	t.Render()
	return nil
}
