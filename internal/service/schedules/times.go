// Package schedules implements recurring commands: Temporal Schedules that start ApplyCommand,
// and finding the scheduled time that a run is for.
package schedules

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// Register registers the activity that the ApplyCommand workflow uses.
func (t Times) Register(r worker.ActivityRegistry) {
	r.RegisterActivityWithOptions(t.scheduledTime, activity.RegisterOptions{Name: wallet.ActivityScheduledTime})
}

func (t Times) scheduledTime(ctx context.Context, run wallet.ScheduledRun) (wallet.ScheduledRun, error) {
	found, err := t.For(ctx, run)
	return found, failure.Encode(err)
}

// For returns the scheduled run that a start at any time stands for. A run that the schedule
// starts by itself, or in a backfill, is for its own time: the clock shows one of the
// schedule's times, or the server lists it. A run triggered by hand, whose time is the click,
// is for the last time that the server lists before it, and pays that only if it was not paid
// yet.
//
// Near a clock change the server's list depends on where it starts. For daily at 02:30 in
// Berlin, on the day with two 02:30s, it lists 01:30Z; asked from 01:29:59Z on it lists 02:30Z;
// asked from 00:45Z on it lists none. So it is always asked from a steady time.
func (t Times) For(ctx context.Context, run wallet.ScheduledRun) (wallet.ScheduledRun, error) {
	p, err := t.plan(ctx, run.ScheduleID)
	if err != nil {
		return run, final(run, err) // a newer worker may know a zone that this one does not
	}
	run, err = t.timeOf(ctx, p, run)
	if err == nil && run.WithNext {
		run.Next, err = t.next(ctx, p, run)
	}
	return run, err
}

func (t Times) timeOf(ctx context.Context, p plan, run wallet.ScheduledRun) (wallet.ScheduledRun, error) {
	// The server lists times with the jitter, but starts runs under the times without it.
	if jitter := p.spec.GetJitter().AsDuration(); jitter != 0 {
		return run, invalid(run, "schedule %q has a jitter of %s, so the scheduled time of a run is unknown: create it without", run.ScheduleID, jitter)
	}
	if at := run.At.Truncate(time.Second); p.has(at) {
		run.At = at
		return run, nil
	}
	// Look further back in ever longer steps.
	for end, step := run.At, time.Minute; end.Year() >= 1970; step *= 8 {
		start := p.steady(end.Add(-step))
		last, err := t.last(ctx, run.ScheduleID, p, start, end)
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

// next returns the first time after a run's, by the server's list from a steady time.
func (t Times) next(ctx context.Context, p plan, run wallet.ScheduledRun) (time.Time, error) {
	const most = 50 * 365 * 24 * time.Hour
	for start, step := p.steady(run.At), time.Hour; step < most; {
		page, err := t.page(ctx, run.ScheduleID, start, run.At.Add(step))
		if err != nil {
			return time.Time{}, final(run, err)
		}
		if i := slices.IndexFunc(page, run.At.Before); i >= 0 {
			return page[i], nil
		}
		if len(page) > 0 && page[len(page)-1].After(start) {
			start = page[len(page)-1]
		} else { // look further ahead
			step *= 8
		}
	}
	return time.Time{}, invalid(run, "schedule %q has no time after %s, at which this one's would expire: leave expires_at_next out", run.ScheduleID, run.At.Format(time.RFC3339))
}

// plan reads the times of a schedule.
func (t Times) plan(ctx context.Context, scheduleID string) (plan, error) {
	description, err := t.Temporal.WorkflowService().DescribeSchedule(ctx, &workflowservice.DescribeScheduleRequest{Namespace: t.Namespace, ScheduleId: scheduleID})
	if err != nil {
		return plan{}, err
	}
	p, err := newPlan(description.GetSchedule().GetSpec())
	if err != nil {
		return plan{}, fmt.Errorf("read the times of schedule %q: %w", scheduleID, err)
	}
	return p, nil
}

// last returns the last time after start, which is steady, and up to end, or zero.
func (t Times) last(ctx context.Context, scheduleID string, p plan, start, end time.Time) (time.Time, error) {
	page, err := t.page(ctx, scheduleID, start, end)
	if err != nil || len(page) == 0 {
		return time.Time{}, err
	}
	last := page[len(page)-1]
	for {
		page, err := t.page(ctx, scheduleID, last, end)
		if err != nil || len(page) == 0 || !page[len(page)-1].After(last) {
			return last, err
		}
		last = page[len(page)-1]
		// There is more than one page: halve the rest if possible.
		middle := p.steady(last.Add(end.Sub(last) / 2))
		if !middle.After(last) {
			continue
		}
		if page, err = t.page(ctx, scheduleID, middle, end); err != nil {
			return time.Time{}, err
		}
		if len(page) > 0 {
			last = page[len(page)-1]
		} else {
			end = middle
		}
	}
}

// page lists the first thousand times after start and up to end. start is steady, or the last
// time in the previous list.
func (t Times) page(ctx context.Context, scheduleID string, start, end time.Time) ([]time.Time, error) {
	listed, err := t.Temporal.WorkflowService().ListScheduleMatchingTimes(ctx, &workflowservice.ListScheduleMatchingTimesRequest{
		Namespace: t.Namespace, ScheduleId: scheduleID, StartTime: timestamppb.New(start), EndTime: timestamppb.New(end),
	})
	if err != nil {
		return nil, err
	}
	times := make([]time.Time, len(listed.GetStartTime()))
	for i, at := range listed.GetStartTime() {
		times[i] = at.AsTime()
	}
	return times, nil
}

// final distinguishes a schedule that is gone or unreadable from a server that does not answer
// right now.
func final(run wallet.ScheduledRun, err error) error {
	if errors.Is(err, errLocalZone) {
		return invalid(run, "schedule %q: %v, so the scheduled time of a run is unknown: create it with another", run.ScheduleID, err)
	}
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return invalid(run, "there is no schedule %q (any more), so the scheduled time of the run is unknown: if the payment is owed, send the command directly, with the id \"schedule/%s/\" and the scheduled time",
			run.ScheduleID, run.ScheduleID)
	}
	return err
}

func invalid(run wallet.ScheduledRun, format string, args ...any) error {
	return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "schedule", Value: run.ScheduleID, Message: fmt.Sprintf(format, args...)}
}
