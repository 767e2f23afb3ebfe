package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// tricks are texts that something on the way might take for more than text.
var tricks = []string{
	`'; DROP TABLE wallet_assets; --`, `" OR ""="`, `$1`, `\'\"\\`, `NULL`, `E'\x00'`, `{"a":1}`, `[]`,
	`../../../etc/passwd`, `/`, `u1/USD`, `wallet-asset/USD/u1`, `..%2f..`, `C:\con`, `a//b`,
	`%s%n%d%!v(MISSING)`, `{{.}}`, `${HOME}`, "$(id)`id`", `<script>alert(1)</script>`, `[x](javascript:1)`, `a|b`, `=1+1`, `-rf`, `--help`, `*`,
	`Ünïcödé`, `日本語`, `👨‍👩‍👧`, "e\u0301", "\u00e9", "\u2126", "\u03a9", "\u202egnp.exe", "\u200b", "\ufeff", "\u00a0", "\U0010ffff", " x ", "I\u0307",
	strings.Repeat("💶", 128), strings.Repeat("/", 128),
}

// controls are allowed in descriptions and metadata, not in names.
var controls = []string{"two\nlines", "\r\n", "\x1b[31mred\x1b[0m", "\x1b]0;title\a", "\u009b31m", "tab\there", "\x7f", "\x01", "\b\b\b"}

// TestEveryTextIsStoredAndShownVerbatim sends each as a user, an id, an actor, a
// description and metadata, and reads it back in each way there is.
func TestEveryTextIsStoredAndShownVerbatim(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	defer s.startWorker()()
	queue := ""
	for _, variable := range s.env {
		if value, found := strings.CutPrefix(variable, "WALLET_TASK_QUEUE="); found {
			queue = value
		}
	}
	temporal := testenv.Temporal(t)
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: queue})
	require.NoError(t, err)
	run := t.Name() + testenv.Unique(t, "") // users are of this test alone

	for i, text := range tricks {
		user := text
		if len([]rune(text)) < 100 { // where there is room
			user = text + run[len(run)-19:]
		}
		description := text + strings.Join(controls, text)
		if len([]rune(description)) > wallet.MaxDescriptionCharacters {
			description = text
		}
		change := starter.Change{UserID: user, Currency: "USD", CommandID: text, Amount: wallet.MustAmount("1.50"), Actor: text,
			Description: description, Metadata: map[string]string{text: text, "controls": strings.Join(controls, "")}}
		switch i % 3 { // the ways a command comes
		case 0:
			_, err = wallets.Add(t.Context(), change)
			require.NoError(t, err, "%q", text)
		case 1:
			require.NoError(t, wallets.Send(t.Context(), user, "USD", wallet.Command{ID: text, Type: wallet.TypeAdd, Amount: change.Amount,
				Actor: text, Description: description, Metadata: change.Metadata}), "%q", text)
		case 2:
			id := wallet.ApplyCommandWorkflowID(user, "USD", text)
			ctx := resourceid.For(t.Context(), id)
			run, err := temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: queue},
				wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"}, Command: wallet.Command{ID: text,
					Type: wallet.TypeAdd, Amount: change.Amount, Actor: text, Description: description, Metadata: change.Metadata}})
			require.NoError(t, err, "%q", text)
			require.NoError(t, run.Get(ctx, nil), "%q", text)
		}
		// The program is asked the same again, and answers what is on record.
		out, errs, code := s.run("subtract", "-o", "json", "--id", "take", "--description", description, "--", user, "USD", "1")
		require.Equal(t, exitDone, code, "%q: %s", text, errs)
		require.Contains(t, out, `"total_after":"0.50"`)
		out, errs, code = s.run("subtract", "--id", text+"!", "--", user, "USD", "9")
		if len([]rune(text)) < 128 {
			require.Equal(t, exitRefused, code, "%q: %s", text, errs)
			requireHarmless(t, out)
		}

		var events []trail.Event
		out, errs, code = s.run("events", "-o", "json", "--", user, "USD")
		require.Equal(t, exitDone, code, "%q: %s", text, errs)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var event trail.Event
			require.NoError(t, json.Unmarshal([]byte(line), &event))
			events = append(events, event)
		}
		require.Len(t, events, 3)
		added := events[1]
		require.Equal(t, user, added.UserID)
		require.Equal(t, text, added.CommandID)
		require.Equal(t, text, added.Actor)
		require.Equal(t, description, added.Description)
		require.Equal(t, change.Metadata, added.Metadata)
		require.Equal(t, description, events[2].Description, "from the command line")

		out, errs, code = s.run("receipt", "--", user, "USD", text)
		require.Equal(t, exitDone, code, "%q: %s", text, errs)
		var receipt trail.Receipt
		require.NoError(t, json.Unmarshal([]byte(out), &receipt))
		require.Equal(t, user, receipt.UserID)
		file := filepath.Join(t.TempDir(), "receipt.json")
		require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
		_, errs, code = s.run("verify", "--receipt", file)
		require.Equal(t, exitDone, code, errs)

		out, _, _ = s.run("statement", "-o", "csv", "--", user, "USD")
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		require.NoError(t, err)
		// encoding/csv reads a carriage return before a line feed as none.
		require.True(t, slices.ContainsFunc(rows, func(row []string) bool {
			return slices.Contains(row, strings.ReplaceAll(description, "\r\n", "\n")) && slices.Contains(row, text) && slices.Contains(row, user)
		}), "%q", text)
		for _, read := range []string{"balance", "events", "commands", "statement", "verify"} {
			out, errs, code := s.run(read, "--", user, "USD")
			require.Equal(t, exitDone, code, "%s %q: %s", read, text, errs)
			requireHarmless(t, out)
		}
	}
	out, _, code := s.run("verify")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "0 findings")
	out, _, _ = s.run("commands")
	requireHarmless(t, out)
}

// requireHarmless looks for what would drive a terminal: controls, and the marks that
// turn the order of letters around.
func requireHarmless(t *testing.T, out string) {
	for _, r := range out {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			require.Fail(t, "the output has a control character", "%q in %q", r, out)
		}
	}
}

func TestNamesWithControlCharactersAreRefusedByName(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	for _, text := range controls {
		for field, args := range map[string][]string{
			"user_id": {"add", text, "USD", "1", "--id", "a"},
			"id":      {"add", "u1", "USD", "1", "--id", text},
			"actor":   {"add", "u1", "USD", "1", "--id", "a", "--actor", text},
		} {
			_, errs, code := s.run(args...)
			require.Equal(t, exitInvalid, code, "%q", text)
			require.Contains(t, errs, field+" ")
			require.Contains(t, errs, "contains a control character")
			requireHarmless(t, errs)
		}
	}
}
