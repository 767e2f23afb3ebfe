package telemetry

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
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
	var active atomic.Int64
	_, err = m.meter.Int64ObservableUpDownCounter("wallet_http_active_requests", metric.WithDescription("Requests of the HTTP API in progress."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(active.Load())
			return nil
		}))
	if err != nil {
		return next
	}
	var known sync.Map // labels by answered: making them costs more than recording
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, recorded := time.Now(), &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		ctx := r.Context()
		var span trace.Span
		if provider := tracing.Load(); provider != nil {
			ctx, span = provider.Tracer("github.com/valueledger/wallet").Start(
				propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header)), "HTTP "+methodOf(r), trace.WithSpanKind(trace.SpanKindServer))
			r = r.WithContext(ctx)
		}
		active.Add(1)
		defer func() {
			active.Add(-1)
			labels := labelsOf(&known, answered{recorded.route, methodOf(r), recorded.status})
			duration.Record(ctx, time.Since(start).Seconds(), labels.option)
			if span != nil {
				span.SetAttributes(labels.set.ToSlice()...)
				if recorded.status >= http.StatusInternalServerError {
					span.SetStatus(codes.Error, http.StatusText(recorded.status))
				}
				span.End()
			}
		}()
		next.ServeHTTP(recorded, r)
	})
}

// answered is what the labels of a request say. It has few values.
type answered struct {
	route, method string
	status        int
}

type labels struct {
	set    attribute.Set
	option metric.RecordOption
}

func labelsOf(known *sync.Map, a answered) labels {
	if l, ok := known.Load(a); ok {
		return l.(labels)
	}
	set := attribute.NewSet(attribute.String("route", a.route), attribute.String("method", a.method), attribute.Int("status", a.status))
	l, _ := known.LoadOrStore(a, labels{set, metric.WithAttributeSet(set)})
	return l.(labels)
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
