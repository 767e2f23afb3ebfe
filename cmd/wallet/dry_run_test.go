package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// TestDryRunsFromTheShell has no worker: nothing is sent.
func TestDryRunsFromTheShell(t *testing.T) {
	s := newPastShell(t)
	before := s.reads("commands", "--output", "json")
	file := filepath.Join(t.TempDir(), "order.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"id": "t-1", "commands": [
		{"user_id": "u1", "currency": "USD", "type": "subtract", "amount": "60"},
		{"user_id": "u2", "currency": "USD", "type": "add", "amount": "60"}]}`), 0o600))
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitDone, "applied", []string{"subtract", "u1", "USD", "50", "--id", "d-1"}},
		{exitRefused, "unapplied: insufficient_funds", []string{"subtract", "u1", "USD", "60", "--id", "d-1"}},
		{exitDone, "on hold: 0.00 before, 5.00 after", []string{"hold", "u1", "USD", "5", "--id", "d-1", "--expires-in", "1h"}},
		{exitRefused, "hold_not_found", []string{"capture", "u1", "USD", "--hold", "h", "--id", "d-1"}},
		{exitRefused, "id_conflict", []string{"add", "u1", "USD", "1", "--id", "order-7"}},
		{exitRefused, "insufficient_funds (answered before)", []string{"subtract", "u1", "USD", "20", "--id", "order-8"}},
		{exitDone, "applied", []string{"transfer", "u1", "nobody-yet", "USD", "50", "--id", "d-1"}},
		{exitDone, "transaction d-1 would be applied", []string{"transfer", "u1", "u2", "USD", "50", "--id", "d-1"}},
		{exitRefused, "would be refused because of leg 1", []string{"transaction", file}},
	} {
		for _, output := range []string{"table", "json"} {
			out, errs, code := s.run(append(c.args, "--dry-run", "--output", output)...)
			require.Equal(t, c.code, code, "%s%s", out, errs)
			if output == "table" {
				require.Contains(t, out, c.want)
				require.Contains(t, out, "dry run: "+wallet.DryRunNote)
				require.Empty(t, errs)
				continue
			}
			require.Contains(t, out, `{"dry_run":true,"note":"nothing was recorded, and this is no promise`)
			if code == exitRefused {
				require.Contains(t, errs, `"dry_run":true`)
				require.Contains(t, errs, `"message":"dry run: `)
			}
		}
	}
	for _, args := range [][]string{
		{"subtract", "u1", "NOPE", "1", "--id", "d"}, {"add", "u1", "USD", "0", "--id", "d"}, {"add", "u1", "USD", "1"}, {"hold", "u1", "USD", "--id", "d"},
	} {
		_, errs, code := s.run(append(args, "--dry-run")...)
		require.Equal(t, exitInvalid, code, errs)
		require.NotContains(t, errs, "dry run", "as without --dry-run")
	}
	require.Equal(t, before, s.reads("commands", "--output", "json"))
}

func TestEveryCommandThatSendsHasADryRun(t *testing.T) {
	root := newRootCommand()
	for _, kind := range wallet.CallersKinds() {
		cmd, _, err := root.Find([]string{nameOf(kind)})
		require.NoError(t, err)
		require.NotNil(t, cmd.Flags().Lookup("dry-run"), kind.Type)
	}
	for _, name := range []string{"transfer", "transaction"} {
		cmd, _, err := root.Find([]string{name})
		require.NoError(t, err)
		require.NotNil(t, cmd.Flags().Lookup("dry-run"), name)
	}
}
