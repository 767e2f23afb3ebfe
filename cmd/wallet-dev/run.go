package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service/cli"
)

func runCommand() *cobra.Command {
	var o localOptions
	cmd := &cobra.Command{
		Use: "run", Short: "Run everything on this machine until Ctrl-C: Postgres, Temporal with its Web UI, the worker, the HTTP API",
		Long: `Run everything on this machine: a private Postgres, a Temporal server with its Web
UI, the migrations, the worker, the HTTP API ("wallet serve") with a token,
"wallet webhook run", and a short demonstration. Everything listens on 127.0.0.1
only, writes into one folder and stops with Ctrl-C; the next start uses the same
data. Each --temporal-store has its own Temporal data; both share the wallets.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLocal(cmd, o, func(l *local) error {
				if err := l.demonstrate(cmd); err != nil {
					return err
				}
				return l.stay(cmd.Context())
			})
		},
	}
	o.addFlags(cmd)
	return cmd
}

func demoCommand() *cobra.Command {
	var o localOptions
	cmd := &cobra.Command{
		Use: "demo", Short: "Like run, but stop after the demonstration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLocal(cmd, o, func(l *local) error { return l.demonstrate(cmd) })
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *localOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.stack.Dir, "dir", cli.EnvOr("WALLET_DEV_DIR", ".wallet"), "folder for all data (WALLET_DEV_DIR)")
	flags.StringVar((*string)(&o.stack.TemporalStore), "temporal-store", cli.EnvOr("WALLET_TEMPORAL_STORE", string(devstack.StoreSQLite)), "where Temporal keeps its histories: sqlite (quick to start) or postgres (the server of a deployment) (WALLET_TEMPORAL_STORE)")
	flags.StringVar(&o.stack.TemporalCLI, "temporal-cli", os.Getenv("WALLET_TEMPORAL_CLI"), "the Temporal CLI to use with sqlite (WALLET_TEMPORAL_CLI)")
	flags.IntVar(&o.stack.PostgresPort, "postgres-port", 0, "0 for a free port ("+portVariables["postgres-port"]+")")
	flags.IntVar(&o.stack.TemporalPort, "temporal-port", 0, "0 for a free port ("+portVariables["temporal-port"]+")")
	flags.IntVar(&o.stack.UIPort, "ui-port", 0, "0 for a free port ("+portVariables["ui-port"]+")")
	flags.IntVar(&o.apiPort, "api-port", 0, "of the HTTP API; 0 for a free port ("+portVariables["api-port"]+")")
	flags.StringVar(&o.httpAddress, "http-address", cli.EnvOr("WALLET_HTTP_ADDRESS", "127.0.0.1:0"), "address for the worker's metrics and probes, by default a free port (WALLET_HTTP_ADDRESS)")
	cli.AddTaskQueueFlag(cmd, &o.taskQueue)
	cli.AddLogFlags(cmd, &o.logLevel, &o.logFormat, "warn") // the results stand by themselves
	cmd.PreRunE = readPortVariables
}

// portVariables set the ports whose flags are not given.
var portVariables = map[string]string{
	"postgres-port": "WALLET_POSTGRES_PORT",
	"temporal-port": "WALLET_TEMPORAL_PORT",
	"ui-port":       "WALLET_UI_PORT",
	"api-port":      "WALLET_API_PORT",
}

func readPortVariables(cmd *cobra.Command, _ []string) error {
	for flag, variable := range portVariables {
		value := os.Getenv(variable)
		if value == "" || cmd.Flags().Changed(flag) {
			continue
		}
		if err := cmd.Flags().Set(flag, value); err != nil {
			return cli.Usagef("%s=%q is not a port number: set it to one, or to 0 for a free port", variable, value)
		}
		if port, _ := cmd.Flags().GetInt(flag); port < 0 || port > math.MaxUint16 {
			return cli.Usagef("%s=%q is not a port number: set it to one, or to 0 for a free port", variable, value)
		}
	}
	return nil
}

// stay tells the user how to reach what is running, and returns at Ctrl-C, or with the reason
// why a part stopped.
func (l *local) stay(ctx context.Context) error {
	envFile := filepath.Join(l.options.stack.Dir, "env")
	if err := l.writeEnv(envFile); err != nil {
		return err
	}
	defer os.Remove(envFile)
	temporal := l.stack.Temporal
	logs := []string{filepath.Join(l.options.stack.Dir, "postgres", "log"), temporal.LogPath()}
	for _, process := range l.processes {
		logs = append(logs, process.log)
	}
	l.say(`
Temporal Web UI   %s (of a wallet, see the tab "User Metadata")
Temporal          %s, namespace %s, task queue %s
Postgres          127.0.0.1:%d, database %s
HTTP API          %s (docs/http.md)
webhooks          sent to the Internet, and to receivers on this machine
metrics, probes   /metrics, /healthz, /readyz of the worker at %s, the API at %s, the webhooks at %s
logs              %s

Try in another terminal (Ctrl-C here stops everything):
  curl -s %s/v1/wallets/u1/USD/commands -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"id":"top-up-6","type":"add","amount":"50.00"}'
  . %s
  wallet add u1 USD 12.50 --id top-up-7 --description "refund"
  wallet balance u1
  wallet events u1 USD
  temporal workflow update execute --workflow-id wallet-asset/USD/%s --name apply --input '{"id":"order-8","type":"subtract","amount":"1.50"}'`,
		temporal.UI(), temporal.Address(), client.DefaultNamespace, l.options.taskQueue, l.stack.Postgres.Port(), database,
		l.apiURL, l.service.URL(), l.processes[0].probes, l.processes[1].probes, strings.Join(logs, ", "),
		l.apiURL, l.token, quoteShell(envFile), demoUser)
	if err := l.waitForEnd(ctx); err != nil {
		return err
	}
	l.say("\nstopping ...")
	return nil
}

func (l *local) waitForEnd(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waits := []func(context.Context) error{l.service.Wait, l.stack.Wait}
	for _, process := range l.processes {
		waits = append(waits, func(ctx context.Context) error { return devstack.WaitAll(ctx, process.Process) })
	}
	ended := make(chan error, len(waits))
	for _, wait := range waits {
		go func() { ended <- wait(ctx) }()
	}
	return <-ended
}

// writeEnv writes what a shell needs to talk to the servers. It holds passwords.
func (l *local) writeEnv(path string) error {
	temporal := l.stack.Temporal
	var content strings.Builder
	for _, variable := range [][2]string{
		{"TEMPORAL_ADDRESS", temporal.Address()}, {"TEMPORAL_NAMESPACE", client.DefaultNamespace},
		{"TEMPORAL_HTTP_URL", temporal.HTTP()}, {"TEMPORAL_UI_URL", temporal.UI()},
		{"WALLET_DATABASE_URL", l.databaseURL}, {"WALLET_OWNER_DATABASE_URL", l.ownerURL}, {"WALLET_TASK_QUEUE", l.options.taskQueue},
		{"WALLET_API_URL", l.apiURL}, {"WALLET_API_TOKEN", l.token}, {allowNetworksSetting, localReceivers},
	} {
		fmt.Fprintf(&content, "export %s=%s\n", variable[0], quoteShell(variable[1]))
	}
	fmt.Fprintf(&content, "export PATH=%s:\"$PATH\"\n", quoteShell(filepath.Dir(l.program)))
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
