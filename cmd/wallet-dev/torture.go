package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/dev/torture"
	"github.com/valueledger/wallet/internal/service/cli"
)

func tortureCommand() *cobra.Command {
	var o torture.Options
	var store, output, load string
	var onlyPlan bool
	cmd := &cobra.Command{
		Use: "torture", Short: "Try to break wallets, on servers of its own, and check the result",
		Long: `Try to break wallets on servers of its own, started for it and stopped afterwards: a
seeded random load of commands by every way, sent twice, again and with other content,
while workers, Postgres and Temporal are killed and paused, their connections cut, delayed
and reset, workflows terminated and reset, and Postgres's clock jumps. Some kills are aimed
at the moment at which a hold expires, long transactions keep old snapshots, and the server
ends runs whose history is too long. Then everything is healed, and what callers were told
is compared with what is written down.

The same seed makes the same plan. Exit code 1 if a promise was broken.`,
		Example: `  wallet-dev torture --seed 7 --duration 20m
  wallet-dev torture --seed 7 --plan
  wallet-dev torture --load transfers --clients 64 --wallets 8 --faults worker,postgres,temporal
  wallet-dev torture --temporal-store postgres --workers 3 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := cli.CheckOutput(cmd, output, outputs...); err != nil {
				return err
			}
			o.TemporalStore, o.Load = devstack.TemporalStore(store), torture.Load(load)
			if err := o.Check(); err != nil {
				return err
			}
			plan := torture.NewPlan(o)
			if onlyPlan {
				plan.Write(cmd.OutOrStdout())
				return nil
			}
			if plan.Options.Program, err = findWallet(); err != nil {
				return err
			}
			return runTorture(cmd, plan, output)
		},
	}
	cli.AddOutputFlag(cmd, &output, outputUsage, outputs...)
	flags := cmd.Flags()
	flags.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()%1_000_000), "seed of the plan; random by default")
	flags.DurationVar(&o.Duration, "duration", 2*time.Minute, "how long load and faults last; healing comes after")
	flags.StringVar(&store, "temporal-store", string(devstack.StoreSQLite), "where Temporal keeps its histories: sqlite, postgres")
	flags.IntVar(&o.Workers, "workers", 2, "worker processes")
	flags.IntVar(&o.Clients, "clients", 16, "clients, each with one step in progress")
	flags.IntVar(&o.Wallets, "wallets", 60, "wallets; the first four get half of the commands")
	flags.StringSliceVar(&o.Faults, "faults", nil, "only these: "+strings.Join(torture.Classes(), ", "))
	flags.StringVar(&load, "load", string(torture.LoadAll), "what clients send: all, or transfers (transactions of up to 20 legs in both directions)")
	flags.BoolVar(&o.Standby, "standby", false, "give Postgres a synchronous standby, which faults promote; everything is slower")
	flags.DurationVar(&o.Patience, "patience", 3*time.Minute, "how long after healing the last answer may take")
	flags.StringVar(&o.Dir, "dir", "", "folder for the servers' data and logs; a temporary one by default")
	flags.BoolVar(&onlyPlan, "plan", false, "only print the faults and the beginning of each client's script")
	flags.Lookup("seed").DefValue = ""
	return cmd
}

func runTorture(cmd *cobra.Command, plan torture.Plan, output string) error {
	o := &plan.Options
	if o.Dir == "" {
		folder, remove, err := devstack.TemporaryFolder("wallet-torture-")
		if err != nil {
			return err
		}
		defer remove()
		o.Dir = folder
	}
	o.Say = func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
	o.Say("seed %d", o.Seed)
	terminal := cli.Terminal(cmd, output)
	o.Show = func(p torture.Progress) {
		if terminal != nil {
			fmt.Fprintf(terminal, "\r\x1b[K%s of %s: %d answers, %d attempts failed", p.Elapsed.Round(time.Second), p.Duration, p.Answered, p.Failed)
		}
	}
	report, err := torture.Run(cmd.Context(), plan)
	if terminal != nil {
		fmt.Fprintln(terminal)
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	if output == "json" {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	} else {
		report.Write(cmd.OutOrStdout())
	}
	if err == nil && len(report.Violations) > 0 {
		err = fmt.Errorf("seed %d: %d promises were broken", o.Seed, len(report.Violations))
	}
	return err
}
