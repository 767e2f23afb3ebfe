package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestTransactionsFromTheShell(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	defer stop()
	run := func(code int, want []string, args ...string) {
		t.Helper()
		out, errs, got := s.run(args...)
		require.Equal(t, code, got, "%s%s", out, errs)
		for _, text := range want {
			require.Contains(t, out+errs, text)
		}
	}
	id := func(name string) string { return testenv.Unique(t, name) }
	first, file := id("t"), filepath.Join(t.TempDir(), "order.json")
	run(exitDone, nil, "add", "ira", "USD", "100", "--id", "funds")
	run(exitDone, []string{"│   1 │ ira  │ USD      │ subtract │  10.00 │ applied │ 100.00 │ 90.00 │        3 │", "transaction " + first + " is applied"},
		"transfer", "ira", "joe", "USD", "10", "--id", first, "--description", "lunch")
	run(exitDone, []string{"was applied before, at 20"}, "transfer", "ira", "joe", "USD", "10", "--id", first, "--description", "lunch")
	run(exitRefused, []string{"id " + `"` + first + `"` + " was used before, with other content"}, "transfer", "ira", "joe", "USD", "11", "--id", first)
	run(exitRefused, []string{"unapplied: insufficient_funds", "unapplied: transaction_refused", "because of leg 1: cannot subtract 91.00 USD: 90.00 available"}, "transfer", "ira", "joe", "USD", "91", "--id", id("much"))
	run(exitDone, nil, "hold", "ira", "USD", "20", "--id", "order-7")
	run(exitDone, []string{"│ capture │", "order-7"}, "transfer", "ira", "till", "USD", "15", "--hold", "order-7", "--id", id("paid"))
	run(exitInvalid, []string{"the command has no id"}, "transfer", "ira", "joe", "USD", "1")
	run(exitInvalid, []string{"--partial is about a hold"}, "transfer", "ira", "joe", "USD", "1", "--partial", "--id", "x")
	run(exitDone, []string{"│   2 │ joe  │ USD"}, "transaction", "show", first)
	run(exitFailed, []string{"there is no such transaction"}, "transaction", "show", "nothing")
	require.NoError(t, os.WriteFile(file, []byte(`{"id": "`+id("file")+`", "must_balance": true, "commands": [
		{"user_id": "ira", "currency": "USD", "type": "subtract", "amount": "10"},
		{"user_id": "till", "currency": "USD", "type": "add", "amount": "9.50"}]}`), 0o600))
	run(exitInvalid, []string{"does not balance: in USD its commands take 10 and give 9.5"}, "transaction", file)
	run(exitInvalid, []string{"name a file of JSON, or - for standard input"}, "transaction", "nowhere.json")
	require.Contains(t, s.reads("commands", "joe", "USD"), "_transaction/"+first+"/2")
	require.Contains(t, s.reads("verify"), "0 findings")
}
