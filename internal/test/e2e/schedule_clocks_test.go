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

	"github.com/valueledger/wallet/internal/service/schedules"
)

// TestTimesAtAClockChangeArePaidOnce runs schedules over the days on which their clocks change.
// Every run that the server starts must be paid under the time it was started for.
func TestTimesAtAClockChangeArePaidOnce(t *testing.T) {
	t.Parallel()
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
			w.eventually("the last run", func() bool { return w.position() >= int64(1+len(listed)) }) // the wallet is opened first
			paid := s.paid()
			slices.Sort(paid)
			require.Equal(t, listed, paid)
		})
	}
}

// TestARunByHandAtAClockChangePaysTheLastTime: it pays no time in advance, and none twice.
func TestARunByHandAtAClockChangePaysTheLastTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"30 2 * * *"}, TimeZoneName: "Europe/Berlin"})
	for click, last := range map[string]string{
		"2026-10-25T00:45:00Z": "2026-10-24T00:30:00Z", // the server only has the second 02:30
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
	// Asked from within the repeated hour, the server starts a run for 02:30Z, which is not a
	// 02:30 on this clock.
	s.backfill(span(at("2026-10-25T01:05:00Z"), at("2026-10-25T03:00:00Z")))
	s.ran(1)
	s.backfill(span(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z")))
	results, failures := s.ran(2)
	require.Empty(t, failures)
	require.Len(t, results, 2)
	require.Equal(t, []string{"2026-10-25T01:30:00Z"}, s.paid())
}

// TestClockChangesAreToldAsTheServerRunsThem compares the reported changes with what a clock
// shows and with what the server lists for the year.
func TestClockChangesAreToldAsTheServerRunsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, to := at("2026-09-01T00:00:00Z"), at("2027-09-01T00:00:00Z")
	for _, row := range []struct {
		cron, zone string
		told       []string
	}{
		{"30 2 * * *", "Europe/Berlin", []string{
			"2026-10-25 in Europe/Berlin: 02:30 exists twice: paid once, at 2026-10-25T01:30:00Z",
			"2027-03-28 in Europe/Berlin: 02:30 does not exist: skipped",
		}},
		{"30 1 * * *", "America/New_York", []string{
			"2026-11-01 in America/New_York: 01:30 exists twice: paid twice, at 2026-11-01T05:30:00Z and 2026-11-01T06:30:00Z",
		}},
		{"30 2 * * *", "America/New_York", []string{
			"2027-03-14 in America/New_York: 02:30 does not exist: skipped",
		}},
		{"15 2 * * *", "Australia/Lord_Howe", []string{
			"2026-10-04 in Australia/Lord_Howe: 02:15 does not exist: paid once, at 2026-10-03T15:45:00Z",
		}},
		{"45 1 * * *", "Australia/Lord_Howe", []string{
			"2027-04-04 in Australia/Lord_Howe: 01:45 exists twice: paid once, at 2027-04-03T15:15:00Z",
		}},
		{"31,32 2 * * *", "Europe/Berlin", []string{
			"2026-10-25 in Europe/Berlin: 02:31 and 02:32 exist twice: each paid once, the first at 2026-10-25T01:31:00Z",
			"2027-03-28 in Europe/Berlin: 02:31 and 02:32 do not exist: skipped",
		}},
		{"* * * * *", "America/New_York", []string{
			"2026-11-01 in America/New_York: 01:00 to 01:59 (60 times) exist twice: each paid twice, the first at 2026-11-01T05:00:00Z and 2026-11-01T06:00:00Z",
			"2027-03-14 in America/New_York: 02:00 to 02:59 (60 times) do not exist: skipped",
		}},
		{"30 2 * * 0", "America/Havana", []string{
			"2027-03-14 in America/Havana: 02:30 is left out by Temporal: skipped",
		}},
		{"0 0 1 * *", "Europe/Berlin", nil},
		{"30 2 * * *", "Asia/Tokyo", nil},
		{"30 2 * * *", "", nil},
	} {
		s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{row.cron}, TimeZoneName: row.zone})
		changes, err := s.c.ClockChanges(t.Context(), s.name, from, to)
		require.NoError(t, err)
		var told []string
		for _, change := range changes {
			told = append(told, change.String())
		}
		require.Equal(t, row.told, told, "%s %s", row.cron, row.zone)

		zone, err := time.LoadLocation(row.zone)
		require.NoError(t, err)
		for _, change := range changes {
			day, err := time.ParseInLocation(time.DateOnly, change.Date, zone)
			require.NoError(t, err)
			var listed []string
			for _, text := range s.listed(day.Add(-6*time.Hour), day.Add(10*time.Hour)) { // starts before the change
				if at := at(text).In(zone); at.Format(time.DateOnly) == change.Date && slices.Contains(change.Times, at.Format("15:04")) {
					listed = append(listed, text)
				}
			}
			if len(change.Times) == 1 && change.Exist != schedules.ExistsNever {
				require.Len(t, listed, change.PaidEach, change)
			}
			for _, paid := range change.Paid {
				require.Contains(t, s.listed(paid.Add(-10*time.Hour), paid), paid.Format(time.RFC3339), change)
			}
		}
	}
}

// listed returns the schedule's times according to the server.
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
