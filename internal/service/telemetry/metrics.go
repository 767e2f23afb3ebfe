// Package telemetry is how a worker is watched: metrics that Prometheus scrapes, traces
// that go out by OTLP, and an HTTP server for the first with the probes of health and
// readiness.
package telemetry

import (
	"net/http"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.temporal.io/sdk/client"
	temporalotel "go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
)

// Metrics are what one worker counts. The names are in docs/metrics.md.
type Metrics struct {
	registry *promclient.Registry
	provider *sdkmetric.MeterProvider
	meter    metric.Meter
	steps    *stepInterceptor
	verify   verifyInstruments
	watch    *watch
}

// NewMetrics makes a set of metrics of its own: none of it is global.
func NewMetrics() (*Metrics, error) {
	registry := promclient.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := prometheus.New(
		prometheus.WithRegisterer(registry),
		prometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		prometheus.WithoutScopeInfo(), // labels on every series that tell nothing
		prometheus.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, err
	}
	m := &Metrics{registry: registry, provider: sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(exporter),
		sdkmetric.WithView(view),
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
	)}
	m.meter = m.provider.Meter("github.com/valueledger/wallet")
	if m.steps, err = newStepInterceptor(m.meter); err != nil {
		return nil, err
	}
	if m.watch, err = newWatch(m.meter); err != nil {
		return nil, err
	}
	m.verify, err = newVerifyInstruments(m.meter)
	return m, err
}

// Client makes a Temporal client and the workers on it count.
func (m *Metrics) Client(o *client.Options) {
	o.MetricsHandler = temporalotel.NewMetricsHandler(temporalotel.MetricsHandlerOptions{
		Meter: m.provider.Meter("go.temporal.io/sdk"), UseMonotonicCounters: true,
	})
}

// Steps is for the options of a worker.
func (m *Metrics) Steps() interceptor.WorkerInterceptor { return m.steps }

// ObservePool tells of a pool's connections.
func (m *Metrics) ObservePool(pool *pgxpool.Pool) error {
	return otelpgx.RecordStats(pool, otelpgx.WithStatsMeterProvider(m.provider))
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
