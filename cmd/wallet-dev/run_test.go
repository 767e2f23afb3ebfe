package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// devRun is "wallet-dev run".
type devRun struct {
	t       *testing.T
	dir     string
	env     []string
	printed string
	stop    func() // as Ctrl-C does
}

func startRun(t *testing.T) devRun {
	r := devRun{t: t, dir: t.TempDir()}
	dev := exec.Command(filepath.Join(programs, "wallet-dev"), "run", "--dir", r.dir)
	r.env = append(os.Environ(), "TEMPORAL_CONFIG_FILE="+filepath.Join(r.dir, "none.toml"))
	dev.Env = r.env
	var errs bytes.Buffer
	dev.Stderr = &errs
	stdout, err := dev.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, dev.Start())
	r.stop = sync.OnceFunc(func() {
		require.NoError(t, dev.Process.Signal(syscall.SIGINT))
		require.NoError(t, dev.Wait(), errs.String())
		require.NotContains(t, errs.String(), "INFO", "no log among the results")
	})
	t.Cleanup(r.stop)
	ready := false
	for lines := bufio.NewScanner(stdout); !ready && lines.Scan(); {
		r.printed += lines.Text() + "\n"
		ready = strings.Contains(lines.Text(), "temporal workflow update execute")
	}
	require.True(t, ready, errs.String())
	return r
}

// sh runs a command in another terminal, with the environment that the run has written.
func (r devRun) sh(command string) string {
	cmd := exec.Command("sh", "-c", `. "$0" && `+command, filepath.Join(r.dir, "env"))
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, string(out))
	return string(out)
}

// TestARunHasTheHTTPAPIAndWebhooks pastes its curl line, whose event has to come to a receiver that
// was added over HTTP.
func TestARunHasTheHTTPAPIAndWebhooks(t *testing.T) {
	r := startRun(t)
	arrived := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- string(body)
	}))
	t.Cleanup(receiver.Close)
	require.Contains(t, r.sh(`curl -s "$WALLET_API_URL/v1/webhooks" -H "Authorization: Bearer $WALLET_API_TOKEN" -H 'Content-Type: application/json' `+
		`-d '{"url":"`+receiver.URL+`","users":["u1"]}'`), `"secret":"whsec_`)

	line := regexp.MustCompile(`(?m)^  (curl .*)$`).FindStringSubmatch(r.printed)
	require.NotNil(t, line, r.printed)
	var answers []string
	for range 2 { // the same again changes nothing
		paste := exec.Command("sh", "-c", line[1])
		paste.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := paste.Output()
		require.NoError(t, err)
		answers = append(answers, string(out))
	}
	require.Contains(t, answers[0], `"status":"applied"`)
	require.Equal(t, answers[0], answers[1])
	require.Contains(t, r.sh(`curl -s "$WALLET_API_URL/v1/wallets/u1/USD/balance" -H "Authorization: Bearer $WALLET_API_TOKEN"`), `"available":"50.00"`)
	require.Contains(t, r.sh(`curl -s "$WALLET_API_URL/v1/wallets/u1/USD/balance"`), `"status":401`)
	select {
	case event := <-arrived:
		require.Contains(t, event, `"user_id":"u1"`)
	case <-time.After(time.Minute):
		require.Fail(t, "no webhook came")
	}

	r.stop()
	addresses := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(r.printed, -1)
	require.Greater(t, len(addresses), 4)
	for _, address := range addresses {
		_, err := net.Dial("tcp", address[1])
		require.Error(t, err, "still there: %s", address[1])
	}
}

// TestTheShopOfTheNexusDoc runs the commands of docs/nexus.md next to "wallet-dev run", which
// must have created the endpoint that the shop uses.
func TestTheShopOfTheNexusDoc(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	r := startRun(t)
	require.Equal(t, filepath.Join(programs, "wallet")+"\n", r.sh("command -v wallet"))

	doc, err := os.ReadFile(filepath.Join(root, "docs", "nexus.md"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(doc), "```sh\n")
	commands, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	commands = strings.ReplaceAll(commands, ". .wallet/env", ". '"+filepath.Join(r.dir, "env")+"'")
	shop := exec.Command("sh", "-e", "-c", commands)
	shop.Dir, shop.Env = root, r.env
	var problems bytes.Buffer
	shop.Stderr = &problems
	out, err := shop.Output()
	require.NoError(t, err, problems.String())
	expected, err := os.ReadFile(filepath.Join(root, "examples", "nexus", "expected.txt"))
	require.NoError(t, err)
	require.Equal(t, string(expected), string(out))
}
