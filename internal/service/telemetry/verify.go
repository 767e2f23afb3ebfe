package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// verifyInstruments report the last completed verification. Before the first there are no such
// series: nothing is known, which is not the same as nothing found.
type verifyInstruments struct {
	runs                       metric.Int64Counter
	findings, entries, wallets metric.Int64Gauge
	duration, finished, failed metric.Float64Gauge
}

func newVerifyInstruments(meter metric.Meter) (v verifyInstruments, err error) {
	gauge := func(name, description string) (g metric.Int64Gauge) {
		if err == nil {
			g, err = meter.Int64Gauge(name, metric.WithDescription(description))
		}
		return g
	}
	seconds := func(name, description string) (g metric.Float64Gauge) {
		if err == nil {
			g, err = meter.Float64Gauge(name, metric.WithUnit("s"), metric.WithDescription(description))
		}
		return g
	}
	v.findings = gauge("wallet_verify_findings", "Wallets that failed the last verification.")
	v.entries = gauge("wallet_verify_entries", "Journal entries that the last verification read.")
	v.wallets = gauge("wallet_verify_wallets", "Wallets that the last verification read.")
	v.duration = seconds("wallet_verify_duration", "Duration of the last verification.")
	v.finished = seconds("wallet_verify_finished_timestamp", "When the last verification ended, as Unix time.")
	v.failed = seconds("wallet_verify_failed_timestamp", "When a verification last failed to finish, as Unix time; 0 if none has since the start.")
	if err == nil {
		v.runs, err = meter.Int64Counter("wallet_verify_runs",
			metric.WithDescription("Verifications: sound, findings or failed (not finished)."))
	}
	if err == nil { // Prometheus only sees an increase from an existing zero
		for _, outcome := range []string{"sound", "findings", "failed"} {
			v.runs.Add(context.Background(), 0, metric.WithAttributes(attribute.String("outcome", outcome)))
		}
		v.failed.Record(context.Background(), 0)
	}
	return v, err
}

// Verified records a completed verification.
func (m *Metrics) Verified(ctx context.Context, wallets, entries, findings int64, took time.Duration) {
	outcome := "sound"
	if findings > 0 {
		outcome = "findings"
	}
	m.verify.run(ctx, outcome)
	m.verify.findings.Record(ctx, findings)
	m.verify.entries.Record(ctx, entries)
	m.verify.wallets.Record(ctx, wallets)
	m.verify.duration.Record(ctx, took.Seconds())
	m.verify.finished.Record(ctx, unixSeconds())
}

// NotVerified records a verification that failed.
func (m *Metrics) NotVerified(ctx context.Context) {
	m.verify.run(ctx, "failed")
	m.verify.failed.Record(ctx, unixSeconds())
}

func unixSeconds() float64 { return float64(time.Now().UnixMilli()) / 1000 }

func (v verifyInstruments) run(ctx context.Context, outcome string) {
	v.runs.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}
