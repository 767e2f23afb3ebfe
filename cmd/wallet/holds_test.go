package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

func nameOf(kind wallet.Kind) string { return strings.ReplaceAll(string(kind.Type), "_", "-") }

// TestEveryTypeOfCommandIsACommandOfTheProgram: with a flag or an argument for each field
// that the type takes.
func TestEveryTypeOfCommandIsACommandOfTheProgram(t *testing.T) {
	root := newRootCommand()
	for _, kind := range wallet.CallersKinds() {
		cmd, _, err := root.Find([]string{nameOf(kind)})
		require.NoError(t, err)
		require.Equal(t, nameOf(kind), cmd.Name())
		require.NotEmpty(t, cmd.Short)
		require.NotEmpty(t, cmd.Example)
		require.True(t, takesWallet(cmd))
		for _, field := range slices.Concat(kind.Required, kind.Optional) {
			flag := strings.ReplaceAll(strings.TrimSuffix(field, "_id"), "_", "-")
			require.True(t, cmd.Flags().Lookup(flag) != nil || strings.Contains(cmd.Use, strings.ToUpper(field)), "%s takes %s", kind.Type, field)
		}
	}
	schedule, _, err := root.Find([]string{"schedule", "create"})
	require.NoError(t, err)
	for _, kind := range wallet.CallersKinds() {
		// A command is reversed once, and a threshold or a credit limit set once, so that no schedule does.
		amount := slices.Contains(slices.Concat(kind.Required, kind.Optional), "amount") && kind.Type != wallet.TypeReverse && kind.Type != wallet.TypeSetThreshold && kind.Type != wallet.TypeSetCreditLimit
		require.Equal(t, amount, schedule.Flags().Lookup(string(kind.Type)) != nil, "schedule create --%s", kind.Type)
	}
	var take []string
	for _, cmd := range root.Commands() {
		if takesWallet(cmd) && !slices.ContainsFunc(wallet.CallersKinds(), func(k wallet.Kind) bool { return nameOf(k) == cmd.Name() }) {
			take = append(take, cmd.Name())
		}
	}
	require.ElementsMatch(t, []string{"balance", "holds", "grants", "statement", "events", "commands", "verify", "receipt", "head", "repair", "doctor", "salvage"}, take)
}

func TestHoldsFromTheShell(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	defer stop()
	applied := func(want string, args ...string) {
		out, errs, code := s.run(args...)
		require.Equal(t, exitDone, code, "%s%s", out, errs)
		require.Contains(t, out, want)
	}
	refused := func(want string, args ...string) {
		out, errs, code := s.run(args...)
		require.Equal(t, exitRefused, code, "%s%s", out, errs)
		require.Contains(t, out, want)
	}
	applied("", "add", "u7", "USD", "100", "--id", "funds")
	applied("hold order-7 is open: 80.00 left, expires 20", "hold", "u7", "USD", "80", "--id", "order-7", "--expires-in", "15m")
	refused("unapplied: insufficient_funds", "subtract", "u7", "USD", "21", "--id", "too-much")
	applied("hold order-7 is open: 90.00 left", "hold", "u7", "USD", "10", "--hold", "order-7", "--id", "raise", "--expires-at", "2099-01-01")
	applied("hold order-7 is open: 90.00 left, expires 2100-01-01", "hold", "u7", "USD", "--hold", "order-7", "--id", "extend", "--expires-at", "2100-01-01")
	refused("hold_exceeded", "capture", "u7", "USD", "--hold", "order-7", "--amount", "90.01", "--id", "exceeds")
	applied("hold order-7 is open: 60.00 left", "capture", "u7", "USD", "--hold", "order-7", "--amount", "30", "--partial", "--id", "parcel-1")
	applied("hold order-7 is open: 50.00 left", "release", "u7", "USD", "--hold", "order-7", "--amount", "10", "--id", "item-2")
	out := s.reads("balance", "u7", "USD")
	require.Contains(t, out, "│ u7   │ USD      │ 70.00 │ 50.00 │     20.00 │")
	applied("hold order-7 is captured", "capture", "u7", "USD", "--hold", "order-7", "--id", "parcel-2")
	refused("hold_closed", "release", "u7", "USD", "--hold", "order-7", "--id", "late")
	refused("hold_not_found", "capture", "u7", "USD", "--hold", "funds", "--id", "wrong")

	require.Contains(t, s.reads("holds", "u7"), "│ currency │ hold id │ state    │ amount │ captured │ released │ left │ placed")
	require.Contains(t, s.reads("holds", "u7", "USD"), "│ order-7 │ captured │  90.00 │    80.00 │    10.00 │ 0.00 │ 20")
	require.Equal(t, "user \"u7\" has no open holds in USD\n", s.reads("holds", "u7", "USD", "--state", "open"))
	require.Contains(t, s.reads("commands", "u7", "USD"), "│ parcel-1     │ capture  │  30.00 │ applied                       │ 100.00 │  70.00 │       6 │        8 │ order-7 │")
	require.Contains(t, s.reads("events", "u7", "USD"), "│ hold id │ description")
	statement := s.reads("statement", "u7", "USD")
	require.Contains(t, statement, "1 added, 2 subtracted, 5 without a change of the total (in brackets)")
	require.Contains(t, statement, "wallet_asset.held     │ order-7      │        │            │ (100.00) │ 80.00 │")
	require.Contains(t, statement, "wallet_asset.captured │ parcel-1     │        │      30.00 │    70.00 │ 60.00 │")

	var entry map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.reads("commands", "u7", "USD", "--after", "2", "--limit", "1", "-o", "json")), &entry))
	require.Equal(t, "15m", entry["expires_in"])
	require.Equal(t, "order-7", entry["hold_id"])
	require.NotContains(t, entry, "id")
	require.NoError(t, json.Unmarshal([]byte(s.reads("commands", "u7", "USD", "--after", "7", "--limit", "1", "-o", "json")), &entry))
	require.Equal(t, true, entry["partial"])
}

