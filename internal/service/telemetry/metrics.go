// Package telemetry makes a worker observable: metrics for Prometheus to scrape, traces
// exported by OTLP, and an HTTP server for the metrics and the health and readiness probes.
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

	"github.com/valueledger/wallet/internal/service/counts"
)

// Metrics are the metrics of one worker. Their names are in docs/metrics.md.
type Metrics struct {
	registry *promclient.Registry
	provider *sdkmetric.MeterProvider
	meter    metric.Meter
	steps    *stepInterceptor
	verify   verifyInstruments
	watch    *watch
}

// NewMetrics makes a separate set of metrics: none of it is global.
func NewMetrics() (*Metrics, error) {
	registry := promclient.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := prometheus.New(
		prometheus.WithRegisterer(registry),
		prometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		prometheus.WithoutScopeInfo(), // useless labels on every series
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

// Client makes a Temporal client and its workers record metrics.
func (m *Metrics) Client(o *client.Options) {
	o.MetricsHandler = m.temporal()
}

// temporal returns the handler that the SDK and workflows count with.
func (m *Metrics) temporal() client.MetricsHandler {
	return temporalotel.NewMetricsHandler(temporalotel.MetricsHandlerOptions{
		Meter: m.provider.Meter("go.temporal.io/sdk"), UseMonotonicCounters: true,
	})
}

// CountExpired counts what has expired outside of its wallet's workflow, as that counts the rest.
func (m *Metrics) CountExpired(holds, grants int) {
	counts.Expired(m.temporal(), holds)
	counts.ExpiredGrants(m.temporal(), grants)
}

// Steps returns an interceptor for a worker's options.
func (m *Metrics) Steps() interceptor.WorkerInterceptor { return m.steps }

// ObservePool reports a pool's connections.
func (m *Metrics) ObservePool(pool *pgxpool.Pool) error {
	return otelpgx.RecordStats(pool, otelpgx.WithStatsMeterProvider(m.provider))
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
