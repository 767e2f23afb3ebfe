package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/dev/verifybench"
)

func verifyBenchCommand() *cobra.Command {
	var o verifybench.Options
	step, databaseURL := "", "" // set in child processes of this command
	cmd := &cobra.Command{
		Use: "verifybench", Short: `Measure the speed and the memory of "wallet verify", on separate servers`, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Program, err = findWallet(); err != nil {
				return err
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
	flags.StringVar(&step, "step", "", "run only this step")
	flags.StringVar(&databaseURL, "database-url", "", "the database for --step")
	for _, name := range []string{"step", "database-url"} {
		_ = flags.MarkHidden(name) // the flag exists
	}
	return cmd
}
