package main

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestReadyAsksTheWorker(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t)).with("WALLET_VERIFY_EVERY=1h")
	cmd := exec.Command(binary, "worker", "--log-format", "json")
	cmd.Env = s.env
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(log)
	var line struct{ Msg, HTTP string }
	for line.Msg != "worker is running" {
		require.True(t, lines.Scan(), "the worker has to say that it runs")
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line), lines.Text())
	}
	address := strings.TrimPrefix(line.HTTP, "http://")

	out, errs, code := s.run("ready", "--http-address", address)
	require.Equal(t, exitDone, code, errs)
	require.JSONEq(t, `{"worker": "ok", "postgres": "ok", "temporal": "ok"}`, out)
	_, port, _ := strings.Cut(address, ":")
	_, errs, code = s.run("ready", "--http-address", "0.0.0.0:"+port) // as a container's worker has it
	require.Equal(t, exitDone, code, errs)
	for !strings.Contains(lines.Text(), "verified the wallets") {
		require.True(t, lines.Scan(), "WALLET_VERIFY_EVERY lets it verify at the start")
	}

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait())
	_, errs, code = s.run("ready", "--http-address", address)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "connection refused")
}

func TestReadyWaitsUntilTheWorkerIsReadyOrTheTimeIsOver(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t)).with("WALLET_HTTP_ADDRESS=" + freeAddresses(t, 1)[0])
	_, errs, code := s.run("ready", "--wait", "1s")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "the worker is not ready after 1s: no answer (is a worker running, with this WALLET_HTTP_ADDRESS?): ")
	require.Contains(t, errs, "connection refused", "not that the time is over")
	_, errs, code = s.run("ready", "--wait", "-1s")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "--wait -1s is negative")

	waiting := make(chan [2]string)
	go func() {
		out, errs, _ := s.run("ready", "--wait", "60s")
		waiting <- [2]string{out, errs}
	}()
	defer s.startWorker()()
	got := <-waiting
	require.Empty(t, got[1])
	require.JSONEq(t, `{"worker": "ok", "postgres": "ok", "temporal": "ok"}`, got[0])
}

func TestASettingThatCannotBeReadStopsTheWorker(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	for _, row := range []struct{ setting, message string }{
		{"WALLET_VERIFY_EVERY=soon", `WALLET_VERIFY_EVERY="soon" is not a duration: set it to one such as 6h, or 0 for not at all`},
		{"WALLET_VERIFY_EVERY=6", `WALLET_VERIFY_EVERY="6" is not a duration`},
		{"WALLET_VERIFY_EVERY=-6h", `WALLET_VERIFY_EVERY="-6h" is negative: set it to a duration such as 6h`},
		{"WALLET_LOG_LEVEL=loud", `log level "loud" is unknown: set --log-level or WALLET_LOG_LEVEL to debug, info, warn, error`},
		{"WALLET_LOG_FORMAT=xml", `log format "xml" is unknown: set --log-format or WALLET_LOG_FORMAT to console or json`},
		{"WALLET_HTTP_ADDRESS=9464", `listen for metrics and probes on "9464": set WALLET_HTTP_ADDRESS`},
	} {
		_, errs, code := s.with(row.setting).run("worker")
		require.NotZero(t, code, row.setting)
		require.Contains(t, errs, row.message)
	}
	_, errs, code := s.run("worker", "--verify-every", "-6h")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "--verify-every -6h0m0s is negative")
}
