// Package schedules is recurring commands: Temporal Schedules that start ApplyCommand,
// and the answer to the question which scheduled time a run is for.
package schedules

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// Times looks up the times of a namespace's schedules.
type Times struct {
	Temporal  client.Client
	Namespace string
}

// Register makes it an activity of the ApplyCommand workflow.
func (t Times) Register(r worker.ActivityRegistry) {
	r.RegisterActivityWithOptions(t.scheduledTime, activity.RegisterOptions{Name: wallet.ActivityScheduledTime})
}

func (t Times) scheduledTime(ctx context.Context, run wallet.ScheduledRun) (wallet.ScheduledRun, error) {
	found, err := t.For(ctx, run)
	return found, failure.Encode(err)
}

// For is the run that a start at any time stands for: that of the schedule's last time
// up to then. A run that the schedule starts by itself, and one of a backfill, is for
// its own time; one by hand, whose time is the click, is for the time before it, which
// it pays only if that was not paid.
func (t Times) For(ctx context.Context, run wallet.ScheduledRun) (wallet.ScheduledRun, error) {
	description, err := t.Temporal.WorkflowService().DescribeSchedule(ctx, &workflowservice.DescribeScheduleRequest{Namespace: t.Namespace, ScheduleId: run.ScheduleID})
	if err != nil {
		return run, final(run, err)
	}
	// The server lists the times with the jitter, and starts runs under those without it.
	if jitter := description.GetSchedule().GetSpec().GetJitter().AsDuration(); jitter != 0 {
		return run, invalid(run, "schedule %q has a jitter of %s, so that the time a run is for cannot be told: create it without", run.ScheduleID, jitter)
	}
	// Further back in ever longer steps: most runs are for the very second.
	for end, step := run.At, time.Second; end.Year() >= 1970; step *= 8 {
		start := end.Add(-step)
		last, err := t.last(ctx, run.ScheduleID, start, end)
		if err != nil {
			return run, final(run, err)
		}
		if !last.IsZero() {
			run.At = last
			return run, nil
		}
		end = start
	}
	return run, invalid(run, "schedule %q has no time up to %s: wait for its first", run.ScheduleID, run.At.Format(time.RFC3339))
}

// last is the last time after start and up to end, or zero.
func (t Times) last(ctx context.Context, scheduleID string, start, end time.Time) (last time.Time, err error) {
	until := func(start time.Time) error {
		page, err := t.Temporal.WorkflowService().ListScheduleMatchingTimes(ctx, &workflowservice.ListScheduleMatchingTimesRequest{
			Namespace: t.Namespace, ScheduleId: scheduleID, StartTime: timestamppb.New(start), EndTime: timestamppb.New(end),
		})
		if n := len(page.GetStartTime()); n > 0 {
			last = page.StartTime[n-1].AsTime()
		}
		return err
	}
	// The server lists the first thousand of the span. Where that was not all, the rest
	// is halved, not paged through.
	for before := start; ; {
		if err := until(before); err != nil || !last.After(before) || last.Equal(end) {
			return last, err
		}
		middle := last.Add(end.Sub(last) / 2)
		if err := until(middle); err != nil {
			return last, err
		}
		if !last.After(middle) {
			end = middle
		}
		before = last
	}
}

// final tells a schedule that is gone from a server that does not answer now.
func final(run wallet.ScheduledRun, err error) error {
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return invalid(run, "there is no schedule %q (any more), so that the time a run is for cannot be told: if it is owed, send the command by itself, with the id \"schedule/%s/\" and the scheduled time",
			run.ScheduleID, run.ScheduleID)
	}
	return err
}

func invalid(run wallet.ScheduledRun, format string, args ...any) error {
	return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "schedule", Value: run.ScheduleID, Message: fmt.Sprintf(format, args...)}
}
