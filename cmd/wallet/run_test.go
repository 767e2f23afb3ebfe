package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/runs"
)

func TestRunsFromTheShell(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s := newShell(t, url)
	stop := s.startWorker()
	defer stop()
	run := func(code int, want []string, args ...string) string {
		t.Helper()
		out, errs, got := s.run(args...)
		require.Equal(t, code, got, "%s%s", out, errs)
		for _, text := range want {
			require.Contains(t, out+errs, text)
		}
		return out
	}
	write := func(name string, lines ...string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		return path
	}
	id := testenv.Unique(t, "run")
	run(exitDone, nil, "add", "rhea", "USD", "10", "--id", "top-up")
	good := []string{"user_id,currency,type,amount,id,hold_id", "rhea,USD,subtract,4,,", "joe,USD,add,1,,", "rhea,USD,subtract,7,\"=late\",", "rhea,USD,hold,2,h,",
		"rhea,USD,capture,,,h", "rhea,USD,add,10,top-up,", "joe,USD,add,2,twice,", "joe,USD,add,2,twice,", "joe,USD,add,3,twice,"}
	file := write("march.csv", good...)
	bad := write("bad.csv", append(good, "joe,USD,add,1.x,,", "joe,EUX,add,1,,", "joe,USD")...)

	// Nothing is written by a check, and it says what the run then does.
	run(exitInvalid, []string{"line 11: invalid: ", `line 13: invalid: the line has 2 fields, and the header 6`, "12 lines, 2 invalid"}, "run", "check", bad, "--offline")
	checked := run(exitInvalid, []string{"line 4: refused: cannot subtract 7.00 USD: 6.00 available", `currency "EUX" is not registered`, "12 lines, 3 invalid, 2 would be refused now, 2 answered before"}, "run", "check", bad)
	require.Equal(t, checked, run(exitInvalid, nil, "run", "check", bad))
	run(exitInvalid, []string{"3 of the 12 lines of " + bad + " are invalid", "line 12: currency", "nothing was staged"}, "run", "start", bad, "--id", id)
	run(exitFailed, []string{"no such run"}, "run", "status", id)
	failures := run(exitRefused, []string{`{"lines":9,"invalid":0,"decided":true,"applied":7,"refused":2,"replayed":2}`}, "run", "check", file, "-o", "json")

	run(exitRefused, []string{"done", `run "` + id + `": 2 of 9 lines failed (refused or invalid): "wallet run failures ` + id + `" lists them`}, "run", "start", file, "--id", id)
	run(exitRefused, []string{"done"}, "run", "start", file, "--id", id)
	run(exitInvalid, []string{"run \"" + id + "\" was staged from file march.csv (SHA-256 ", "start this file under another --id"}, "run", "start", bad, "--id", id)
	var status wallet.RunStatus
	require.NoError(t, json.Unmarshal([]byte(run(exitDone, nil, "run", "status", id, "-o", "json")), &status))
	require.Equal(t, []any{wallet.RunDone, int64(9), int64(7), int64(2), int64(2)}, []any{status.State, status.Lines, status.Applied, status.Refused, status.Replayed})
	records, err := csv.NewReader(strings.NewReader(run(exitDone, nil, "run", "failures", id))).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 1+2)
	require.Equal(t, []string{"4", "refused", "rhea", "USD", "subtract", "7", "=late", "insufficient_funds"}, records[1][:8])
	require.Equal(t, []string{"10", "refused", "joe", "USD", "add", "3", "twice", "id_conflict"}, records[2][:8])
	for i, line := range strings.Split(strings.TrimSpace(failures), "\n")[:2] {
		require.Contains(t, line, fmt.Sprintf(`{"line":%s,"status":"refused"`, records[i+1][0]), "as the check has said")
	}
	require.Contains(t, run(exitDone, nil, "run", "failures", id, "--spreadsheet"), ",'=late,")

	run(exitRefused, []string{`run "` + id + `" has the same file: lines without an id are applied again in this run`}, "run", "start", file, "--id", id+"-again")

	skipping := id + "-skips"
	run(exitRefused, []string{"of 12 lines failed"}, "run", "start", bad, "--id", skipping, "--skip-invalid")
	require.Contains(t, run(exitDone, nil, "run", "failures", skipping, "-o", "json"), `{"line":12,"status":"invalid"`)

	bySQL := id + "-by-sql"
	_, err = testenv.Pool(t, url).Exec(t.Context(), `WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ($1))
		INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ($1, 1, $2, $3, '{}')`, bySQL, "=user\x1b[2J", "=1+1\x1b[2J")
	require.NoError(t, err)
	run(exitRefused, []string{"done"}, "run", "start", "--id", bySQL)
	sheet := run(exitDone, nil, "run", "failures", bySQL, "--spreadsheet")
	require.Contains(t, sheet, "1,invalid,'=user\ufffd[2J,'=1+1\ufffd[2J,")
	require.NotContains(t, sheet, "\x1b")

	run(exitDone, []string{skipping, id}, "run", "list")
	run(exitFailed, []string{`run "` + id + `" is done: there is nothing to stop`}, "run", "pause", id)
	run(exitFailed, []string{"no such run"}, "run", "cancel", "nothing")
	run(exitDone, []string{"done"}, "run", "resume", id)
	run(exitInvalid, []string{"no such file"}, "run", "start", "nowhere.csv", "--id", "x")
	run(exitInvalid, []string{"required flag(s) \"id\""}, "run", "start", file)
	run(exitInvalid, []string{"begins with an underscore"}, "run", "start", file, "--id", "_x")
	require.Contains(t, s.reads("verify"), "0 findings")
}

