package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

// stepInterceptor times every try of a step. Activities are never replayed.
type stepInterceptor struct {
	interceptor.WorkerInterceptorBase
	duration metric.Float64Histogram
	batch    metric.Int64Histogram
}

func newStepInterceptor(meter metric.Meter) (*stepInterceptor, error) {
	duration, err := meter.Float64Histogram("wallet_step_duration", metric.WithUnit("s"),
		metric.WithDescription("Attempts of a step: done, refused (by the rules, final) or failed (retried)."))
	if err != nil {
		return nil, err
	}
	batch, err := meter.Int64Histogram("wallet_batch_size", metric.WithUnit(unitCommands),
		metric.WithDescription("Commands in one ApplyCommands step."))
	return &stepInterceptor{duration: duration, batch: batch}, err
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
	out, err := s.Next.ExecuteActivity(ctx, in)
	s.of.duration.Record(ctx, time.Since(started).Seconds(), metric.WithAttributes(
		attribute.String("step", activity.GetInfo(ctx).ActivityType.Name), attribute.String("outcome", outcomeOf(err))))
	if err == nil && len(in.Args) == 1 {
		if input, ok := in.Args[0].(wallet.ApplyCommandsInput); ok {
			s.of.batch.Record(ctx, int64(len(input.Commands)))
		}
	}
	return out, err
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
