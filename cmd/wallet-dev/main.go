// Command wallet-dev is for people who work on Wallet or try it out: it runs everything on one
// machine, measures wallets and tries to break them. No deployment needs it.
package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/service/cli"
)

func main() {
	root := newRootCommand()
	if err := cli.Execute(root); err != nil {
		cli.PrintError(root.Name(), err)
		os.Exit(1)
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "wallet-dev",
		Short: "Run, measure and try to break Wallet on one machine",
		Long: `Run, measure and try to break Wallet on one machine, on separate servers.

Exit codes: 0 success, 1 error, or Wallet broke a promise.`,
		SilenceUsage:  true,
		SilenceErrors: true, // printed once, by main
	}
	root.AddCommand(runCommand(), demoCommand(), benchCommand(), tortureCommand(), failoverCommand(), verifyBenchCommand())
	return root
}

// outputs are the formats of a report.
var outputs = []string{"table", "json"}

const outputUsage = "table for people, json for machines"

// findWallet returns the program wallet next to this one. It looks nowhere else: another wallet
// may have a different version.
func findWallet() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	program := filepath.Join(filepath.Dir(self), "wallet")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return "", errors.New(program + ` is missing: build both programs with "make bin/wallet bin/wallet-dev"`)
	} else if err != nil {
		return "", err
	}
	return program, nil
}