// TestARunIsCancelledAndResumedFromTheShell has no worker until everything is asked for.
func TestARunIsCancelledAndResumedFromTheShell(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	id, path := testenv.Unique(t, "run"), filepath.Join(t.TempDir(), "lines.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(`{"user_id":"rhea","currency":"USD","type":"add","amount":"1"}`+"\n", 1000)), 0o600))
	out, errs, code := s.run("run", "start", path, "--id", id, "--detach")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "staged")
	_, errs, code = s.run("run", "cancel", id, "--timeout", "100ms")
	require.Equal(t, exitNoAnswer, code, errs)
	stop := s.startWorker()
	defer stop()
	_, errs, code = s.run("run", "cancel", id)
	require.Contains(t, []int{exitDone, exitFailed}, code, errs) // the one before may have done it
	out, errs, code = s.run("run", "start", path, "--id", id)
	require.Equal(t, exitFailed, code, errs)
	require.Contains(t, errs, "is cancelled: resume it with \"wallet run resume "+id+"\"")
	require.Contains(t, out, "cancelled")
	_, errs, code = s.run("run", "resume", id)
	require.Equal(t, exitDone, code, errs)
	_, errs, code = s.run("run", "start", path, "--id", id)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, s.reads("balance", "rhea", "USD"), "1000.00")
}

// TestARunWithoutAWorkflowIsCancelled has one that never began, and one whose workflow was terminated.
func TestARunWithoutAWorkflowIsCancelled(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s := newShell(t, url)
	path := filepath.Join(t.TempDir(), "lines.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(`{"user_id":"ira","currency":"USD","type":"add","amount":"1"}`+"\n", 10)), 0o600))
	pool := testenv.Pool(t, url)
	staged, terminated := testenv.Unique(t, "staged"), testenv.Unique(t, "terminated")
	_, err := runs.StageFile(t.Context(), pool, runs.File{ID: staged, Path: path})
	require.NoError(t, err)
	_, errs, code := s.run("run", "start", path, "--id", terminated, "--detach")
	require.Equal(t, exitDone, code, errs)
	require.NoError(t, testenv.Temporal(t).TerminateWorkflow(t.Context(), wallet.RunWorkflowID(terminated), "", "the test's"))
	for _, id := range []string{staged, terminated} {
		out, errs, code := s.run("run", "cancel", id)
		require.Equal(t, exitDone, code, errs)
		require.Contains(t, out, "cancelled")
		_, errs, code = s.run("run", "cancel", id)
		require.Equal(t, exitFailed, code, errs)
		require.Contains(t, errs, "is already cancelled")
	}
	stop := s.startWorker()
	defer stop()
	for _, id := range []string{staged, terminated} {
		_, errs, code = s.run("run", "resume", id)
		require.Equal(t, exitDone, code, errs)
		out, errs, code := s.run("run", "start", path, "--id", id)
		require.Equal(t, exitDone, code, errs)
		require.Contains(t, out, "done")
	}
	require.Contains(t, s.reads("balance", "ira", "USD"), "20.00")
}

func TestStartingAPausedRunSaysSo(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s := newShell(t, url)
	id, path := testenv.Unique(t, "run"), filepath.Join(t.TempDir(), "lines.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"user_id":"ira","currency":"USD","type":"add","amount":"1"}`+"\n"), 0o600))
	pool := testenv.Pool(t, url)
	_, err := runs.StageFile(t.Context(), pool, runs.File{ID: id, Path: path})
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `UPDATE wallet_runs SET state = 'paused' WHERE run_id = $1`, id)
	require.NoError(t, err)
	for _, args := range [][]string{{path}, {}, {"--detach"}} {
		_, errs, code := s.run(append([]string{"run", "start", "--id", id}, args...)...)
		require.Equal(t, exitFailed, code, errs)
		require.Contains(t, errs, `run "`+id+`" is paused: resume it with "wallet run resume `+id+`"`)
	}
}
