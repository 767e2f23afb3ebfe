package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestTimesAtAClockChangeArePaidOnce runs schedules over the days on which their clocks
// change. Every run that the server starts is paid under the time that it was started for.
func TestTimesAtAClockChangeArePaidOnce(t *testing.T) {
	for name, row := range map[string]struct {
		cron, zone string
		from, to   string
	}{
		"Berlin, autumn":                {"30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z"},
		"Berlin, spring":                {"30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"},
		"Berlin, autumn, dense":         {"*/20 * * * *", "Europe/Berlin", "2026-10-24T22:30:00Z", "2026-10-25T04:00:00Z"},
		"Berlin, autumn, from within":   {"*/20 * * * *", "Europe/Berlin", "2026-10-25T00:01:00Z", "2026-10-25T04:00:00Z"},
		"Berlin, autumn, two times":     {"31,32 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"},
		"New York, autumn":              {"30 1 * * *", "America/New_York", "2025-11-01T00:00:00Z", "2025-11-03T12:00:00Z"},
		"New York, spring":              {"30 2 * * *", "America/New_York", "2026-03-06T12:00:00Z", "2026-03-09T12:00:00Z"},
		"New York, autumn, dense":       {"*/20 * * * *", "America/New_York", "2025-11-02T04:00:00Z", "2025-11-02T08:00:00Z"},
		"Lord Howe, autumn":             {"45 1 * * *", "Australia/Lord_Howe", "2026-04-02T12:00:00Z", "2026-04-05T12:00:00Z"},
		"Lord Howe, spring":             {"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:00:00Z", "2026-10-05T00:00:00Z"},
		"Lord Howe, autumn, every 15 m": {"*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T13:00:00Z", "2026-04-04T18:00:00Z"},
		"Havana, Sunday, spring":        {"30 2 * * 0", "America/Havana", "2026-02-28T12:00:00Z", "2026-03-16T12:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{row.cron}, TimeZoneName: row.zone})
			from, to := at(row.from), at(row.to)
			s.backfill(span(from, to))
			listed := s.listed(from, to)
			require.NotEmpty(t, listed)
			_, failures := s.ran(len(listed))
			require.Empty(t, failures)
			w.eventually("the last run", func() bool { return w.position() >= int64(len(listed)) })
			paid := s.paid()
			slices.Sort(paid)
			require.Equal(t, listed, paid)
		})
	}
}

// TestARunByHandAtAClockChangePaysTheLastTime: it pays no time in advance, and none twice.
func TestARunByHandAtAClockChangePaysTheLastTime(t *testing.T) {
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"30 2 * * *"}, TimeZoneName: "Europe/Berlin"})
	for click, last := range map[string]string{
		"2026-10-25T00:45:00Z": "2026-10-24T00:30:00Z", // the server has the second 02:30 alone
		"2026-10-25T01:29:59Z": "2026-10-24T00:30:00Z",
		"2026-10-25T01:30:00Z": "2026-10-25T01:30:00Z",
		"2026-10-25T01:59:00Z": "2026-10-25T01:30:00Z",
		"2026-10-25T02:30:00Z": "2026-10-25T01:30:00Z",
		"2026-10-26T01:29:59Z": "2026-10-25T01:30:00Z",
		"2026-10-26T01:30:00Z": "2026-10-26T01:30:00Z",
		"2026-03-29T00:30:00Z": "2026-03-28T01:30:00Z", // has no 02:30
		"2026-03-29T01:30:00Z": "2026-03-28T01:30:00Z",
		"2026-03-29T22:00:00Z": "2026-03-28T01:30:00Z",
	} {
		due, err := s.c.Due(t.Context(), s.name, at(click))
		require.NoError(t, err)
		require.Equal(t, "schedule/"+s.name+"/"+last, due.Command.ID, click)
	}
	// Asked from within the repeated hour, the server starts a run for 02:30Z, which is no 02:30.
	s.backfill(span(at("2026-10-25T01:05:00Z"), at("2026-10-25T03:00:00Z")))
	s.ran(1)
	s.backfill(span(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z")))
	results, failures := s.ran(2)
	require.Empty(t, failures)
	require.Len(t, results, 2)
	require.Equal(t, []string{"2026-10-25T01:30:00Z"}, s.paid())
}

// listed are the times of the schedule, as the server has them.
func (s *schedule) listed(from, to time.Time) (times []string) {
	all, err := s.temporal.WorkflowService().ListScheduleMatchingTimes(context.Background(), &workflowservice.ListScheduleMatchingTimesRequest{
		Namespace: client.DefaultNamespace, ScheduleId: s.name, StartTime: timestamppb.New(from.Add(-time.Millisecond)), EndTime: timestamppb.New(to),
	})
	require.NoError(s.t, err)
	for _, t := range all.GetStartTime() {
		times = append(times, t.AsTime().Format(time.RFC3339))
	}
	return times
}
