package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service/schedules"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestTheCommandsOfTheSchedulesDoc runs every command of docs/schedules.md in a shell,
// with names and a user of the test's own.
func TestTheCommandsOfTheSchedulesDoc(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	defer stop()
	_, errs, code := s.run("setup", "--nexus-endpoint", endpointName(t))
	require.Zero(t, code, errs)

	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "schedules.md"))
	require.NoError(t, err)
	cli, err := devstack.FindTemporalCLI()
	require.NoError(t, err)
	mark := strings.ReplaceAll(testenv.Unique(t, "x"), "/", "-")
	script := "set -e\nwallet() { '" + binary + "' \"$@\"; }\ntemporal() { '" + cli + "' \"$@\"; }\n"
	for i, block := range strings.Split(string(doc), "```") {
		if commands, ok := strings.CutPrefix(block, "sh\n"); ok && i%2 == 1 {
			script += commands
		}
	}
	for _, name := range []string{"monthly-credit", "points ", "fee ", "weekly-credit"} {
		script = strings.ReplaceAll(script, name, mark+"-"+name)
	}
	script = strings.NewReplacer("u1", mark, "--task-queue wallet ", "--task-queue \"$WALLET_TASK_QUEUE\" ").Replace(script)
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
	require.Contains(t, string(out), "on day 1 of the month at 00:00 Europe/Berlin")
	require.Contains(t, string(out), "│ add  │  10.00 │ applied │")

	out2, errs, code := s.run("schedule", "run", mark+"-weekly-credit", "-o", "json")
	require.Zero(t, code, errs, "one of other means")
	var result map[string]any
	require.NoError(t, json.Unmarshal([]byte(out2), &result))
	require.Contains(t, result["command_id"], "schedule/"+mark+"-weekly-credit/20")
	require.Equal(t, "20.00", result["total_after"])
	out2, _, code = s.run("schedule", "run", mark+"-weekly-credit")
	require.Zero(t, code)
	require.Contains(t, out2, "answered before")
	requireScheduledHolds(s, mark)
	listed := func() string { // it lags behind
		out, errs, code := s.run("schedule", "list", "--user", mark)
		require.Zero(t, code, errs)
		return out
	}
	require.Eventually(t, func() bool { return strings.Count(listed(), mark+"-") == 2 }, time.Minute, 200*time.Millisecond,
		"points and fee: monthly-credit was deleted, weekly-credit names no user")
	require.Regexp(t, mark+`-fee +│ `+mark+` +│ USD +│ subtract +│ +2.50 │ on day 1 of the month at 09:00 UTC +│ 20\d\d-\d\d-01 09:00:00Z`, listed())
	for _, name := range []string{"points", "fee", "weekly-credit"} {
		_, errs, code := s.run("schedule", "delete", mark+"-"+name)
		require.Zero(t, code, errs)
	}
}

// requireScheduledHolds has one schedule place a hold, and others use it up and raise it.
func requireScheduledHolds(s shell, user string) {
	holdID := ""
	for _, row := range []struct {
		name string
		args []string
		left string
	}{
		{"deposit", []string{"--hold", "5", "--expires-in", "7d"}, "5.00"},
		{"instalment", []string{"--capture", "2"}, "3.00"},
		{"refund", []string{"--release", "0.50"}, "2.50"},
		{"more", []string{"--hold", "1"}, "3.50"},
	} {
		args := append([]string{"schedule", "create", user + "-" + row.name, "--user", user, "--currency", "USD", "--every", "24h"}, row.args...)
		if holdID != "" {
			args = append(args, "--hold-id", holdID)
		}
		_, errs, code := s.run(args...)
		require.Zero(s.t, code, errs)
		out, errs, code := s.run("schedule", "run", user+"-"+row.name, "-o", "json")
		require.Zero(s.t, code, errs)
		var result wallet.Result
		require.NoError(s.t, json.Unmarshal([]byte(out), &result))
		require.Equal(s.t, wallet.HoldOpen, result.HoldState)
		require.Equal(s.t, row.left, result.HoldLeft.String())
		if holdID == "" {
			holdID = result.HoldID
		}
		_, errs, code = s.run("schedule", "delete", user+"-"+row.name)
		require.Zero(s.t, code, errs)
	}
}

