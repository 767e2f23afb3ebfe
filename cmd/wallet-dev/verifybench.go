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
		Use: "verifybench", Short: `Measure the speed and the memory of "wallet verify", on servers of its own`, Args: cobra.NoArgs,
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
	flags.IntVar(&o.Entries, "entries", 1_000_000, "journal entries in all")
	flags.IntVar(&o.Wallets, "wallets", 10_000, "wallets that share them")
	flags.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "as of wallet verify")
	flags.StringVar(&step, "step", "", "do only this")
	flags.StringVar(&databaseURL, "database-url", "", "of the step")
	for _, name := range []string{"step", "database-url"} {
		_ = flags.MarkHidden(name) // the flag exists
	}
	return cmd
}
