package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/dev/failover"
	"github.com/valueledger/wallet/internal/service/cli"
)

func failoverCommand() *cobra.Command {
	o := failover.Options{}
	rounds, output := 1, ""
	cmd := &cobra.Command{
		Use: "failover", Short: "Kill a primary Postgres under load, promote its standby, and measure what it costs",
		Long: `Start Temporal, a primary Postgres and a streaming standby, and workers with both in
their URL. Kill the primary under load, promote the standby at once, and say for how long
nobody got an answer, and what was lost: nothing with synchronous replication; without,
what the standby had not received. Exit code 1 if "wallet salvage" does not find all that
was lost, or cannot have it applied again.`,
		Example: "  wallet-dev failover --rounds 5\n  wallet-dev failover --async --behind 100",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := cli.CheckOutput(cmd, output, outputs...); err != nil {
				return err
			}
			if o.Program, err = findWallet(); err != nil {
				return err
			}
			o.Say = func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
			reports, problems := []failover.Report{}, 0
			for range rounds {
				report, err := failoverOnce(cmd, o)
				if err != nil {
					return err
				}
				reports, problems = append(reports, report), problems+len(report.Problems)
			}
			if output == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(reports)
			} else {
				printFailovers(cmd, reports)
			}
			if err == nil && problems > 0 {
				err = fmt.Errorf("%d promises were broken", problems)
			}
			return err
		},
	}
	cli.AddOutputFlag(cmd, &output, outputUsage, outputs...)
	flags := cmd.Flags()
	flags.IntVar(&rounds, "rounds", 1, "how often, each on new servers")
	flags.BoolVar(&o.Async, "async", false, "asynchronous replication, with a standby that is behind")
	flags.IntVar(&o.Behind, "behind", 100, "with --async, how many answers the standby misses, at least")
	flags.IntVar(&o.Clients, "clients", 16, "clients, each with one command or transfer in progress")
	flags.IntVar(&o.Answers, "answers", 500, "how many answers come before and after the failover, at least")
	return cmd
}

func failoverOnce(cmd *cobra.Command, o failover.Options) (report failover.Report, err error) {
	folder, remove, err := devstack.TemporaryFolder("wallet-failover-")
	if err != nil {
		return report, err
	}
	defer remove()
	o.Dir = folder
	return failover.Run(cmd.Context(), o)
}

func printFailovers(cmd *cobra.Command, reports []failover.Report) {
	t := cli.NewTable(cmd.OutOrStdout(), table.Row{"replication", "answers", "promoted after", "no answer for", "lost", "reported", "noticed", "recovered"})
	seconds := func(s float64) string {
		return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
	}
	for _, r := range reports {
		t.AppendRow(table.Row{r.Replication, r.Answers, seconds(r.Promoted), seconds(r.Silence), r.Lost, r.Reported, r.Noticed, r.Recovered})
	}
	t.Render()
	for _, r := range reports {
		for _, problem := range r.Problems {
			fmt.Fprintln(cmd.OutOrStdout(), problem)
		}
	}
}
