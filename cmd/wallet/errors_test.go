package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

// failure runs a command with -o json that has to fail, and returns its error.
func (s shell) failure(args ...string) (report failureReport, stdout string) {
	stdout, errs, code := s.run(append(args, "-o", "json")...)
	var failed struct{ Error failureReport }
	require.NoError(s.t, json.Unmarshal([]byte(errs), &failed), "%q of %q", errs, args)
	require.Equal(s.t, code, failed.Error.ExitCode, args)
	return failed.Error, stdout
}

// codeOf tells an error about what there is not from one about the input.
func codeOf(message string) int {
	for _, missing := range []string{"no such wallet", "owns nothing", "its versions are", "look up schedule", "exists: delete it first"} {
		if strings.Contains(message, missing) {
			return exitFailed
		}
	}
	return exitInvalid
}

func TestEachFailureHasItsExitCodeAndItsJSON(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	user, stuck := testenv.Unique(t, "user"), testenv.Unique(t, "stuck")
	refused, out := s.failure("subtract", user, "USD", "5", "--id", "order-7")
	stop()
	require.Equal(t, exitRefused, refused.ExitCode)
	require.Equal(t, "refused", refused.Kind)
	require.EqualValues(t, "insufficient_funds", refused.Reason)
	require.EqualValues(t, "order-7", refused.Result.CommandID)
	require.Contains(t, out, `"command_id":"order-7"`, "the result is on stdout, as that of an applied command is")

	noAnswer, out := s.failure("add", stuck, "USD", "5", "--id", "order-8", "--timeout", "1s")
	require.Equal(t, exitNoAnswer, noAnswer.ExitCode)
	require.Equal(t, "no_answer", noAnswer.Kind)
	require.Equal(t, "order-8", noAnswer.CommandID)
	require.Contains(t, noAnswer.Message, "send it again with the same id: no answer within 1s (is a worker running on task queue")
	require.Empty(t, out)
	noTemporal, _ := s.with("TEMPORAL_ADDRESS=127.0.0.1:1").failure("add", stuck, "USD", "5", "--id", "order-8")
	require.Equal(t, "no_answer", noTemporal.Kind, "sending it again is what is to be done, too")

	invalid, _ := s.failure("add", "u1", "USD", "1e9", "--id", "a")
	require.Equal(t, failureReport{Kind: "invalid", ExitCode: exitInvalid, Message: invalid.Message, Reason: "malformed", Field: "amount", Value: "1e9"}, invalid)
	for _, args := range [][]string{
		{"add", "u1"}, {"frobnicate"}, {"schedule", "frobnicate"}, {"balance", "u1", "--frobnicate"}, {"capture", "u1", "USD"},
		{"commands", "--limit", "-1"}, {"commands", "--limit", "many"}, {"balance", "u1", "--at", "noon"}, {"verify", "--log-level", "loud"}, {"help", "frobnicate"},
		{"balance", "usd", "x"}, {"events", "--after", "x"}, {"worker", "--build-id", "7"},
	} {
		invalid, _ := s.failure(args...)
		require.Equal(t, "invalid", invalid.Kind, args)
		require.Equal(t, exitInvalid, invalid.ExitCode, args)
	}
	for _, args := range [][]string{{"balance", "nobody"}, {"verify", "nobody"}, {"ready", "--http-address", "127.0.0.1:1"}, {"schedule", "run", "none"}} {
		failed, _ := s.failure(args...)
		require.Equal(t, "failed", failed.Kind, args)
		require.Equal(t, exitFailed, failed.ExitCode, args)
	}
	wrongQuery, _ := s.failure("replay", "--query", "Nonsense = 1")
	require.Equal(t, "invalid", wrongQuery.Kind, "the server says so")
	unreadable, _, code := s.run("balance", "nobody", "-o", "yaml")
	require.Empty(t, unreadable)
	require.Equal(t, exitInvalid, code)
}

func TestExitCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile(docsPath("contract.md"))
	require.NoError(t, err)
	topic := exitCodesTopic().Long
	for code, o := range exits {
		require.Equal(t, code, o.code)
		if o.kind != "" {
			require.Contains(t, string(page), fmt.Sprintf("%d `%s`", o.code, o.kind))
		}
		require.Contains(t, topic, fmt.Sprintf("  %d  %s\n", o.code, o.meaning))
	}
}

func TestAnErrorIsJSONWhereverTheFlagStands(t *testing.T) {
	for args, asks := range map[string]bool{
		"balance u1": false, "balance -o json": true, "balance -ojson": true, "-o=json balance": true, "--output json --wrong": true,
		"--output=json": true, "-o table": false, "-o json -o table": false, "add -- -o json": false, "balance -o": false,
	} {
		require.Equal(t, asks, asksForJSON(strings.Fields(args)), args)
	}
}