func TestBadHoldsNameTheValue(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"capture", "u7", "USD", "--id", "a"}, `required flag(s) "hold" not set`},
		{[]string{"capture", "u7", "USD", "30", "--hold", "h", "--id", "a"}, `"30" is too many: wallet capture USER CURRENCY`},
		{[]string{"capture", "u7", "USD", "--hold", "h", "--amount", "", "--id", "a"}, "--amount is empty: give it a value, or leave it out"},
		{[]string{"hold", "u7", "USD", "5", "--hold", "", "--id", "a"}, "--hold is empty"},
		{[]string{"hold", "u7", "USD", "5", "--expires-in", "", "--id", "a"}, "--expires-in is empty"},
		{[]string{"hold", "u7", "USD", "", "--hold", "h", "--id", "a"}, `amount "" is not a plain decimal`},
		{[]string{"hold", "u7", "USD", "5", "--expires-in", "soon", "--id", "a"}, `expires_in "soon" is not a duration`},
		{[]string{"hold", "u7", "USD", "5", "--expires-at", "", "--id", "a"}, `invalid argument "" for "--expires-at" flag`},
		{[]string{"hold", "u7", "USD", "5", "--expires-in", "1m", "--expires-at", "2099-01-01", "--id", "a"}, "[expires-in expires-at]"},
		{[]string{"hold", "u7", "USD", "--id", "a"}, `command "a" has no amount`},
		{[]string{"holds"}, "USER is missing: wallet holds USER [CURRENCY]"},
		{[]string{"holds", "u7"}, `user "u7": no such wallet`},
		{[]string{"holds", "u7", "USD", "--state", "closed"}, `--state "closed" is unknown: use open, captured, released, expired`},
	} {
		_, errs, code := s.run(row.args...)
		require.Equal(t, codeOf(row.message), code, row.args)
		require.Contains(t, errs, row.message, row.args)
	}
}

// TestAHoldThatIsDueIsAvailable has no worker that could record its expiry.
func TestAHoldThatIsDueIsAvailable(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	steps, ref := activities.New(db), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	_, err := steps.EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	out, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{
		{Command: wallet.Command{ID: "funds", Type: wallet.TypeAdd, Amount: wallet.MustAmount("100")}},
		{Command: wallet.Command{ID: "due", Type: wallet.TypeHold, Amount: wallet.MustAmount("80"), ExpiresIn: "1s"}},
		{Command: wallet.Command{ID: "kept", Type: wallet.TypeHold, Amount: wallet.MustAmount("5"), ExpiresIn: "1h"}},
	}})
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `SELECT pg_sleep(1.1)`)
	require.NoError(t, err)

	s := newShell(t, url)
	note := "80.00 USD of holds has expired and is available again; the journal's entry of it is still to come\n"
	balance := s.reads("balance", "u1", "USD")
	require.Contains(t, balance, "│ u1   │ USD      │ 100.00 │ 5.00 │     95.00 │")
	require.True(t, strings.HasSuffix(balance, note), balance)
	require.Contains(t, s.reads("balance", "u1", "-o", "json"), `"hold":"5.00","available":"95.00","due":"80.00",`)
	require.Contains(t, s.reads("statement", "u1", "USD"), note)
	require.Contains(t, s.reads("statement", "u1", "USD", "-o", "json"), `"hold":"5.00","available":"95.00","due":"80.00",`)
	require.NotContains(t, s.reads("statement", "u1", "USD", "--to", out.Asset.UpdatedAt.Add(time.Millisecond).Format(time.RFC3339Nano)), note, "the past is what the journal says")
	require.Contains(t, s.reads("holds", "u1", "USD", "--state", "expired"), "│ due     │ expired │  80.00 │     0.00 │    80.00 │ 0.00 │")
	require.NotContains(t, s.reads("holds", "u1", "USD", "--state", "open"), "│ due ")
}

func TestAShellCompletesHolds(t *testing.T) {
	url := testenv.DatabaseURL(t)
	steps, ref := activities.New(testenv.Pool(t, url)), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	_, err := steps.EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	_, err = steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{
		{Command: wallet.Command{ID: "funds", Type: wallet.TypeAdd, Amount: wallet.MustAmount("100")}},
		{Command: wallet.Command{ID: "order-7", Type: wallet.TypeHold, Amount: wallet.MustAmount("80")}},
	}})
	require.NoError(t, err)
	s := newShell(t, url)
	require.Contains(t, s.reads(cobra.ShellCompNoDescRequestCmd, "capture", "u1", "USD", "--hold", ""), "order-7\n")
	require.Contains(t, s.reads(cobra.ShellCompNoDescRequestCmd, "holds", "u1", "--state", ""), "open\ncaptured\nreleased\nexpired\n")
	require.Contains(t, s.reads(cobra.ShellCompNoDescRequestCmd, "hold", "u1", ""), "USD\n")
}
