package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

var binary string // the wallet program, built once

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wallet-bin-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "wallet")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := 1
	err = testenv.With(context.Background(), func() error {
		code = m.Run()
		return nil
	})
	os.RemoveAll(dir)
	if err != nil {
		panic(err)
	}
	os.Exit(code)
}

// shell runs the program as a user's shell would, against the run's servers.
type shell struct {
	t   *testing.T
	env []string
}

func newShell(t *testing.T, databaseURL string) shell {
	return shell{t, append(os.Environ(),
		"TEMPORAL_ADDRESS="+testenv.TemporalAddress(t),
		"TEMPORAL_CONFIG_FILE="+filepath.Join(t.TempDir(), "none.toml"),
		"WALLET_DATABASE_URL="+testenv.AppURL(t, databaseURL),
		"WALLET_OWNER_DATABASE_URL="+databaseURL,
		"WALLET_HTTP_ADDRESS=127.0.0.1:0",
		"WALLET_TASK_QUEUE="+testenv.Unique(t, "queue"))}
}

func (s shell) with(variable string) shell {
	return shell{s.t, append(append([]string{}, s.env...), variable)}
}

func (s shell) run(args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(binary, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, &out, &errs
	if err := cmd.Run(); err != nil {
		require.IsType(s.t, &exec.ExitError{}, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// startWorker starts "wallet worker". stop ends it, where it has to drain and exit 0
// on SIGTERM, and returns its log.
func (s shell) startWorker() (stop func() (log string)) {
	return s.startWorkerWith("--log-format", "json")
}

func (s shell) startWorkerWith(flags ...string) (stop func() (log string)) {
	cmd := exec.Command(binary, append([]string{"worker"}, flags...)...)
	cmd.Env = s.env
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(s.t, cmd.Start())
	return func() string {
		require.NoError(s.t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(s.t, cmd.Wait(), log.String())
		require.Contains(s.t, log.String(), "worker drains and stops")
		return log.String()
	}
}

func TestCommandsReadsAndTheirExitCodes(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	stop := s.startWorker()
	defer func() {
		log := stop()
		require.NotContains(t, log, "more rights than it needs")
		require.Equal(t, 1, strings.Count(log, `"msg":"command refused"`), "one line per refused command")
		require.NotContains(t, log, "order-7", "none for an applied one")
	}()

	out, errs, code := s.run("add", "u1", "USD", "12.50", "--id", "order-7", "--description", "refund")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "│ order-7 │ add  │  12.50 │ applied │   0.00 │ 12.50 │       2 │        2 │")

	out, _, code = s.run("add", "u1", "USD", "12.5", "--id", "order-7", "--description", "refund")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "applied (answered before)")

	out, errs, code = s.run("subtract", "u1", "USD", "20", "--id", "order-8", "-o", "json")
	require.Equal(t, exitRefused, code)
	var failed struct{ Error failureReport }
	require.NoError(t, json.Unmarshal([]byte(errs), &failed))
	require.Equal(t, "order-8", failed.Error.Result.CommandID)
	var result map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.Equal(t, "insufficient_funds", result["reason"])
	require.Equal(t, "12.50", result["total_after"])

	_, errs, code = s.run("subtract", "u1", "USD", "2.50")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "the command has no id: give it one with --id", "a script that is run again would subtract again")
	_, errs, code = s.run("subtract", "u1", "USD", "2.50", "--id", "order-9", "--metadata", "note=a,b=c", "--metadata", `quote="x"`)
	require.Equal(t, exitDone, code, errs)

	out, _, code = s.run("create", "u1", "EUR", "--id", "open")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "create")

	out, _, _ = s.run("balance", "u1")
	require.Contains(t, out, "│ u1   │ USD      │ 10.00 │ 0.00 │     10.00 │       3 │")
	require.Contains(t, out, "EUR")
	out, _, _ = s.run("balance", "u1", "USD", "-o", "json")
	require.Contains(t, out, `"available":"10.00"`)
	out, _, _ = s.run("events", "u1", "USD")
	require.Contains(t, out, "wallet_asset.created")
	require.Contains(t, out, "refund")
	out, _, _ = s.run("events", "u1", "USD", "--limit", "2", "-o", "json")
	require.Equal(t, 2, strings.Count(out, "\n"))
	out, _, _ = s.run("commands", "u1", "USD", "--status", "unapplied", "-o", "json")
	require.Equal(t, 1, strings.Count(out, "\n"))
	require.Contains(t, out, `"command_id":"order-8"`)
	out, _, _ = s.run("events", "u1", "USD", "-o", "json", "--after", "2")
	require.Contains(t, out, `"metadata":{"note":"a,b=c","quote":"\"x\""}`, "verbatim")

	out, _, code = s.run("verify")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "verified 2 wallets, 5 journal entries, 4 events: 0 findings")
	_, errs, code = s.run("verify", "nobody")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `user "nobody": no such wallet`)

	out, _, code = s.run("currency", "add", "POINTS", "--scale", "0")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "POINTS")
	_, errs, code = s.run("currency", "add", "POINTS", "--scale", "2")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "currency POINTS is registered with scale 0: a scale never changes")
	out, _, _ = s.run("currency", "list", "-o", "json")
	for _, row := range []string{`{"code":"JPY","scale":0}`, `{"code":"USD","scale":2}`, `{"code":"BHD","scale":3}`, `{"code":"CLF","scale":4}`, `{"code":"POINTS","scale":0}`} {
		require.Contains(t, out, row)
	}
}

