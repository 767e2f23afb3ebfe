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
	require.Contains(t, errs, "the worker is not ready after 1s: ")
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
