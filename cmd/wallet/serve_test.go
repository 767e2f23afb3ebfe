package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/doctest"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestTheHTTPPageIsTrue runs the commands of docs/http.md. "go test ./cmd/wallet -run HTTPPage
// -update" writes the outputs anew.
func TestTheHTTPPageIsTrue(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	defer s.startWorker()()
	address := freeAddresses(t, 1)[0]
	s = s.with("WALLET_API_ADDRESS=" + address)
	doctest.Check(t, doctest.Page{
		Path: docsPath("http.md"), Dir: t.TempDir(), Env: withPrograms(s.env), Volatile: true,
		Names: [][2]string{{"127.0.0.1:8088", address}},
	})
}

// apiProcess is "wallet serve".
type apiProcess struct {
	*os.Process
	address string
	wait    func() (log string, err error)
}

// startAPI starts "wallet serve" with flags, and waits until it listens.
func (s shell) startAPI(address string, flags ...string) apiProcess {
	cmd := exec.Command(binary, append([]string{"serve", "--listen", address, "--log-format", "json"}, flags...)...)
	cmd.Env = s.env
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(s.t, cmd.Start())
	wait := sync.OnceValues(func() (string, error) {
		err := cmd.Wait()
		return log.String(), err
	})
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_, _ = wait()
	})
	require.Eventually(s.t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	return apiProcess{cmd.Process, address, wait}
}

// tokensFile makes a token that may do everything, and the file that has it.
func (s shell) tokensFile() (token, file string) {
	out, errs, code := s.run("token", "shop", "--users", "*", "--scopes", "read,write", "-o", "json")
	require.Zero(s.t, code, errs)
	var made struct {
		Token string
		Entry json.RawMessage
	}
	require.NoError(s.t, json.Unmarshal([]byte(out), &made))
	file = filepath.Join(s.t.TempDir(), "tokens.json")
	require.NoError(s.t, os.WriteFile(file, []byte(`{"tokens":[`+string(made.Entry)+`]}`), 0o600))
	return made.Token, file
}

// startServe starts "wallet serve" with a token that may do everything.
func (s shell) startServe() (url, token string, process *os.Process, wait func() (log string, err error)) {
	token, file := s.tokensFile()
	api := s.startAPI(freeAddresses(s.t, 1)[0], "--tokens-file", file)
	return "http://" + api.address, token, api.Process, api.wait
}

// postCommand sends a command for u1's USD.
func (s shell) postCommand(url, token, command string) (status int, replayed, body string, err error) {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, url+"/v1/wallets/u1/USD/commands", strings.NewReader(command))
	if err != nil {
		return 0, "", "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header.Get("Idempotency-Replayed"), string(content), err
}

func TestServeAnswersACommandAndStopsOnSIGTERM(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	defer s.startWorker()()
	url, token, process, wait := s.startServe()
	status, replayed, body, err := s.postCommand(url, token, `{"id":"order-1","type":"add","amount":"12.50"}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, body)
	require.Empty(t, replayed)
	require.Contains(t, body, `"total_after":"12.50"`)
	status, _, body, err = s.postCommand(url, "wallet_AAAAAAAAAAAAAAAAAAAAAAAAAA", `{"id":"order-2","type":"add","amount":"1"}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status, body)
	require.NoError(t, process.Signal(syscall.SIGTERM))
	log, err := wait()
	require.NoError(t, err, log)
	require.Contains(t, log, "the HTTP API has stopped")
	require.NotContains(t, log, token)
}

// TestAKilledServerIsAskedAgain kills it while 50 callers send the same, who then ask another one.
func TestAKilledServerIsAskedAgain(t *testing.T) {
	database := testenv.DatabaseURL(t)
	s := newShell(t, database)
	defer s.startWorker()()
	const command = `{"id":"order-1","type":"add","amount":"12.50"}`
	send := func(url, token string, each func(status int, body string, err error)) {
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				status, _, body, err := s.postCommand(url, token, command)
				each(status, body, err)
			})
		}
		group.Wait()
	}
	url, token, process, wait := s.startServe()
	var mu sync.Mutex
	bodies := map[string]bool{}
	send(url, token, func(status int, body string, err error) {
		mu.Lock()
		defer mu.Unlock()
		_ = process.Kill() // as soon as one is answered
		if err == nil && status == http.StatusOK {
			bodies[body] = true
		}
	})
	_, err := wait()
	require.Error(t, err)
	url, token, _, _ = s.startServe()
	send(url, token, func(status int, body string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || status != http.StatusOK {
			t.Errorf("%d %s: %v", status, body, err)
		}
		bodies[body] = true
	})
	require.Len(t, bodies, 1, "all got the same, before and after")
	var entries int
	require.NoError(t, testenv.Pool(t, database).QueryRow(t.Context(), `SELECT count(*) FROM wallet_commands WHERE type = 'add'`).Scan(&entries))
	require.Equal(t, 1, entries)
}
