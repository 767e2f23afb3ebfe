package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// printsText are the commands that print no results.
var printsText = []string{"wallet worker", "wallet webhook run", "wallet codec-server", "wallet serve", "wallet help", "wallet completion bash", "wallet completion zsh", "wallet completion fish", "wallet completion powershell"}

// TestEveryCommandSpeaksJSON walks the tree of commands with -o json: results are lines of JSON
// on stdout; an error is an object on stderr, with the exit code of the table.
func TestEveryCommandSpeaksJSON(t *testing.T) {
	c := newBadConsumer(t) // whose events are parked
	c.start()
	c.eventually(2, `SELECT count(*) FROM wallet_feed_parked`)
	c.stop()
	address := freeAddresses(t, 1)[0]
	s := c.with("WALLET_HTTP_ADDRESS=" + address)
	stop := s.startWorker()
	defer stop()
	_, errs, code := s.run("ready", "--wait", "60s")
	require.Zero(t, code, errs)
	down := s.with("TEMPORAL_ADDRESS=127.0.0.1:1").with("WALLET_DATABASE_URL=postgres://u:p@127.0.0.1:1/w").
		with("WALLET_OWNER_DATABASE_URL=postgres://u:p@127.0.0.1:1/w").with("WALLET_HTTP_ADDRESS=127.0.0.1:1")
	user, schedule := testenv.Unique(t, "user"), testenv.Unique(t, "schedule")

	file := filepath.Join(t.TempDir(), "transaction.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"id": "%s-file", "commands": [{"user_id": %[1]q, "currency": "USD", "type": "add", "amount": "1"}, {"user_id": "%[1]s-2", "currency": "USD", "type": "hold", "amount": "1"}]}`, user), 0o600))
	lines := filepath.Join(t.TempDir(), "lines.csv")
	require.NoError(t, os.WriteFile(lines, fmt.Appendf(nil, "user_id,currency,type,amount\n%s,USD,add,1\n%[1]s,USD,subtract,1000\n", user), 0o600))
	endpoint := s.endpoint()
	mayBeEmpty := []string{"wallet schedule list", "wallet repair", "wallet salvage", "wallet webhook parked", "wallet grants"} // the first lags behind, the others find nothing
	root := newRootCommand()
	cli.RefuseUnknown(root)
	var missing []string
	for _, cmd := range leaves(root) {
		missing = append(missing, cmd.CommandPath())
	}
	tried := func(path string) {
		missing = slices.DeleteFunc(missing, func(other string) bool { return other == path })
	}
	for _, row := range []struct {
		command string
		code    int
		down    int // the exit code without servers
	}{
		{"create USER EUR --id open", exitDone, exitNoAnswer},
		{"add USER USD 10 --id a", exitDone, exitNoAnswer},
		{"subtract USER USD 1 --id b", exitDone, exitNoAnswer},
		{"subtract USER USD 1000 --id c", exitRefused, exitNoAnswer},
		{"subtract USER USD 1.999 --id d", exitRefused, exitNoAnswer},
		{"subtract USER NONE 1 --id e", exitInvalid, exitNoAnswer},
		{"hold USER USD 2 --id h --expires-in 7d", exitDone, exitNoAnswer},
		{"capture USER USD --hold h --amount 1 --partial --id h1", exitDone, exitNoAnswer},
		{"release USER USD --hold h --id h2", exitDone, exitNoAnswer},
		{"reverse USER USD --original b --id r", exitDone, exitNoAnswer},
		{"reverse USER USD --original b --id r2", exitRefused, exitNoAnswer},
		{"freeze USER EUR --what all --id f", exitDone, exitNoAnswer},
		{"unfreeze USER EUR --id u", exitDone, exitNoAnswer},
		{"set-threshold USER USD 5 --threshold low --id w", exitDone, exitNoAnswer},
		{"remove-threshold USER USD --threshold low --id w2", exitDone, exitNoAnswer},
		{"remove-threshold USER USD --threshold low --id w3", exitRefused, exitNoAnswer},
		{"set-credit-limit USER EUR 10 --id l", exitDone, exitNoAnswer},
		{"subtract USER EUR 4 --id on-credit", exitDone, exitNoAnswer},
		{"set-credit-limit USER EUR 3.99 --id l2", exitRefused, exitNoAnswer},
		{"add USER EUR 4 --id paid-back", exitDone, exitNoAnswer},
		{"set-credit-limit USER EUR 0 --id l3", exitDone, exitNoAnswer},
		{"close USER EUR --id closing", exitDone, exitNoAnswer},
		{"transfer USER USER-2 USD 1 --id USER-t", exitDone, exitNoAnswer},
		{"transfer USER USER-2 USD 1000 --id USER-t-2", exitRefused, exitNoAnswer},
		{"transfer USER USER-2 NONE 1 --id USER-t-3", exitInvalid, exitNoAnswer},
		{"transaction FILE", exitDone, exitNoAnswer},
		{"transaction nowhere.json", exitInvalid, exitInvalid},
		{"transaction show USER-t", exitDone, exitFailed},
		{"transaction show USER-none", exitFailed, exitFailed},
		{"run check LINES", exitRefused, exitFailed},
		{"run start LINES --id USER-run", exitRefused, exitFailed},
		{"run status USER-run", exitDone, exitFailed},
		{"run failures USER-run", exitDone, exitFailed},
		{"run list", exitDone, exitFailed},
		{"run pause USER-run", exitFailed, exitFailed},
		{"run resume USER-run", exitDone, exitFailed},
		{"run cancel USER-run", exitFailed, exitFailed},
		{"schedule create SCHEDULE --user USER --currency USD --add 5 --every 24h", exitDone, exitFailed},
		{"schedule create SCHEDULE --user USER --currency USD --add 5 --every 24h", exitFailed, exitFailed},
		{"schedule list --user USER", exitDone, exitFailed},
		{"schedule run SCHEDULE", exitDone, exitNoAnswer},
		{"schedule pause SCHEDULE", exitDone, exitFailed},
		{"schedule resume SCHEDULE", exitDone, exitFailed},
		{"schedule delete SCHEDULE", exitDone, exitFailed},
		{"balance USER", exitDone, exitFailed},
		{"balance nobody", exitFailed, exitFailed},
		{"holds USER", exitDone, exitFailed},
		{"grants USER USD --all", exitDone, exitFailed},
		{"balance USER --by grant", exitDone, exitFailed},
		{"statement USER USD --by grant", exitDone, exitFailed},
		{"statement USER USD", exitDone, exitFailed},
		{"events USER USD", exitDone, exitFailed},
		{"commands USER USD", exitDone, exitFailed},
		{"find a", exitDone, exitFailed},
		{"totals", exitDone, exitFailed},
		{"find no-such-id", exitFailed, exitFailed},
		{"verify", exitDone, exitFailed},
		{"receipt USER USD a", exitDone, exitFailed},
		{"head --all", exitDone, exitFailed},
		{"ready", exitDone, exitFailed},
		{"doctor USER USD", exitDone, exitFailed},
		{"feed list", exitDone, exitFailed},
		{"feed retry subscriptions", exitDone, exitFailed},
		{"feed skip subscriptions " + c.eventID("u2", 2) + " --actor ann --reason x", exitDone, exitFailed},
		{"feed redeliver subscriptions " + c.eventID("u2", 2), exitDone, exitFailed},
		{"webhook add https://192.0.2.1/", exitInvalid, exitFailed},
		{"webhook add http://127.0.0.1:1/ --allow-networks 127.0.0.0/8", exitDone, exitFailed},
		{"webhook list", exitDone, exitFailed},
		{"webhook show ENDPOINT", exitDone, exitFailed},
		{"webhook show we_none", exitFailed, exitFailed},
		{"webhook change ENDPOINT --description x --allow-networks 127.0.0.0/8", exitDone, exitFailed},
		{"webhook pause ENDPOINT", exitDone, exitFailed},
		{"webhook resume ENDPOINT", exitDone, exitFailed},
		{"webhook rotate ENDPOINT", exitDone, exitFailed},
		{"webhook parked ENDPOINT", exitDone, exitFailed},
		{"webhook redeliver ENDPOINT " + c.eventID("u2", 2), exitDone, exitFailed},
		{"webhook redeliver ENDPOINT --parked", exitDone, exitFailed},
		{"webhook redeliver ENDPOINT --since 2026-01-31 --user USER", exitDone, exitFailed},
		{"webhook redeliver ENDPOINT", exitInvalid, exitInvalid},
		{"webhook remove ENDPOINT", exitDone, exitFailed},
		{"migrate up", exitDone, exitFailed},
		{"migrate status", exitDone, exitFailed},
		{"migrate distribute", exitFailed, exitFailed}, // this Postgres has no Citus
		{"setup --nexus-endpoint every-command", exitDone, exitFailed},
		{"currency add POINTS --scale 0", exitDone, exitFailed},
		{"currency list", exitDone, exitFailed},
		{"repair", exitDone, exitFailed},
		{"salvage USER USD", exitDone, exitNoAnswer},
		{"replay --query=WalletUserId='USER'", exitDone, exitFailed}, // others' may be encrypted
		{"token shop --users u1", exitDone, exitDone},
		{"version", exitDone, exitDone},
	} {
		args := strings.Fields(strings.NewReplacer("USER", user, "SCHEDULE", schedule, "FILE", file, "LINES", lines, "ENDPOINT", endpoint).Replace(row.command))
		cmd, _, err := root.Find(args)
		require.NoError(t, err)
		tried(cmd.CommandPath())
		results := s.json(row.code, args)
		if row.code == exitDone && !slices.Contains(mayBeEmpty, cmd.CommandPath()) {
			require.NotEmpty(t, results, row.command)
		}
		down.json(row.down, args)
		_ = s.json(exitInvalid, append(args, "--no-such-flag"))
	}
	for _, path := range printsText {
		tried(path)
		s.json(exitInvalid, append(strings.Fields(path)[1:], "--no-such-flag"))
	}
	down.json(exitFailed, []string{"worker"})
	down.json(exitFailed, []string{"webhook", "run"})
	down.json(exitFailed, []string{"codec-server"})
	down.json(exitFailed, []string{"serve"})
	require.Empty(t, missing, "add these commands to the table of this test")
}

// json runs a command with -o json, and returns the results of its stdout.
func (s shell) json(want int, args []string) (results []json.RawMessage) {
	start := time.Now()
	out, errs, code := s.run(append(slices.Clone(args), "-o", "json")...)
	require.Less(s.t, time.Since(start), 30*time.Second, args)
	require.Equal(s.t, want, code, "%q: %s%s", args, out, errs)
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if out == "" {
			break
		}
		var object map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &object), "%q prints %q", args, out)
		results = append(results, json.RawMessage(line))
	}
	var failures int
	for _, line := range strings.Split(strings.TrimSuffix(errs, "\n"), "\n") {
		if errs == "" {
			break
		}
		var object struct {
			Error *failureReport
			Note  *string
		}
		require.NoError(s.t, json.Unmarshal([]byte(line), &object), "%q prints %q", args, errs)
		if object.Note != nil {
			continue
		}
		failures++
		require.NotNil(s.t, object.Error, "%q prints %q", args, errs)
		require.Equal(s.t, want, object.Error.ExitCode, args)
		require.Equal(s.t, exits[want].kind, object.Error.Kind, args)
		require.NotEmpty(s.t, object.Error.Message, args)
	}
	require.Equal(s.t, want != exitDone, failures == 1, "%q: %s", args, errs)
	return results
}

// leaves are the commands that do something.
func leaves(cmd *cobra.Command) (all []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		all = append(all, leaves(sub)...)
	}
	if !cmd.HasSubCommands() && cmd.Runnable() {
		all = append(all, cmd)
	}
	return all
}
