// Package service assembles a running worker: configuration, logs, connections to Temporal and
// Postgres, and checks that make a wrong setup fail at start with a message that says what to
// do.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/internal/service/schedules"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/workflows"
)

const (
	// connectTimeout is how long a start waits for a server before it fails.
	connectTimeout = 10 * time.Second
	// drainTimeout is how long a stop waits for steps in progress.
	drainTimeout = 20 * time.Second
)

// NewLogger makes the log for the service and the SDK: level is debug, info, warn or error,
// format is console or json.
func NewLogger(level, format string) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log level %q is unknown: use debug, info, warn or error", level)
	}
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(parsed)
	config.Sampling = nil // so that every refusal is logged
	config.DisableStacktrace = true
	config.DisableCaller = true
	config.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	switch format {
	case "json":
	case "console":
		config.Encoding = "console"
		config.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	default:
		return nil, fmt.Errorf("log format %q is unknown: use console or json", format)
	}
	return config.Build()
}

// SDKLogger is the same log for Temporal's SDK, without the stacks that zapslog takes of each
// error: they lead to the line that logs, not to the one that fails.
func SDKLogger(logger *zap.Logger) log.Logger {
	return stepLogger{log.NewStructuredLogger(slog.New(zapslog.NewHandler(logger.Core(), zapslog.AddStacktraceAt(noLevel))))}
}

// noLevel is above all that are logged.
const noLevel = slog.Level(math.MaxInt)

// stepLogger says of a step or another activity that failed what is tried next.
type stepLogger struct{ log.Logger }

// failedActivity is what the SDK logs of each attempt that failed, at the level of an error.
const failedActivity = "Activity error."

func (l stepLogger) Error(message string, pairs ...any) {
	if message == failedActivity {
		next := "Temporal tries it again in at most 5 s, until it works"
		for i := 0; i+1 < len(pairs); i += 2 {
			var application *temporal.ApplicationError
			if err, ok := pairs[i+1].(error); ok && errors.As(err, &application) && application.NonRetryable() {
				next = "none, this is final"
			}
		}
		message, pairs = "a step failed", append(slices.Clip(pairs), "next", next)
	}
	l.Logger.Error(message, pairs...)
}

// DialTemporal connects according to Temporal's own variables and profile file
// (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., or a profile in
// temporal.toml), with the keys in WALLET_PAYLOAD_KEYS. It also returns the namespace. The
// client traces if traces are on. change, if not nil, may modify the options.
func DialTemporal(ctx context.Context, logger *zap.Logger, change func(*client.Options)) (client.Client, string, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, "", fmt.Errorf("read Temporal's environment or profile file: %w", err)
	}
	options.Logger = SDKLogger(logger)
	keys, err := codec.FromEnv()
	if err != nil {
		return nil, "", err
	}
	keys.Secure(&options)
	resourceid.EscapeHeader(&options)
	if err := telemetry.TraceClient(&options); err != nil {
		return nil, "", err
	}
	if change != nil {
		change(&options)
	}
	if options.HostPort == "" {
		options.HostPort = client.DefaultHostPort
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, "", fmt.Errorf("no answer from Temporal at %s (%s): %w", options.HostPort, remedy(temporalHints, err), err)
	}
	return c, options.Namespace, nil
}

// Service is a running worker.
type Service struct {
	worker  worker.Worker
	failed  chan error
	running atomic.Bool
	http    *telemetry.Server // nil if it is off
	probe   *Probe
	end     context.CancelFunc
	tasks   sync.WaitGroup // other than the worker
}

// Options of a Service.
type Options struct {
	Temporal  client.Client
	Namespace string
	Pool      *pgxpool.Pool
	TaskQueue string
	Logger    *zap.Logger

	Metrics     *telemetry.Metrics // may be nil; the Temporal client uses them too
	HTTPAddress string             // for metrics and probes, or HTTPOff
	VerifyEvery time.Duration      // 0: this worker does not verify
	NexusLanes  int                // of the Nexus service's calls; 0: each goes to its wallet

	Version worker.WorkerDeploymentVersion // zero: no Worker Deployment
}

