package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// stepInterceptor times every try of a step. Activities are never replayed.
type stepInterceptor struct {
	interceptor.WorkerInterceptorBase
	duration metric.Float64Histogram
	batch    metric.Int64Histogram
	ahead    metric.Int64Counter
	told     atomic.Int64 // when ahead was last logged, as Unix time
}

func newStepInterceptor(meter metric.Meter) (*stepInterceptor, error) {
	duration, err := meter.Float64Histogram("wallet_step_duration", metric.WithUnit("s"),
		metric.WithDescription("Attempts of a step: done, refused (final) or failed (retried)."))
	if err != nil {
		return nil, err
	}
	batch, err := meter.Int64Histogram("wallet_batch_size", metric.WithUnit(unitCommands),
		metric.WithDescription("Commands in one ApplyCommands or ApplyLane step."))
	if err != nil {
		return nil, err
	}
	ahead, err := meter.Int64Counter("wallet_time_ahead",
		metric.WithDescription("Steps whose wallet's last entry is more than 5 s ahead of the worker's clock."))
	if err != nil {
		return nil, err
	}
	ahead.Add(context.Background(), 0) // an alert needs the series before its first increase
	return &stepInterceptor{duration: duration, batch: batch, ahead: ahead}, nil
}

func (s *stepInterceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	timed := &timedStep{of: s}
	timed.Next = next
	return timed
}

type timedStep struct {
	interceptor.ActivityInboundInterceptorBase
	of *stepInterceptor
}

func (s *timedStep) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	started := time.Now()
	ctx, latest := counts.WithLatest(ctx)
	out, err := s.Next.ExecuteActivity(ctx, in)
	s.of.duration.Record(ctx, time.Since(started).Seconds(), metric.WithAttributes(
		attribute.String("step", activity.GetInfo(ctx).ActivityType.Name), attribute.String("outcome", outcomeOf(err))))
	if err == nil && len(in.Args) == 1 {
		switch input := in.Args[0].(type) {
		case wallet.ApplyCommandsInput:
			s.of.batch.Record(ctx, int64(len(input.Commands)))
		case wallet.ApplyLaneInput:
			s.of.batch.Record(ctx, int64(len(input.Items)))
		}
	}
	if err == nil {
		s.of.checkTime(ctx, latest)
	}
	return out, err
}

// checkTime tells of a wallet whose last entry is ahead of the worker's clock. Either Postgres's
// clock is ahead, or it was when an entry was recorded: later ones cannot have an earlier time.
func (s *stepInterceptor) checkTime(ctx context.Context, latest *counts.Latest) {
	now := time.Now()
	by := latest.Time.Sub(now)
	if by <= postgres.ClockTolerance {
		return
	}
	s.ahead.Add(ctx, 1)
	if last := s.told.Load(); now.Unix()-last >= 60 && s.told.CompareAndSwap(last, now.Unix()) {
		activity.GetLogger(ctx).Warn("the last entry of a wallet is ahead of this worker's clock: Postgres's clock is ahead, or was (this is logged at most once a minute)",
			"recorded_at", latest.Time, "ahead", by.Round(time.Second).String(), "position", latest.Position)
	}
}

func outcomeOf(err error) string {
	var application *temporal.ApplicationError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &application) && application.NonRetryable():
		return "refused"
	default:
		return "failed"
	}
}
