package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/dev/bench"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
)

// benchFlags are the flags of "wallet-dev bench".
type benchFlags struct {
	scenarios, modes, stores []string
	clients, wallets, batch  int
	lanes                    int
	duration                 time.Duration
	subtract                 string
	standard                 bool
	life                     bench.LifeOptions
	idle                     []int
	runs                     bench.RunsOptions
	dir                      string
	plot, markdown           string
	profileDir               string
	output                   string
}

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use: "bench", Short: "Compare wallets with the textbook workflow and plain SQL, on separate servers",
		Long: `Measure wallets on separate servers, which it starts and stops. Each scenario also runs
with the textbook workflow (one update, three regular activities) and on the floor (one
SQL statement per command or per batch, without Temporal), side by side, and it prints
the ratios.

After each run it checks that every accepted command was applied exactly once: it compares
commands with the journal, answers with what is recorded and balances with the sums, and
verifies the trail. Exit code 1 if any check fails, however fast the run was.

update, batch and textbook have at most 8 callers per wallet: Temporal allows at most
10 updates in flight per workflow. coalesced is how programs call: many goroutines,
one starter.Client; lanes is the same with lanes for spread load, and http the same by
the HTTP API.`,
		Example: `  wallet-dev bench --scenario hot --mode coalesced --clients 512
  wallet-dev bench --scenario spread,mixed --wallets 1000 --temporal-store sqlite,postgres -o json
  wallet-dev bench --standard --plot plot.svg`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, f) },
	}
	cli.AddOutputFlag(cmd, &f.output, outputUsage, outputs...)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.scenarios, "scenario", []string{string(bench.Hot)}, "hot (one wallet), spread (all alike), mixed (Zipf), holds (placed and captured, beside plain subtractions), transfer (between two wallets), collect (into one)")
	flags.StringSliceVar(&f.modes, "mode", []string{"signal", "update", "batch", "coalesced"}, "the ways to send: signal, update, batch, coalesced, lanes, http")
	flags.IntVar(&f.clients, "clients", 64, "callers, each with one call in progress")
	flags.IntVar(&f.wallets, "wallets", 64, "number of wallets for spread, mixed, transfer and collect")
	flags.IntVar(&f.batch, "batch", 500, "commands per call in mode batch")
	flags.IntVar(&f.lanes, "lanes", 1, "number of lanes in the modes lanes and http")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "how long each run is measured, after a warm-up of a quarter of it")
	flags.StringVar(&f.subtract, "subtract", "30%", "share of commands that subtract; the others add")
	flags.StringSliceVar(&f.stores, "temporal-store", nil, "where Temporal keeps its histories: sqlite, postgres (default postgres, with --standard both)")
	flags.BoolVar(&f.standard, "standard", false, "the set of docs/benchmarks.md, in place of --scenario, --mode, --clients, --wallets, --batch, --subtract")
	flags.IntVar(&f.life.Commands, "life-commands", 0, "instead: so many commands to one wallet, at least 40,000, and what they cost by then")
	flags.IntVar(&f.life.Wallets, "life-wallets", 0, "instead, or then: so many wallets with 5 commands each, at least 10")
	flags.IntVar(&f.life.Holds, "life-holds", 0, "instead, or then: so many holds placed and captured in one wallet, at least 10,000, with 1,000 open")
	flags.IntSliceVar(&f.idle, "idle-wallets", nil, "instead: so many wallets with one command each, 400 or more, and what they cost while nobody uses them; several numbers grow")
	flags.IntVar(&f.runs.Lines, "run-lines", 0, "instead: a run over a file of so many lines, beside a bare transaction over many rows")
	flags.IntVar(&f.runs.Wallets, "run-wallets", 100_000, "with --run-lines: number of wallets that the lines are for")
	flags.IntVar(&f.runs.Parallel, "run-parallel", 0, "with --run-lines: transactions under way at once (0: the default)")
	flags.StringVar(&f.dir, "dir", "", "folder for the servers' data; a temporary one by default")
	flags.StringVar(&f.plot, "plot", "", "write throughput and latency as SVG; with several stores, the store's name is added")
	flags.StringVar(&f.markdown, "markdown", "", "write the report as a document")
	flags.StringVar(&f.profileDir, "profile-dir", "", "write profiles of each run into this folder: CPU of this process and of Temporal on Postgres, and where workflow time went")
	return cmd
}