// Start checks the namespace, registers the search attributes and starts the
// worker.
func Start(ctx context.Context, o Options) (*Service, error) {
	_, err := o.Temporal.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: o.Namespace})
	var missing *serviceerror.NamespaceNotFound
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("namespace %q does not exist in Temporal: create it with \"temporal operator namespace create %s\" or set TEMPORAL_NAMESPACE", o.Namespace, o.Namespace)
	} else if err != nil {
		return nil, fmt.Errorf("look up namespace %q: %w", o.Namespace, err)
	}
	err = starter.RegisterSearchAttributes(ctx, o.Temporal, o.Namespace)
	var denied *serviceerror.PermissionDenied
	if errors.As(err, &denied) { // then an operator must have registered them
		o.Logger.Warn("may not register search attributes", zap.Error(err))
	} else if err != nil {
		return nil, err
	}
	if err := checkPostgres(ctx, o.Pool); err != nil {
		return nil, err
	}
	if err := warnOfPostgres(ctx, o); err != nil {
		return nil, err
	}
	if excess, err := migrations.ExcessRights(ctx, o.Pool); err != nil {
		return nil, fmt.Errorf("look up the rights of the database's role: %w", err)
	} else if len(excess) > 0 {
		o.Logger.Warn("the worker's database role has more rights than it needs: connect as "+migrations.RoleApp+" (wallet migrate up --help)",
			zap.String("role", o.Pool.Config().ConnConfig.User), zap.Strings("rights", excess))
	}
	sender, err := starter.New(o.Temporal, starter.Options{TaskQueue: o.TaskQueue})
	if err != nil {
		return nil, err
	}
	forNexus, err := starter.New(o.Temporal, starter.Options{TaskQueue: o.TaskQueue, Lanes: o.NexusLanes})
	if err != nil {
		return nil, err
	}
	s := &Service{failed: make(chan error, 1)}
	options := worker.Options{
		WorkerStopTimeout: drainTimeout,
		// How long a workflow may run without yielding. The SDK's default of one second is too
		// short if the machine pauses for a second: it would fail a task that did nothing
		// wrong.
		DeadlockDetectionTimeout: 10 * time.Second,
		// With two kinds of pollers taking turns, a burst to one wallet turns all of them to its
		// sticky queue, and first commands of other wallets wait for seconds.
		WorkflowTaskPollerBehavior: worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{}),
		OnFatalError:               func(err error) { s.failed <- err },
		DeploymentOptions:          deployment(o.Version),
	}
	if o.Metrics != nil {
		options.Interceptors = append(options.Interceptors, o.Metrics.Steps())
	}
	s.worker = worker.New(o.Temporal, o.TaskQueue, options)
	workflows.Register(s.worker)
	steps := activities.New(o.Pool)
	steps.Register(s.worker)
	sender.Register(s.worker)
	schedules.Times{Temporal: o.Temporal, Namespace: o.Namespace}.Register(s.worker)
	s.worker.RegisterNexusService(nexushandler.New(forNexus, o.Pool))
	if err := s.observe(o); err != nil {
		return nil, err
	}
	if err := s.worker.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the worker: %w", err), s.stopObserving())
	}
	s.running.Store(true)
	var background context.Context
	background, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if o.Metrics != nil {
		s.tasks.Go(func() {
			o.Metrics.Watch(background, telemetry.Watched{Temporal: o.Temporal, Namespace: o.Namespace, TaskQueue: o.TaskQueue, Pool: o.Pool})
		})
	}
	s.tasks.Go(func() { sweepRegularly(background, steps, o.Metrics, o.Logger) })
	if o.VerifyEvery > 0 {
		s.tasks.Go(func() { verifyRegularly(background, o) })
	}
	return s, nil
}

// Wait returns when ctx ends, or with the error that stopped the worker.
func (s *Service) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		s.running.Store(false)
		return fmt.Errorf("the worker ended: %w", err)
	}
}

// Stop takes no more work, lets running steps finish, and returns. Until then the metrics can
// be scraped, and the worker is not ready.
func (s *Service) Stop() {
	s.running.Store(false)
	s.end()
	s.worker.Stop()
	s.tasks.Wait()
	_ = s.stopObserving()
}
