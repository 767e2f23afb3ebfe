package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/cli"
)

// TestNoGroupOfCommandsTakesAnUnknownOne walks all of them, those of cobra too.
func TestNoGroupOfCommandsTakesAnUnknownOne(t *testing.T) {
	groups := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() {
			return
		}
		groups++
		root := newRootCommand()
		cli.RefuseUnknown(root)
		root.SetOut(io.Discard)
		root.SetArgs(append(strings.Fields(cmd.CommandPath())[1:], "no-such-command", "x"))
		require.ErrorContains(t, root.Execute(), `unknown command "no-such-command" for "`+cmd.CommandPath()+`"`)
	}
	root := newRootCommand()
	cli.RefuseUnknown(root)
	walk(root)
	require.GreaterOrEqual(t, groups, 5, "the root, schedule, migrate, currency, completion")
}