func runBench(cmd *cobra.Command, f benchFlags) error {
	if err := cli.CheckOutput(cmd, f.output, outputs...); err != nil {
		return err
	}
	specs, err := f.specs()
	if err != nil {
		return err
	}
	logger, err := service.NewLogger("error", "console")
	if err != nil {
		return err
	}
	dir := f.dir
	if dir == "" {
		folder, remove, err := devstack.TemporaryFolder("wallet-bench-")
		if err != nil {
			return err
		}
		defer remove()
		dir = folder
	}
	if f.profileDir != "" {
		if err := os.MkdirAll(f.profileDir, 0o755); err != nil {
			return err
		}
	}
	say := func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
	progress, stopProgress := bench.ShowProgress(os.Stderr)
	defer stopProgress()

	report := bench.Report{Command: strings.Join(append([]string{"wallet-dev"}, os.Args[1:]...), " "), StartedAt: time.Now()}
	for _, store := range f.stores {
		err := bench.OnStack(cmd.Context(), filepath.Join(dir, store), devstack.TemporalStore(store), logger, say, func(e bench.Environment) (err error) {
			if report.Machine, err = bench.DescribeMachine(cmd.Context(), e); err != nil {
				return err
			}
			if f.runs.Lines > 0 {
				return bench.Runs(cmd.Context(), e, f.runs, cmd.OutOrStdout())
			}
			if len(f.idle) > 0 {
				return bench.Idle(cmd.Context(), e, bench.IdleOptions{Sizes: f.idle, Woken: 400, Window: 20 * time.Second}, cmd.OutOrStdout())
			}
			if f.life != (bench.LifeOptions{}) {
				return bench.Life(cmd.Context(), e, f.life, cmd.OutOrStdout())
			}
			rows, err := bench.Run(cmd.Context(), e, bench.Options{Specs: specs(store), ProfileDir: f.profileDir, Progress: progress})
			report.Rows = append(report.Rows, rows...)
			return err
		})
		if err != nil {
			return err
		}
	}
	stopProgress()
	if f.life != (bench.LifeOptions{}) || f.runs.Lines > 0 || len(f.idle) > 0 {
		return nil
	}
	if err := writeReport(cmd, f, report); err != nil {
		return err
	}
	if violations := bench.Violations(report.Rows); len(violations) > 0 {
		return fmt.Errorf("not every accepted command was applied exactly once:\n%s", strings.Join(violations, "\n"))
	}
	return nil
}

// specs returns the runs for each store, and fills in the stores.
func (f *benchFlags) specs() (func(store string) []bench.Spec, error) {
	if len(f.stores) == 0 {
		f.stores = []string{string(devstack.StorePostgres)}
		if f.standard {
			f.stores = append(f.stores, string(devstack.StoreSQLite))
		}
	}
	if f.standard {
		return func(store string) []bench.Spec {
			if store == string(devstack.StoreSQLite) {
				return bench.StandardShort(f.duration)
			}
			return bench.Standard(f.duration)
		}, nil
	}
	subtract, err := strconv.Atoi(strings.TrimSuffix(f.subtract, "%"))
	if err != nil {
		return nil, fmt.Errorf("--subtract %q is not a share: give it as 30%%", f.subtract)
	}
	choice := bench.Choice{Clients: f.clients, Wallets: f.wallets, PerCall: f.batch, Lanes: f.lanes, SubtractPercent: subtract, Duration: f.duration}
	for _, name := range f.scenarios {
		choice.Scenarios = append(choice.Scenarios, bench.Scenario(name))
	}
	for _, name := range f.modes {
		choice.Modes = append(choice.Modes, bench.Mode(name))
	}
	specs, err := choice.Specs()
	return func(string) []bench.Spec { return specs }, err
}

func writeReport(cmd *cobra.Command, f benchFlags, report bench.Report) error {
	plots := map[string]string{}
	for _, store := range report.Stores() {
		if f.plot == "" {
			break
		}
		path := f.plot
		if len(report.Stores()) > 1 {
			extension := filepath.Ext(path)
			path = strings.TrimSuffix(path, extension) + "-" + store + extension
		}
		svg, err := bench.Plot(report.RowsOf(store))
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		if err := os.WriteFile(path, svg, 0o644); err != nil {
			return err
		}
		if plots[store], err = filepath.Rel(filepath.Dir(f.markdown), path); err != nil {
			return err
		}
	}
	if f.markdown != "" {
		var document strings.Builder
		if err := report.WriteMarkdown(&document, plots); err != nil {
			return err
		}
		if err := os.WriteFile(f.markdown, []byte(document.String()), 0o644); err != nil {
			return err
		}
	}
	if f.output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	}
	return report.WriteText(cmd.OutOrStdout())
}