func TestBadInputHasItsExitCodeAndNamesTheValue(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"add", "u1", "USD", "1e9", "--id", "a"}, `amount "1e9" is not a plain decimal`},
		{[]string{"add", "u1", "USD", "NaN", "--id", "a"}, `amount "NaN"`},
		{[]string{"add", "--id", "a", "--", "u1", "USD", "-1"}, `amount "-1"`},
		{[]string{"add", "u1", "USD", "0", "--id", "a"}, `amount "0" of command "a" is not above 0`},
		{[]string{"add", "u1", "USD", strings.Repeat("9", 40), "--id", "a"}, "has 40 digits: at most 38"},
		{[]string{"add", "", "USD", "1", "--id", "a"}, "user_id is empty"},
		{[]string{"add", "u1", "U/D", "1", "--id", "a"}, `currency "U/D" is not a currency code`},
		{[]string{"add", "u1", "USD", "1", "--id", strings.Repeat("i", 129)}, "has 129 characters"},
		{[]string{"add", "u1", "USD", "1", "--id", "_x"}, `id "_x" begins with an underscore`},
		{[]string{"add", "u1", "USD"}, "AMOUNT is missing: wallet add USER CURRENCY AMOUNT"},
		{[]string{"balance", "u1", "usd"}, `currency "usd"`},
		{[]string{"currency", "add", "POINTS", "--scale", "99"}, "scale 99 is out of range"},
		{[]string{"currency", "add", "POINTS", "--scale", "4294967298"}, "value out of range"},
		{[]string{"commands", "u1", "--status", "maybe"}, `--status "maybe" is unknown`},
		{[]string{"balance", "u1", "-o", "yaml"}, `--output "yaml" is unknown`},
		{[]string{"worker", "--log-level", "loud"}, `log level "loud" is unknown`},
		{[]string{"frobnicate"}, `unknown command "frobnicate"`},
		{[]string{"add", "u1", "USD", "-5", "--id", "a"}, `amount "-5" is not a plain decimal`},
		{[]string{"add", "u1", "USD", "-5.00", "--id", "a"}, `amount "-5.00" is not a plain decimal`},
		{[]string{"add", "u1", "USD", "5", "-x", "--id", "a"}, `unknown shorthand flag: 'x' in -x`},
		{[]string{"add", "u1", "USD", "5", "6", "--id", "a"}, `"6" is too many: wallet add USER CURRENCY AMOUNT`},
		{[]string{"add", "u1"}, "CURRENCY and AMOUNT are missing: wallet add USER CURRENCY AMOUNT"},
		{[]string{"version", "x"}, `"x" is too many: wallet version`},
		{[]string{"currency", "add", "--scale", "2"}, "CODE is missing: wallet currency add CODE --scale N"},
		{[]string{"add", "u1", "USD", "5", "--id", "a", "--metadata", "note"}, `"note" is not KEY=VALUE`},
		{[]string{"add", "u1", "USD", "5", "--id", "a", "--metadata", "n=1", "--metadata", "n=2"}, `key "n" is given twice`},
	} {
		_, errs, code := s.run(row.args...)
		require.Equal(t, exitInvalid, code, row.args)
		require.Contains(t, errs, row.message, row.args)
	}
}

