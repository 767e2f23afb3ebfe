package telemetry

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.temporal.io/sdk/client"
	temporalotel "go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"

	"github.com/valueledger/wallet/workflows"
)

// tracing is global like OpenTelemetry's variables; nil while traces are off.
var tracing atomic.Pointer[trace.TracerProvider]

// StartTraces makes clients and pools created from now on trace, if OpenTelemetry's own
// variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, ...) give a destination;
// otherwise it does nothing. stop sends the remaining traces.
func StartTraces(ctx context.Context) (stop func(context.Context) error, err error) {
	if !tracesWanted(os.Getenv) {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("export traces as OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_... say: %w", err)
	}
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
	described, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", "wallet")), resource.Environment())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(described))
	tracing.Store(provider)
	return func(ctx context.Context) error {
		tracing.CompareAndSwap(provider, nil)
		return provider.Shutdown(ctx)
	}, nil
}

// tracesWanted reports whether the variables give a destination. OpenTelemetry's default, a
// collector on this machine, is not what someone wants who has set none of them.
func tracesWanted(env func(string) string) bool {
	switch exporter := env("OTEL_TRACES_EXPORTER"); {
	case strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return false
	case exporter != "":
		return true
	default:
		return env("OTEL_EXPORTER_OTLP_ENDPOINT")+env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	}
}

// TraceClient makes a Temporal client and its workers trace if traces are on.
func TraceClient(o *client.Options) error {
	provider := tracing.Load()
	if provider == nil {
		return nil
	}
	traced, err := newTracer(provider)
	if err != nil {
		return err
	}
	o.Interceptors = append(o.Interceptors, traced)
	return nil
}

// TracePool does the same for a pool's statements, without their parameters.
func TracePool(config *pgxpool.Config) {
	if provider := tracing.Load(); provider != nil {
		config.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(provider))
	}
}

func newTracer(provider *trace.TracerProvider) (interceptor.Interceptor, error) {
	traced, err := temporalotel.NewTracingInterceptor(temporalotel.TracerOptions{
		Tracer:         provider.Tracer("go.temporal.io/sdk"),
		SpanContextKey: workflows.SpanContextKey,
		// A bad header from a caller must not stop a wallet.
		AllowInvalidParentSpans: true,
	})
	return onlyOnce{traced}, err
}