func TestWrongSchedulesAreRefused(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	name := testenv.Unique(t, "s")
	good := []string{"--user", "u1", "--currency", "USD", "--add", "1", "--every", "8760h"}
	create := func(args ...string) []string { return append([]string{"schedule", "create", name}, args...) }
	_, errs, code := s.run(create(good...)...)
	require.Zero(t, code, errs)
	defer s.run("schedule", "delete", name)
	for _, row := range []struct {
		args    []string
		message string
	}{
		{create(good...), "exists: delete it first"},
		{create("--user", "u1", "--currency", "USD", "--add", "1"), "at least one of the flags in the group [cron every calendar] is required"},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--subtract", "1", "--every", "1h"), "none of the others can be"},
		{create("--user", "u1", "--currency", "USD", "--capture", "1", "--every", "1h"), "hold_id"},
		{create("--user", "u1", "--currency", "USD", "--subtract", "1", "--expires-in", "1h", "--every", "1h"), "expires_in"},
		{create("--user", "u1", "--currency", "USD", "--hold", "1", "--expires-in", "soon", "--every", "1h"), `expires_in "soon" is not a duration`},
		{create("--user", "u1", "--currency", "USD", "--subtract", "1", "--expires-at-next", "--every", "1h"), "expires_at"},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--expires-in", "1h", "--expires-at-next", "--every", "1h"), "expires_in"},
		{create("--user", "u1", "--currency", "usd", "--add", "1", "--every", "1h"), `currency "usd"`},
		{create("--user", "u1", "--currency", "NONE", "--add", "1", "--every", "1h"), `currency "NONE" is not registered: use one that is, or have it added with "wallet currency add NONE --scale N"`},
		{create("--user", "u1", "--currency", "USD", "--add", "1.999", "--every", "1h"), "amount 1.999 has more decimals than USD allows (2)"},
		{create("--user", "u1", "--currency", "USD", "--add", "-1", "--every", "1h"), `amount "-1"`},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--every", "1500ms"), "use whole seconds"},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--cron", "tomorrow"), "CronString does not have 5-7 fields"},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--cron", "0 0 1 * *", "--timezone", "Mars"), `time zone "Mars" is not known here`},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--cron", "0 0 1 * *", "--timezone", "Local"), `time zone "Local" is another on each machine`},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--calendar", `{"day":"1"}`), `unknown field "day"`},
		{create("--user", "u1", "--currency", "USD", "--add", "1", "--calendar", `{"hour":"1 2"}`), `"1 2" is not a value`},
		{[]string{"schedule", "create", strings.Repeat("n", 99), "--user", "u1", "--currency", "USD", "--add", "1", "--every", "1h"}, "has 99 characters: choose one of 1 to 98"},
		{[]string{"schedule", "create", strings.Repeat("€", 78), "--user", "u1", "--currency", "USD", "--add", "1", "--every", "1h"}, "has 234 bytes in UTF-8: choose one of at most 232"},
		{[]string{"schedule", "lst"}, `unknown command "lst" for "wallet schedule": did you mean list?`},
		{[]string{"schedule", "delet", "x"}, `unknown command "delet" for "wallet schedule": did you mean delete?`},
		{[]string{"schedule", "run", "nothing-of-this-name"}, `look up schedule "nothing-of-this-name"`},
	} {
		_, errs, code := s.run(row.args...)
		require.Equal(t, codeOf(row.message), code, row.args)
		require.Contains(t, errs, row.message, row.args)
	}
}

// TestASchedulesClockChangesArePrinted: with what is known of its currency.
func TestASchedulesClockChangesArePrinted(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	name, user := testenv.Unique(t, "s"), testenv.Unique(t, "u")
	create := []string{"schedule", "create", name, "--user", user, "--currency", "USD", "--add", "1.990", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"}
	defer s.run("schedule", "delete", name)
	out, errs, code := s.run(create...)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	never, twice := name+`, \d{4}-03-\d\d in Europe/Berlin: 02:30 does not exist: skipped`, name+`, \d{4}-10-\d\d in Europe/Berlin: 02:30 exists twice: paid once, at \d{4}-10-\d\dT01:30:00Z`
	require.Regexp(t, never, out)
	require.Regexp(t, twice, out)
	require.Eventually(t, func() bool { // the list lags behind
		out, errs, code = s.run("schedule", "list", "--user", user)
		require.Zero(t, code, errs)
		return strings.Contains(out, name+",")
	}, time.Minute, 200*time.Millisecond)
	require.Regexp(t, never, out)
	require.Regexp(t, twice, out)

	out, errs, code = s.run("schedule", "list", "--user", user, "-o", "json")
	require.Zero(t, code, errs)
	var entry schedules.Entry
	require.NoError(t, json.Unmarshal([]byte(out), &entry))
	require.Equal(t, "cron 30 2 * * * Europe/Berlin", entry.When)
	require.Equal(t, "every day at 02:30 Europe/Berlin", entry.Times)
	require.Len(t, entry.ClockChanges, 2)
	for _, change := range entry.ClockChanges {
		require.Equal(t, []string{"02:30"}, change.Times)
	}

	_, errs, code = s.run("schedule", "delete", name)
	require.Zero(t, code, errs)
	_, errs, code = s.with("WALLET_DATABASE_URL=").run(create...)
	require.Zero(t, code)
	require.Equal(t, 1, strings.Count(errs, "\n"))
	require.Contains(t, errs, "not checked whether the currency is registered")
	_, errs, code = s.with("WALLET_DATABASE_URL=postgres://nobody@127.0.0.1:1/none").run(create...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "look up currency USD")
}

func TestSetupMayBeRepeatedAndLeadsTheEndpointHere(t *testing.T) {
	s, name := newShell(t, testenv.DatabaseURL(t)), endpointName(t)
	for range 2 {
		out, errs, code := s.run("setup", "--nexus-endpoint", name)
		require.Zero(t, code, errs)
		require.Contains(t, out, "Nexus endpoint "+name+" leads to its task queue queue-")
	}
	out, errs, code := s.run("setup", "--nexus-endpoint", name, "--task-queue", "another")
	require.Zero(t, code, errs)
	require.Contains(t, out, "leads to its task queue another")
	_, errs, code = s.run("setup", "--nexus-endpoint", "1/2")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, `register Nexus endpoint "1/2"`)
}

func endpointName(t *testing.T) string {
	return strings.NewReplacer("_", "-", "/", "-").Replace(testenv.Unique(t, "e"))
}
