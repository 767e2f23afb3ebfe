package telemetry_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	observability = filepath.Join("..", "..", "..", "deploy", "observability")
	alertRules    = filepath.Join(observability, "alerts.yml")
	dashboard     = filepath.Join(observability, "grafana", "dashboards", "wallet.json")
)

// tool finds a Prometheus program: the one that "make test-observability" downloaded, or an
// installed one. That target sets WALLET_NEED_PROMETHEUS.
func tool(t *testing.T, name string) string {
	if path, err := filepath.Abs(filepath.Join("..", "..", "..", "bin", name)); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("WALLET_NEED_PROMETHEUS") == "" {
		t.Skipf("%s is not installed: make test-observability gets it", name)
	}
	require.NoError(t, err)
	return path
}

func TestTheAlertsFireWhenTheyShould(t *testing.T) {
	tests, err := filepath.Glob(filepath.Join(observability, "alerts*_test.yml"))
	require.NoError(t, err)
	for _, args := range [][]string{
		{"check", "rules", alertRules},
		{"check", "config", filepath.Join(observability, "prometheus.yml")},
		append([]string{"test", "rules"}, tests...),
	} {
		out, err := exec.Command(tool(t, "promtool"), args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	var cases []byte
	for _, test := range tests {
		text, err := os.ReadFile(test)
		require.NoError(t, err)
		cases = append(cases, text...)
	}
	rules, err := os.ReadFile(alertRules)
	require.NoError(t, err)
	alerts := regexp.MustCompile(`(?m)alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1)
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		require.Regexp(t, `alertname: `+alert[1]+`(\n|, exp_alerts)`, string(cases), "no case in which it fires")
		require.Regexp(t, `alertname: `+alert[1]+`}`, string(cases), "no case in which it does not")
	}
}

// TestTheLogLinesInTheDocsAreReal checks the log lines that say which wallet an alert is about.
func TestTheLogLinesInTheDocsAreReal(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "metrics.md"))
	require.NoError(t, err)
	for file, line := range map[string]string{
		"workflows/wallet_asset.go":  "command refused",
		"workflows/policies.go":      "step is slow to succeed, going on as a regular activity",
		"internal/service/verify.go": "could not verify the wallets",
		"internal/service/sweep.go":  "the sweep of overdue holds failed for some wallets, which are tried again",
	} {
		source, err := os.ReadFile(filepath.Join("..", "..", "..", file))
		require.NoError(t, err)
		require.Contains(t, string(source), `"`+line+`"`)
		require.Contains(t, string(doc), "`"+line+"`")
	}
}

// TestPrometheusFindsWhatDashboardAndAlertsName runs Prometheus with the project's
// configuration against a worker.
func TestPrometheusFindsWhatDashboardAndAlertsName(t *testing.T) {
	w := watch(t)
	defer w.Stop()
	prometheus := startPrometheus(t, strings.TrimPrefix(w.URL(), "http://"))
	w.everything()
	w.hold("order-7", "1h", true)
	w.eventually("two scrapes of everything", func() bool {
		return len(prometheus.query(t, `rate(wallet_feed_lag[1m]) and on() (rate(wallet_verify_runs_total{outcome="sound"}[1m])) and on() (rate(wallet_commands_total{type="capture"}[1m]))`)) > 0
	})

	rules, err := os.ReadFile(alertRules)
	require.NoError(t, err)
	names := regexp.MustCompile(`\b(wallet|pgxpool|temporal|go|process)_[a-z_]+[a-z]\b`).FindAllString(string(rules), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		if name == "wallet_read_lag_seconds" { // of "wallet serve"
			continue
		}
		require.NotEmpty(t, prometheus.query(t, name), "%s names %s, which no worker has", alertRules, name)
	}
	for title, expressions := range panels(t) {
		for _, expression := range expressions {
			expression = strings.ReplaceAll(expression, "$__rate_interval", "1m")
			require.NotEmpty(t, prometheus.query(t, expression), "panel %q finds nothing: %s", title, expression)
		}
	}
	w.eventually("rules that were evaluated without an error", func() bool {
		var loaded struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		prometheus.get(t, "/api/v1/rules", &loaded)
		evaluated := len(loaded.Groups) > 0
		for _, group := range loaded.Groups {
			for _, rule := range group.Rules {
				require.Empty(t, rule.LastError, rule.Name)
				evaluated = evaluated && rule.Health == "ok"
			}
		}
		return evaluated
	})
}

func panels(t *testing.T) map[string][]string {
	data, err := os.ReadFile(dashboard)
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(data, &board))
	require.NotEmpty(t, board.Panels)
	found := map[string][]string{}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			found[panel.Title] = append(found[panel.Title], target.Expr)
		}
	}
	return found
}

// server is a Prometheus that runs until the end of the test.
type server struct{ url string }

func startPrometheus(t *testing.T, worker string) server {
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(observability, "prometheus.yml"))
	require.NoError(t, err)
	before, _, found := strings.Cut(string(config), "    # Docker's DNS")
	require.True(t, found)
	quick := strings.ReplaceAll(before, "15s", "1s") + fmt.Sprintf("    static_configs: [{targets: [%q]}]\n", worker)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(quick), 0o644))
	rules, err := os.ReadFile(alertRules)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alerts.yml"), rules, 0o644))

	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd := exec.Command(tool(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("Prometheus: %s", text)
			}
		}
	})
	s := server{"http://" + address}
	(&watched{t: t}).eventually("Prometheus", func() bool {
		answer, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return s
}

func (s server) query(t *testing.T, expression string) (result []json.RawMessage) {
	var data struct{ Result []json.RawMessage }
	s.get(t, "/api/v1/query?query="+url.QueryEscape(expression), &data)
	return data.Result
}

func (s server) get(t *testing.T, path string, data any) {
	answer, err := http.Get(s.url + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body := struct {
		Status, Error string
		Data          any
	}{Data: data}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&body))
	require.Equal(t, "success", body.Status, "%s: %s", path, body.Error)
}
