// Package examples has the test that runs the examples as readers would: next to "wallet-dev
// run", with the environment that it writes.
package examples

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/contract"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

// TestTheExamplesPrintWhatTheySay compares each example's output with its expected.txt. "make
// test-examples UPDATE=-update" rewrites those files.
func TestTheExamplesPrintWhatTheySay(t *testing.T) {
	if os.Getenv("WALLET_TEST_EXAMPLES") == "" {
		t.Skip(`run by "make test-examples"`)
	}
	env := startServers(t)
	for _, example := range []struct {
		folder  string
		prepare func(*testing.T)
		command string
	}{
		{folder: "cli", command: "sh run.sh 2>&1"}, // a refusal is on stderr
		{folder: "http", command: "sh run.sh"},
		{folder: "go", command: "go run ."},
		{folder: "typescript", prepare: func(t *testing.T) { installNode(t, "typescript") }, command: "npm start --silent"},
	} {
		t.Run(example.folder, func(t *testing.T) {
			if example.prepare != nil {
				example.prepare(t)
			}
			requireOutput(t, env, example.folder, example.command)
			if example.folder == "typescript" {
				checkWorkflowIDs(t)
			}
		})
	}
	t.Run("typescript-http", func(t *testing.T) { checkRetries(t, env) })
	t.Run("subscription", func(t *testing.T) { checkSubscriptionREADME(t, env) })
	checkPayloads(t, env)
}

// requireOutput runs an example, compares what it prints, and returns what it says on stderr.
func requireOutput(t *testing.T, env, folder, command string) (errors string) {
	cmd := exec.Command("sh", "-c", `. "$0" && `+command, env)
	var errs bytes.Buffer
	cmd.Dir, cmd.Stderr = folder, &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, errs.String())
	got, path := mask(string(out)), filepath.Join(folder, "expected.txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	expected, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(expected), got)
	return errs.String()
}

// checkRetries runs the example behind a proxy that cuts each connection after the first answer to
// a command: the same has to come again, and to be answered the same.
func checkRetries(t *testing.T, env string) {
	installNode(t, "typescript-http")
	api, err := exec.Command("sh", "-c", `. "$0" && printf %s "$WALLET_API_URL"`, env).Output()
	require.NoError(t, err)
	type exchange struct{ request, answer, replayed string }
	var mu sync.Mutex
	seen := map[string][]exchange{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		forwarded := r.Clone(r.Context())
		forwarded.RequestURI = ""
		forwarded.URL, err = url.Parse(string(api) + r.URL.RequestURI())
		if err != nil {
			panic(err)
		}
		forwarded.Body = io.NopCloser(bytes.NewReader(body))
		answer, err := http.DefaultTransport.RoundTrip(forwarded)
		if err != nil {
			panic(err)
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			panic(err)
		}
		if key := r.Header.Get("Idempotency-Key"); key != "" {
			mu.Lock()
			seen[key+string(body)] = append(seen[key+string(body)], exchange{string(body), string(content), answer.Header.Get("Idempotency-Replayed")})
			first := len(seen[key+string(body)]) == 1
			mu.Unlock()
			if first {
				panic(http.ErrAbortHandler) // cuts the connection
			}
		}
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		_, _ = w.Write(content)
	}))
	t.Cleanup(proxy.Close)
	errs := requireOutput(t, env, "typescript-http", "WALLET_API_URL="+proxy.URL+" npm start --silent")
	require.Contains(t, errs, "no answer to order-1, sending the same again")
	require.Len(t, seen, 4)
	for key, exchanges := range seen {
		require.GreaterOrEqual(t, len(exchanges), 2, key)
		require.Empty(t, exchanges[0].replayed, key)
		for _, later := range exchanges[1:] {
			require.Equal(t, exchanges[0].answer, later.answer, key)
			if !strings.Contains(later.answer, "id_conflict") { // of which there is no record
				require.Equal(t, "true", later.replayed, key)
			}
		}
	}
}

// TestTheREADMERunsInItsOrder runs what the README shows, on servers of its own. A command ends
// with exit code 0, or with that of its comment.
func TestTheREADMERunsInItsOrder(t *testing.T) {
	if os.Getenv("WALLET_TEST_EXAMPLES") == "" {
		t.Skip(`run by "make test-examples"`)
	}
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	env, printed := startServers(t), ""
	run := func(t *testing.T, folder, command string) {
		want := 0
		if _, comment, _ := strings.Cut(command, "exit code "); comment != "" {
			want, err = strconv.Atoi(comment)
			require.NoError(t, err, command)
		}
		cmd := exec.Command("sh", "-c", `. "$0" && `+command, env)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), "%s: %v\n%s", command, err, out)
		printed += string(out)
	}
	for _, block := range regexp.MustCompile("(?ms)^```(sh|go|ts)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		switch language, text := block[1], block[2]; {
		case language == "go":
			run(t, "go", "go run ./first")
		case language == "ts":
			t.Run("typescript", func(t *testing.T) {
				installNode(t, "typescript")
				run(t, "typescript", "node lib/first.js")
				require.Contains(t, printed, "command_id: 'order-7'")
			})
		case strings.HasPrefix(text, "make "): // how the servers were started
		default:
			for _, command := range strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\\\n", " ")), "\n") {
				run(t, "cli", command)
			}
		}
	}
	for _, id := range []string{"top-up-1", "order-1 ", "order-2 ", "lunch-1", "command_id:order-9"} {
		require.Contains(t, printed, id)
	}
	require.Contains(t, printed, "applied 31.00\n", "from Go")
	require.Equal(t, 1, strings.Count(printed, "unapplied"), printed)
}

