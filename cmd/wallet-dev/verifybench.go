package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/dev/verifybench"
)

func verifyBenchCommand() *cobra.Command {
	var o verifybench.Options
	var growth verifybench.GrowthOptions
	step, databaseURL := "", "" // set in child processes of this command
	cmd := &cobra.Command{
		Use: "verifybench", Short: `Measure the speed and the memory of "wallet verify", on separate servers`, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Program, err = findWallet(); err != nil {
				return err
			}
			if len(growth.Sizes) > 0 {
				growth.Wallets, growth.Parallel, growth.Program = o.Wallets, o.Parallel, o.Program
				return measureGrowth(cmd.Context(), growth, cmd.OutOrStdout())
			}
			switch step {
			case verifybench.FillStep:
				return verifybench.Fill(cmd.Context(), o, databaseURL)
			case verifybench.VerifyStep:
				return verifybench.Verify(cmd.Context(), o, databaseURL, cmd.OutOrStdout())
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Step = func(ctx context.Context, name, databaseURL string) *exec.Cmd {
				return exec.CommandContext(ctx, self, append(os.Args[1:], "--step", name, "--database-url", databaseURL)...)
			}
			return verifybench.Measure(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Entries, "entries", 1_000_000, "total journal entries")
	flags.IntVar(&o.Wallets, "wallets", 10_000, "number of wallets")
	flags.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "as for wallet verify")
	flags.BoolVar(&o.Scattered, "scattered", false, "write to all wallets in turn, so that the entries of each are far apart")
	flags.IntSliceVar(&growth.Sizes, "growth", nil, "instead: fill by COPY to each of these numbers of entries, and measure sizes, batches, reads, VACUUM, verify and pg_dump there")
	flags.IntVar(&growth.Partitions, "partitions", 0, "with --growth: make so many partitions of journal and events, by hash of the user")
	flags.StringVar(&growth.Dir, "dir", "", "with --growth: folder for the data, 1 KB per entry; a temporary one by default")
	flags.StringVar(&step, "step", "", "run only this step")
	flags.StringVar(&databaseURL, "database-url", "", "the database for --step")
	for _, name := range []string{"step", "database-url"} {
		_ = flags.MarkHidden(name) // the flag exists
	}
	return cmd
}

func measureGrowth(ctx context.Context, o verifybench.GrowthOptions, out io.Writer) error {
	if o.Dir == "" {
		folder, remove, err := devstack.TemporaryFolder("wallet-bench-")
		if err != nil {
			return err
		}
		defer remove()
		o.Dir = folder
	}
	return verifybench.Growth(ctx, o, out)
}
