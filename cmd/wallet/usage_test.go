package main

import (
	"testing"

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