func TestTheWorkerSaysWhatIsMissing(t *testing.T) {
	good := newShell(t, testenv.DatabaseURL(t))
	empty := testenv.EmptyDatabaseURL(t)
	for name, row := range map[string]struct {
		shell   shell
		message string
	}{
		"no database url":      {good.with("WALLET_DATABASE_URL="), "WALLET_DATABASE_URL is not set"},
		"a wrong database url": {good.with("WALLET_DATABASE_URL=postgres://u:secret@127.0.0.1:1/wallet"), "no answer from Postgres at 127.0.0.1:1/wallet"},
		"not migrated":         {good.with("WALLET_DATABASE_URL=" + empty), `the database is not migrated: run "wallet migrate up"`},
		"no temporal":          {good.with("TEMPORAL_ADDRESS=127.0.0.1:1"), "no answer from Temporal at 127.0.0.1:1"},
		"a bad http address":   {good.with("WALLET_HTTP_ADDRESS=127.0.0.1:none"), `listen for metrics and probes on "127.0.0.1:none": set WALLET_HTTP_ADDRESS`},
		"no namespace":         {good.with("TEMPORAL_NAMESPACE=nowhere"), `namespace "nowhere" does not exist in Temporal`},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := row.shell.run("worker")
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, row.message)
			require.NotContains(t, errs, "secret")
		})
	}
}

func TestAWorkerWithTooManyRightsWarns(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s := newShell(t, url).with("WALLET_DATABASE_URL=" + url)
	cmd := exec.Command(binary, "worker", "--log-format", "json")
	cmd.Env = s.env
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(log)
	require.True(t, lines.Scan())
	if strings.Contains(lines.Text(), "fsync") { // which the servers of tests run without
		require.True(t, lines.Scan())
	}
	require.Contains(t, lines.Text(), `"level":"warn"`)
	require.Contains(t, lines.Text(), "more rights than it needs: connect as wallet_app")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait())
}

func TestMigrateUpAndStatus(t *testing.T) {
	s := newShell(t, testenv.EmptyDatabaseURL(t))
	out, _, _ := s.run("migrate", "status")
	require.Contains(t, out, "false")
	out, errs, code := s.run("migrate", "up")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "applied migration 1")
	out, _, _ = s.run("migrate", "up")
	require.Contains(t, out, "nothing to do")
	out, _, _ = s.run("migrate", "status", "-o", "json")
	require.Contains(t, out, `"version":1,"name":"00001_ledger.sql","applied":true`)

	// The service's role may ask too.
	out, errs, code = s.with("WALLET_OWNER_DATABASE_URL=").run("migrate", "status")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "true")
}

func TestADatabaseOfTheCommandLineCountsMoreThanTheEnvironment(t *testing.T) {
	migrated, empty := testenv.DatabaseURL(t), testenv.EmptyDatabaseURL(t)
	s := newShell(t, migrated)
	out, _, _ := s.run("migrate", "status", "--database-url", empty, "-o", "json")
	require.Contains(t, out, `"applied":false`)
	out, _, _ = s.run("migrate", "status", "--database-url", empty, "--owner-database-url", migrated, "-o", "json")
	require.NotContains(t, out, `"applied":false`)

	_, errs, code := s.run("currency", "add", "POINTS", "--scale", "0", "--database-url", empty)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "(--database-url): the database is not migrated")
}

func TestAFailureOfTheOwnerNamesItsDatabase(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	wrong := s.with("WALLET_OWNER_DATABASE_URL=postgres://u:secret@127.0.0.1:1/wallet")
	for _, args := range [][]string{{"currency", "add", "POINTS", "--scale", "0"}, {"migrate", "up"}, {"migrate", "status"}} {
		_, errs, code := wrong.run(args...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, "WALLET_OWNER_DATABASE_URL")
		require.NotContains(t, errs, "(WALLET_DATABASE_URL)")
		require.NotContains(t, errs, "secret")
	}
	_, errs, code := s.with("WALLET_OWNER_DATABASE_URL=").run("currency", "add", "POINTS", "--scale", "0")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "only the owner of the tables may do this: set WALLET_OWNER_DATABASE_URL to connect as that role (this was WALLET_DATABASE_URL)")
}

func TestMigrateUpSaysHowFarItCameAndWhatPostgresAdvises(t *testing.T) {
	url := testenv.EmptyDatabaseURL(t)
	_, err := testenv.Pool(t, url).Exec(t.Context(), `
		CREATE FUNCTION no_feed() RETURNS event_trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.wallet_feed') THEN
					RAISE 'no feed here' USING HINT = 'Ask the administrator.';
				END IF;
			END $$;
		CREATE EVENT TRIGGER no_feed ON ddl_command_end EXECUTE FUNCTION no_feed()`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	out, errs, code := newShell(t, url).run("migrate", "up")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "applied migration 1\n", out)
	require.Contains(t, errs, "no feed here")
	require.Contains(t, errs, "hint: Ask the administrator.\n")
}

// startConsoleWorker is startWorker with the log as a person reads it.
func (s shell) startConsoleWorker() (stop func() (log string)) { return s.startWorkerWith() }
