package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// HTTP measures the requests of a handler, by route, method and status, and traces them if traces are
// on. Paths and queries are left out: they have the ids of users.
func (m *Metrics) HTTP(next http.Handler) http.Handler {
	duration, err := m.meter.Float64Histogram("wallet_http_request_duration", metric.WithUnit("s"),
		metric.WithDescription("Time until a request of the HTTP API was answered."))
	if err != nil {
		return next
	}
	active, err := m.meter.Int64UpDownCounter("wallet_http_active_requests", metric.WithDescription("Requests of the HTTP API in progress."))
	if err != nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, recorded := time.Now(), &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		ctx := r.Context()
		var span trace.Span
		if provider := tracing.Load(); provider != nil {
			ctx, span = provider.Tracer("github.com/valueledger/wallet").Start(
				propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header)), "HTTP "+methodOf(r), trace.WithSpanKind(trace.SpanKindServer))
		}
		r = r.WithContext(ctx)
		active.Add(ctx, 1)
		defer func() {
			active.Add(ctx, -1)
			labels := []attribute.KeyValue{attribute.String("route", recorded.route), attribute.String("method", methodOf(r)), attribute.Int("status", recorded.status)}
			duration.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(labels...))
			if span != nil {
				span.SetAttributes(labels...)
				if recorded.status >= http.StatusInternalServerError {
					span.SetStatus(codes.Error, http.StatusText(recorded.status))
				}
				span.End()
			}
		}()
		next.ServeHTTP(recorded, r)
	})
}

// ObserveReads reports how old the answers to reads can be.
func (m *Metrics) ObserveReads(lag func() time.Duration) error {
	_, err := m.meter.Float64ObservableGauge("wallet_read_lag", metric.WithUnit("s"),
		metric.WithDescription("How old an answer from the read database can be; it grows while there is none."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(lag().Seconds())
			return nil
		}))
	return err
}

// methodOf bounds the values of a label.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodHead, http.MethodDelete, http.MethodPatch, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// statusRecorder learns the status and the route of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
	route  string
}

// SetRoute says to a handler's ResponseWriter which route it is of.
func SetRoute(w http.ResponseWriter, route string) {
	if recorded, ok := w.(*statusRecorder); ok {
		recorded.route = route
	}
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
