package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/failover"
	"github.com/valueledger/wallet/internal/test/doctest"
)

var programs string // the folder of wallet-dev and wallet, built once

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "wallet-bin-"); err != nil {
		panic(err)
	}
	if out, err := exec.Command("go", "build", "-o", programs, ".", "../wallet").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

// run runs wallet-dev as a user's shell would.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(filepath.Join(programs, "wallet-dev"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestTheDocsNameCommandsOfWalletDevThatThereAre(t *testing.T) {
	doctest.CheckCommands(t, filepath.Join("..", ".."), newRootCommand())
}

func TestARunNeedsTheProgramWalletBesideIt(t *testing.T) {
	alone := filepath.Join(t.TempDir(), "wallet-dev")
	require.NoError(t, os.Link(filepath.Join(programs, "wallet-dev"), alone))
	for _, command := range []string{"run", "demo", "torture", "failover", "verifybench"} {
		out, err := exec.Command(alone, command).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), `wallet is missing: build both programs with "make bin/wallet bin/wallet-dev"`)
	}
}

func TestAPortOfTheEnvironmentIsANumber(t *testing.T) {
	for _, port := range []string{"http", "-1", "65536"} {
		t.Setenv("WALLET_UI_PORT", port)
		_, errs, code := run(t, "run")
		require.Equal(t, 1, code)
		require.Equal(t, "wallet-dev: WALLET_UI_PORT=\""+port+"\" is not a port number: set it to one, or to 0 for a free port\n", errs)
	}
}

func TestVerifyBenchPrintsWhatVerifyTook(t *testing.T) {
	out, errs, code := run(t, "verifybench", "--entries", "100", "--wallets", "10")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "verified 10 wallets, 100 journal entries, 80 events: 0 findings\nwallets\t10\nentries\t100\n")
	require.Regexp(t, `\npeak memory of wallet verify\t\d+ MiB\n`, out)
}

func TestVerifyBenchMeasuresGrowth(t *testing.T) {
	for _, partitions := range []string{"0", "3"} {
		out, errs, code := run(t, "verifybench", "--growth", "10000,20000", "--wallets", "1000", "--partitions", partitions)
		require.Equal(t, 0, code, errs)
		for _, size := range []string{"10000", "20000"} {
			require.Contains(t, out, "\nentries\t"+size+" of 1000 wallets, "+partitions+" partitions\n")
		}
		require.Regexp(t, `\nwallet_commands_pkey1?\t\d+\.\d bytes per entry\n`, out)
		require.Contains(t, out, "verified 1001 wallets, 55001 journal entries, 53001 events: 0 findings", "with two sorts of 45 batches of 500")
		require.Regexp(t, `\npg_dump\t(\d+ s, \d+\.\d bytes per entry|not measured: .*)\n`, out)
	}
}

// TestAFailoverLosesNothingUnnoticed promotes a synchronous standby, which has all that was answered,
// and one that is behind: "wallet salvage" names what is lost, and has it applied again. Commands go to
// wallets and lanes, transfers to lanes and workflows of their own.
func TestAFailoverLosesNothingUnnoticed(t *testing.T) {
	for name, flags := range map[string][]string{"synchronous": nil, "asynchronous": {"--async", "--behind", "60"}} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := run(t, append([]string{"failover", "--answers", "100", "-o", "json"}, flags...)...)
			require.Zero(t, code, "%s%s", out, errs)
			var reports []failover.Report
			require.NoError(t, json.Unmarshal([]byte(out), &reports))
			require.Len(t, reports, 1)
			r := reports[0]
			require.Equal(t, name, r.Replication)
			require.Empty(t, r.Problems)
			if flags == nil {
				require.Zero(t, r.Lost)
				return
			}
			require.Greater(t, r.Lost, 30, "the standby had received most of it: the test shows nothing")
			require.Equal(t, r.Lost, r.Reported)
			require.Equal(t, r.Lost, r.Recovered)
			require.Positive(t, r.Noticed, "no wallet noticed at its next command")
		})
	}
}
