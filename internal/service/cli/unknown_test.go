package cli

import (
	"io"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestAnUnknownCommandIsRefusedAtEveryDepth(t *testing.T) {
	ran := ""
	execute := func(args ...string) error {
		leaf := &cobra.Command{Use: "list", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) { ran = "list" }}
		deep, group, root := &cobra.Command{Use: "deep"}, &cobra.Command{Use: "schedule"}, &cobra.Command{Use: "wallet", SilenceErrors: true, SilenceUsage: true}
		deep.AddCommand(leaf)
		group.AddCommand(deep)
		root.AddCommand(group)
		RefuseUnknown(root)
		root.SetOut(io.Discard)
		root.SetArgs(args)
		return root.Execute()
	}
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"schedul"}, `unknown command "schedul" for "wallet": did you mean schedule?`},
		{[]string{"frobnicate"}, `unknown command "frobnicate" for "wallet": see "wallet --help"`},
		{[]string{"schedule", "dep"}, `unknown command "dep" for "wallet schedule": did you mean deep?`},
		{[]string{"schedule", "deep", "delete", "x"}, `unknown command "delete" for "wallet schedule deep": see "wallet schedule deep --help"`},
		{[]string{"completion", "tcsh"}, `unknown command "tcsh" for "wallet completion"`},
		{[]string{"help", "nothing"}, `unknown command "nothing" for "wallet": see "wallet --help"`},
		{[]string{"help", "schedule", "dep"}, `unknown command "dep" for "wallet schedule"`},
	} {
		require.ErrorContains(t, execute(row.args...), row.message, row.args)
	}
	for _, args := range [][]string{{}, {"schedule"}, {"schedule", "deep"}, {"schedule", "--help"}, {"help"}, {"help", "schedule", "deep"}, {"completion", "bash"}} {
		require.NoError(t, execute(args...), args)
	}
	require.Empty(t, ran)
	require.NoError(t, execute("schedule", "deep", "list"))
	require.Equal(t, "list", ran)
}
