package main

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestReverseFreezeAndCloseFromTheShell, and what the reads say of it.
func TestReverseFreezeAndCloseFromTheShell(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	defer stop()
	exits := func(code int, want string, args ...string) {
		t.Helper()
		out, errs, got := s.run(args...)
		require.Equal(t, code, got, "%s%s", out, errs)
		require.Contains(t, out, want)
	}
	exits(exitDone, "", "add", "u8", "USD", "20", "--id", "funds")
	exits(exitDone, "", "subtract", "u8", "USD", "10", "--id", "order-7")
	exits(exitDone, "4.00 of order-7 left to reverse", "reverse", "u8", "USD", "--original", "order-7", "--amount", "6", "--id", "return-1")
	exits(exitRefused, "only 4.00 of the 10.00 USD", "reverse", "u8", "USD", "--original", "order-7", "--amount", "6", "--id", "return-2")
	exits(exitDone, "0.00 of order-7 left to reverse", "reverse", "u8", "USD", "--original", "order-7", "--id", "return-3")
	exits(exitInvalid, "", "reverse", "u8", "USD", "--id", "of-what")

	require.Contains(t, s.reads("commands", "u8", "USD"), "│ reverses │ reversed │ at")
	require.Contains(t, s.reads("statement", "u8", "USD"), "│ order-7  │          │ ")
	require.Contains(t, s.reads("statement", "u8", "USD", "-o", "json"), `"reversed":"10.00","changes_total":true`)
	require.Contains(t, s.reads("find", "order-7", "-o", "json"), `"reversed":"10.00"`)
	require.Equal(t, []string{"return-1", "return-3"}, commandIDs(s.reads("commands", "u8", "USD", "--reverses", "order-7", "-o", "json")))
	require.Equal(t, []string{"return-3"}, commandIDs(s.reads("commands", "u8", "USD", "--reverses", "order-7", "--after", "4", "-o", "json")))
	require.Empty(t, s.reads("commands", "u8", "USD", "--reverses", "return-1", "-o", "json"))
	exits(exitInvalid, "", "commands", "u8", "--reverses", "order-7")
	require.NotContains(t, s.reads("events", "u8", "USD", "-o", "json"), `"reversed"`, "an event never changes")

	exits(exitDone, "", "freeze", "u8", "USD", "--what", "debits", "--id", "case-1")
	exits(exitRefused, "unapplied: frozen", "subtract", "u8", "USD", "1", "--id", "s")
	require.Contains(t, s.reads("balance", "u8", "USD"), "frozen: debits")
	exits(exitInvalid, "", "freeze", "u8", "USD", "--what", "everything", "--id", "case-2")
	exits(exitDone, "", "unfreeze", "u8", "USD", "--id", "case-1-over")
	require.NotContains(t, s.reads("balance", "u8", "USD"), "state")
	exits(exitDone, "frozen: debits until 2099-12-31 00:00:00", "freeze", "u8", "USD", "--what", "debits", "--expires-at", "2099-12-31", "--id", "case-3")
	exits(exitRefused, "debits are frozen until 2099-12-31T00:00:00Z", "subtract", "u8", "USD", "1", "--id", "s2")
	exits(exitRefused, "unapplied: freeze_expired", "freeze", "u8", "USD", "--what", "debits", "--expires-at", "2001-01-01", "--id", "case-4")
	require.Contains(t, s.reads("balance", "u8", "USD"), "frozen: debits until 2099-12-31 00:00:00")
	require.Contains(t, s.reads("balance", "u8", "USD", "-o", "json"), `"debits_frozen_until":"2099-12-31T00:00:00Z"`)
	exits(exitDone, "", "unfreeze", "u8", "USD", "--id", "case-3-over")
	exits(exitRefused, "unapplied: not_empty", "close", "u8", "USD", "--id", "close-1")
	exits(exitDone, "", "subtract", "u8", "USD", "20", "--id", "out")
	exits(exitDone, "", "close", "u8", "USD", "--id", "close-2")
	exits(exitRefused, "unapplied: closed", "add", "u8", "USD", "1", "--id", "late")
	require.Contains(t, s.reads("balance", "u8", "USD", "-o", "json"), `"closed":true`)
	exits(exitDone, "", "create", "u8", "USD", "--id", "again")
}

var commandID = regexp.MustCompile(`"command_id":"([^"]*)"`)

// commandIDs are those of entries as JSON.
func commandIDs(out string) (ids []string) {
	for _, match := range commandID.FindAllStringSubmatch(out, -1) {
		ids = append(ids, match[1])
	}
	return ids
}
