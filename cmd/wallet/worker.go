package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
)

// defaultHTTPAddress has the port that OpenTelemetry uses for Prometheus.
const defaultHTTPAddress = "127.0.0.1:9464"

func (a *app) workerCommand() *cobra.Command {
	var (
		o          service.Options
		deployment deploymentFlags
	)
	cmd := &cobra.Command{
		Use: "worker", Short: "Run the service against existing servers until SIGTERM", Args: cobra.NoArgs,
		Long: `Run the service against existing servers until SIGTERM.

It answers on HTTP: /metrics for Prometheus, /healthz (the process is alive) and
/readyz (Postgres and Temporal answer, the tables are up to date, the worker
takes work). Traces go by OTLP to where OpenTelemetry's variables say, such as
OTEL_EXPORTER_OTLP_ENDPOINT; without them there are none.

WALLET_PAYLOAD_KEYS has the keys of encrypted payloads (docs/security.md).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.VerifyEvery, err = durationSetting(cmd, "verify-every", verifyEverySetting, "such as 6h, or 0 for not at all"); err != nil {
				return err
			}
			if o.Version, err = deployment.version(); err != nil {
				return err
			}
			return a.worker(cmd.Context(), o)
		},
	}
	deployment.addTo(cmd)
	addHTTPAddress(cmd, &o.HTTPAddress, "listen there for metrics and probes")
	cmd.Flags().IntVar(&o.NexusLanes, "nexus-lanes", 0, "send concurrent Nexus operations on different wallets together, in so many lanes; 0 for not at all")
	cmd.Flags().Duration("verify-every", 0, "verify all wallets at the start and so often, such as 6h, for the metrics and the log; on one worker of several ("+verifyEverySetting+")")
	return cmd
}

func addHTTPAddress(cmd *cobra.Command, address *string, usage string) {
	cmd.Flags().StringVar(address, "http-address", cli.EnvOr("WALLET_HTTP_ADDRESS", defaultHTTPAddress), usage+", \""+service.HTTPOff+"\" for not at all (WALLET_HTTP_ADDRESS)")
}

const verifyEverySetting = "WALLET_VERIFY_EVERY"

// durationSetting is the value of a flag, or that of a variable where the flag is not given. A
// variable that cannot be read is an error: a typo may not switch off what it sets.
func durationSetting(cmd *cobra.Command, flag, variable, remedy string) (time.Duration, error) {
	value, err := cmd.Flags().GetDuration(flag)
	if err != nil {
		return 0, err
	}
	source := "--" + flag + " " + value.String()
	if text := os.Getenv(variable); text != "" && !cmd.Flags().Changed(flag) {
		source = fmt.Sprintf("%s=%q", variable, text)
		if value, err = time.ParseDuration(text); err != nil {
			return 0, cli.Usagef("%s is not a duration: set it to one %s", source, remedy)
		}
	}
	if value < 0 {
		return 0, cli.Usagef("%s is negative: set it to a duration %s", source, remedy)
	}
	return value, nil
}

// worker runs the service; what no flag of its own says is filled in here.
func (a *app) worker(ctx context.Context, o service.Options) error {
	p, err := a.startProcess(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.dialTemporal(ctx); err != nil {
		return err
	}
	o.Temporal, o.Namespace, o.Pool, o.TaskQueue, o.Logger, o.Metrics = p.temporal, p.namespace, p.pool, a.taskQueue, p.logger, p.metrics
	s, err := service.Start(ctx, o)
	if err != nil {
		return err
	}
	p.logger.Info("worker is running", zap.String("namespace", p.namespace), zap.String("task_queue", a.taskQueue), zap.String("http", s.URL()))
	err = s.Wait(ctx)
	p.logger.Info("worker drains and stops")
	s.Stop()
	return err
}

// readyPause is how often "wallet ready --wait" asks.
const readyPause = 200 * time.Millisecond

// readyPatience is how long one question may take. The worker's own checks end sooner.
const readyPatience = 10 * time.Second

// readyCommand is for where there is no other HTTP client: the image has none.
func (a *app) readyCommand() *cobra.Command {
	address, wait := "", time.Duration(0)
	cmd := &cobra.Command{
		Use: "ready", Short: "Ask a worker whether it is ready: exit code 0 if it is", Args: cobra.NoArgs,
		Long: `Ask a worker whether it is ready: exit code 0 if it is. With --wait, ask until
it is, for at most that time; the error then says what was missing.`,
		Example: "  wallet ready --wait 60s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return cli.Usagef("--wait %s is negative: use 0 to ask once", wait)
			}
			url, err := readyURL(address)
			if err != nil {
				return err
			}
			checks, err := awaitReady(cmd.Context(), url, wait)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(checks)
			return err
		},
	}
	addHTTPAddress(cmd, &address, "where the worker listens")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait until it is ready, such as 60s; 0 asks once")
	return cmd
}

func readyURL(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", cli.Usagef("the worker's address %q is not HOST:PORT: set WALLET_HTTP_ADDRESS as the worker has it: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}

// awaitReady asks until the worker is ready or the time to wait is over. Its error is the last
// one that said more than that.
func awaitReady(ctx context.Context, url string, wait time.Duration) (checks []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(wait, readyPatience))
	defer cancel()
	for {
		checks, failed := askReady(ctx, url)
		if failed == nil {
			return checks, nil
		}
		if err == nil || ctx.Err() == nil {
			err = failed
		}
		if wait == 0 {
			return nil, fmt.Errorf("the worker is not ready: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the worker is not ready after %s: %w", wait, err)
		case <-time.After(readyPause):
		}
	}
}

func askReady(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no answer (is a worker running, with this WALLET_HTTP_ADDRESS?): %w", err)
	}
	defer answer.Body.Close()
	checks, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(checks)))
	}
	return checks, err
}
