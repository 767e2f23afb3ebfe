package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/valueledger/wallet/internal/service/webhooks"
)

// Webhooks returns what a process that sends webhooks reports each attempt with.
func (m *Metrics) Webhooks() (observe func(endpoint, result string, took time.Duration), err error) {
	attempts, err := m.meter.Int64Counter("wallet_webhook_attempts",
		metric.WithDescription("Attempts to send an event: delivered, failed, throttled (429) or gone (410)."))
	if err != nil {
		return nil, err
	}
	duration, err := m.meter.Float64Histogram("wallet_webhook_duration", metric.WithUnit("s"),
		metric.WithDescription("How long receivers of webhooks took to answer."))
	if err != nil {
		return nil, err
	}
	return func(endpoint, result string, took time.Duration) {
		attempts.Add(context.Background(), 1, metric.WithAttributes(attribute.String("endpoint", endpoint), attribute.String("result", result)))
		duration.Record(context.Background(), took.Seconds())
	}, nil
}

// webhookInstruments report how far endpoints are, also if nothing sends.
type webhookInstruments struct {
	waiting, parked, down metric.Int64ObservableGauge
	lag                   metric.Float64ObservableGauge
}

func newWebhookInstruments(meter metric.Meter) (w webhookInstruments, err error) {
	gauge := func(name, description string) (g metric.Int64ObservableGauge) {
		if err == nil {
			g, err = meter.Int64ObservableGauge(name, metric.WithDescription(description))
		}
		return g
	}
	w.waiting = gauge("wallet_webhook_waiting", "Wallets with events that an endpoint is still to be sent.")
	w.parked = gauge("wallet_webhook_parked", "Events that are parked for an endpoint.")
	w.down = gauge("wallet_webhook_endpoint_parked", "Whether an endpoint is parked as a whole.")
	if err == nil {
		w.lag, err = meter.Float64ObservableGauge("wallet_webhook_lag", metric.WithUnit("s"),
			metric.WithDescription("How long the wallet that waits longest for an active endpoint has not got on."))
	}
	return w, err
}

func (w webhookInstruments) all() []metric.Observable {
	return []metric.Observable{w.waiting, w.parked, w.down, w.lag}
}

func (w webhookInstruments) tell(o metric.Observer, lags []webhooks.Lag) {
	for _, l := range lags {
		of := metric.WithAttributes(attribute.String("endpoint", l.Endpoint))
		var down int64
		if l.EndpointParked {
			down = 1
		}
		o.ObserveInt64(w.waiting, l.Wallets, of)
		o.ObserveInt64(w.parked, l.Parked, of)
		o.ObserveInt64(w.down, down, of)
		o.ObserveFloat64(w.lag, l.Age.Seconds(), of)
	}
}
