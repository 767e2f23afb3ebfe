package main

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/cli"
)

// execute runs a command that ends before it needs a server.
func execute(args ...string) error {
	root := newRootCommand()
	cli.RefuseUnknown(root)
	root.SetArgs(args)
	return root.Execute()
}

func TestAnEmptyFlagIsRefused(t *testing.T) {
	t.Setenv("WALLET_DATABASE_URL", "postgres://u:p@127.0.0.1:1/wallet")
	for _, row := range []struct {
		flag string
		args []string
	}{
		{"--id", []string{"add", "u1", "USD", "5"}},
		{"--amount", []string{"capture", "u1", "USD", "--hold", "order-7", "--id", "a"}},
		{"--hold", []string{"capture", "u1", "USD", "--id", "a"}},
		{"--expires-in", []string{"hold", "u1", "USD", "5", "--id", "a"}},
		{"--receipt", []string{"verify"}},
		{"--after", []string{"events", "u1", "USD"}},
		{"--state", []string{"holds", "u1"}},
		{"--query", []string{"replay"}},
		{"--timezone", []string{"schedule", "create", "x", "--user", "u1", "--currency", "USD", "--add", "5", "--cron", "0 0 1 * *"}},
		{"--database-url", []string{"balance", "u1"}},
	} {
		err := execute(append(row.args, row.flag, "")...)
		require.EqualError(t, err, row.flag+" is empty: give it a value, or leave it out", row.args)
	}
}

func TestPriority0IsNoPriority(t *testing.T) {
	t.Setenv("WALLET_DATABASE_URL", "postgres://u:p@127.0.0.1:1/wallet")
	for _, args := range [][]string{
		{"add", "u1", "USD", "5", "--id", "a"},
		{"schedule", "create", "x", "--user", "u1", "--currency", "USD", "--add", "5", "--cron", "0 0 1 * *"},
	} {
		require.EqualError(t, execute(append(args, "--priority", "0")...), `invalid argument "0" for "--priority" flag: give it 1 (used up first) to 100, or leave it out`, args)
	}
}

func TestACommandToRepeatIsForAShell(t *testing.T) {
	require.Equal(t, `wallet add 'an'\''na' USD 5 --description 'a b' --id cli-X`, repeated([]string{"/bin/wallet", "add", "an'na", "USD", "5", "--description", "a b"}, "cli-X"))
	require.Equal(t, `wallet add --id cli-X -- u1 USD 5`, repeated([]string{"wallet", "add", "--", "u1", "USD", "5"}, "cli-X"))
}

func TestTheHelpIsInGroupsAndFits80Columns(t *testing.T) {
	root := newRootCommand()
	cli.RefuseUnknown(root)
	var wide []string
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Parent() != nil && cmd.Parent() == cmd.Root() && cmd.IsAvailableCommand() {
			require.NotEmpty(t, cmd.GroupID, cmd.Name())
		}
		if slices.Contains([]string{"bash", "zsh", "fish", "powershell"}, cmd.Name()) { // cobra's own
			return
		}
		text := strings.Replace(cmd.UsageString(), cmd.Example, "", 1)
		for _, line := range strings.Split(cmd.Long+"\n"+text, "\n") {
			if utf8.RuneCountInString(line) > helpColumns {
				wide = append(wide, cmd.CommandPath()+": "+line)
			}
		}
	}
	walk(root)
	require.Empty(t, wide)
	help := root.UsageString()
	last := 0
	for _, part := range []string{"Move value:", "  subtract ", "Look:", "  balance ", "Prove:", "  verify ", "Operate:", "  worker ", "exit-codes"} {
		at := strings.Index(help, part)
		require.Greater(t, at, last, "%s in\n%s", part, help)
		last = at
	}
}