// checkWorkflowIDs compares TypeScript's workflow ids with Go's.
func checkWorkflowIDs(t *testing.T) {
	users := []string{"u1", "a/b", "100%", "50%2F/é", "a//%"}
	in, err := json.Marshal(users)
	require.NoError(t, err)
	cmd := exec.Command("node", "-e", `const { walletAsset, applyCommand } = require('./lib/wallet.js');
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(u => [walletAsset(u, 'USD').workflowId, applyCommand(u, 'USD', { id: 'b/c%' }).workflowId])));`, string(in))
	cmd.Dir = "typescript"
	out, err := cmd.Output()
	require.NoError(t, err)
	var ids [][]string
	require.NoError(t, json.Unmarshal(out, &ids))
	require.Len(t, ids, len(users))
	for i, user := range users {
		require.Equal(t, []string{wallet.WorkflowID(user, "USD"), wallet.ApplyCommandWorkflowID(user, "USD", "b/c%")}, ids[i])
	}
}

// TestTheDocsShowWhatRuns checks that the Go and the TypeScript of the docs are the examples'.
func TestTheDocsShowWhatRuns(t *testing.T) {
	for _, row := range []struct{ doc, language, program string }{
		{"../README.md", "go", "go/first/main.go"},
		{"../README.md", "ts", "typescript/src/first.ts"},
	} {
		program, err := os.ReadFile(row.program)
		require.NoError(t, err)
		text, err := os.ReadFile(row.doc)
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(text), "```"+row.language+"\n")
		require.True(t, ok, row.doc)
		shown, _, _ := strings.Cut(rest, "```")
		require.Contains(t, unindent(string(program)), unindent(shown), row.doc)
	}
}

// TestTheLockFileIsForEveryPlatform is what "npm ci" needs: it installs nothing if a package of
// another platform is missing. The packages come from npm's own registry.
func TestTheLockFileIsForEveryPlatform(t *testing.T) {
	for _, folder := range []string{"typescript", "typescript-http"} {
		data, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
		require.NoError(t, err)
		var lock struct {
			Packages map[string]struct {
				Resolved, Integrity  string
				OptionalDependencies map[string]string
			}
		}
		require.NoError(t, json.Unmarshal(data, &lock))
		require.NotEmpty(t, lock.Packages)
		for name, locked := range lock.Packages {
			if name == "" { // the example itself
				continue
			}
			require.Regexp(t, `^https://registry\.npmjs\.org/`, locked.Resolved, name)
			require.NotEmpty(t, locked.Integrity, name)
			for dependency := range locked.OptionalDependencies {
				require.Contains(t, lock.Packages, "node_modules/"+dependency, name)
			}
		}
	}
}

func unindent(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}

// checkPayloads checks what the examples sent and received against the schemas.
func checkPayloads(t *testing.T, env string) {
	address, err := exec.Command("sh", "-c", `. "$0" && printf %s "$TEMPORAL_ADDRESS"`, env).Output()
	require.NoError(t, err)
	c, err := client.Dial(client.Options{HostPort: string(address), Logger: temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	defer c.Close()
	checker, err := contract.NewChecker("../docs/schemas")
	require.NoError(t, err)
	for _, user := range []string{"cli", "http", "go", "typescript"} {
		var events []*historypb.HistoryEvent
		pages := c.GetWorkflowHistory(t.Context(), wallet.WorkflowID(user, "USD"), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for pages.HasNext() {
			event, err := pages.Next()
			if user == "typescript" && err != nil {
				t.Log("the TypeScript example did not run")
				break
			}
			require.NoError(t, err)
			events = append(events, event)
		}
		require.NoError(t, checker.History(events), user)
	}
	require.Positive(t, checker.Checked[contract.Result])
}

// startServers runs "wallet-dev run" until the end of the test and returns the file with its
// environment.
func startServers(t *testing.T) (env string) {
	program, err := filepath.Abs("../bin/wallet-dev")
	require.NoError(t, err)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // initdb's user must be able to enter it
		require.NoError(t, os.Chmod(d, 0o755))
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(program, "run", "--dir", filepath.Join(dir, "wallet"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C ends this test, and the test ends the servers
	require.NoError(t, cmd.Start(), `"make bin/wallet bin/wallet-dev" builds it`)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	for {
		printed, err := os.ReadFile(log.Name())
		require.NoError(t, err)
		if strings.Contains(string(printed), "Try in another terminal") {
			return filepath.Join(dir, "wallet", "env")
		}
		select {
		case <-ended:
			require.FailNow(t, "wallet-dev run ended", "%s", printed)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// installNode installs the versions in package-lock.json as the examples' README says, and checks
// the types. npm's registry may be unreachable, but not in CI.
func installNode(t *testing.T, folder string) {
	run := func(command string) (string, error) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("npm ci --ignore-scripts"); err != nil {
		require.Empty(t, os.Getenv("CI"), "%s cannot be installed: %v\n%s", folder, err, out)
		t.Skipf("%s needs node 20.3, npm and its registry: %v\n%s", folder, err, out)
	}
	out, err := run("npm run build")
	require.NoError(t, err, "%s: %s", folder, out)
}

var volatile = []struct {
	pattern *regexp.Regexp
	name    string
}{
	// protojson writes one or two spaces after a colon, depending on the server's build.
	{regexp.MustCompile(`": +`), `": `},
	{regexp.MustCompile(` +\n`), "\n"},
	{regexp.MustCompile(`[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "<hash>"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z?`), "<time>"},
	{regexp.MustCompile(`("(?:durationMillis|eventId|taskId|workflowTaskCompletedEventId)": )"?\d+"?`), "$1<number>"},
}

// mask replaces what differs from run to run.
func mask(output string) string {
	for _, v := range volatile {
		output = v.pattern.ReplaceAllString(output, v.name)
	}
	return output
}
