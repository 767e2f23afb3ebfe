package schedules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	schedulepb "go.temporal.io/api/schedule/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// daily is a schedule for every day at a time on the zone's clock.
func daily(t *testing.T, zone string, hour, minute int32) plan {
	p, err := newPlan(&schedulepb.ScheduleSpec{TimezoneName: zone, StructuredCalendar: []*schedulepb.StructuredCalendarSpec{{
		Minute: []*schedulepb.Range{{Start: minute}}, Hour: []*schedulepb.Range{{Start: hour}}, Second: []*schedulepb.Range{{}},
		DayOfMonth: []*schedulepb.Range{{Start: 1, End: 31}}, Month: []*schedulepb.Range{{Start: 1, End: 12}}, DayOfWeek: []*schedulepb.Range{{Start: 0, End: 6}},
	}}})
	require.NoError(t, err)
	return p
}

func at(text string) time.Time {
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func TestAPlanHasTheTimesThatTheClockShows(t *testing.T) {
	berlin, howe, apia := daily(t, "Europe/Berlin", 2, 30), daily(t, "Australia/Lord_Howe", 2, 15), daily(t, "Pacific/Apia", 9, 0)
	for _, row := range []struct {
		plan
		at  string
		has bool
	}{
		{berlin, "2026-10-24T00:30:00Z", true},
		{berlin, "2026-10-25T00:30:00Z", true}, // both times on the day that has two
		{berlin, "2026-10-25T01:30:00Z", true},
		{berlin, "2026-10-25T02:30:00Z", false},
		{berlin, "2026-10-25T01:30:01Z", false},
		{berlin, "2026-03-29T00:30:00Z", false}, // neither on the day that has none
		{berlin, "2026-03-29T01:30:00Z", false},
		{howe, "2026-10-03T15:45:00Z", false}, // 02:45: the clock goes from 02:00 to 02:30
		{howe, "2026-10-04T15:15:00Z", true},
		{apia, "2011-12-29T19:00:00Z", true}, // the 29th, and the 31st is the day after it
		{apia, "2011-12-30T19:00:00Z", true},
		{apia, "2011-12-30T09:00:00Z", false},
	} {
		require.Equal(t, row.has, row.plan.has(at(row.at)), "%s %s", row.zone, row.at)
	}
}

func TestAPlanHeedsRangesIntervalsExclusionsStartAndEnd(t *testing.T) {
	all := func(ranges ...*schedulepb.Range) []*schedulepb.Range { return ranges }
	weekdays := func() *schedulepb.StructuredCalendarSpec {
		return &schedulepb.StructuredCalendarSpec{
			Second: all(&schedulepb.Range{}), Minute: all(&schedulepb.Range{Start: 5, End: 50, Step: 15}), Hour: all(&schedulepb.Range{Start: 9}, &schedulepb.Range{Start: 17}),
			DayOfMonth: all(&schedulepb.Range{Start: 1, End: 31, Step: 1}), Month: all(&schedulepb.Range{Start: 1, End: 12}), DayOfWeek: all(&schedulepb.Range{Start: 1, End: 5}),
		}
	}
	christmas := weekdays()
	christmas.DayOfMonth, christmas.Month = all(&schedulepb.Range{Start: 25}), all(&schedulepb.Range{Start: 12})
	p, err := newPlan(&schedulepb.ScheduleSpec{
		StructuredCalendar: []*schedulepb.StructuredCalendarSpec{weekdays()}, ExcludeStructuredCalendar: []*schedulepb.StructuredCalendarSpec{christmas},
		Interval:  []*schedulepb.IntervalSpec{{Interval: durationpb.New(24 * time.Hour), Phase: durationpb.New(time.Hour)}},
		StartTime: timestamppb.New(at("2026-12-01T09:05:00Z")), EndTime: timestamppb.New(at("2026-12-31T17:05:00Z")),
	})
	require.NoError(t, err)
	for text, has := range map[string]bool{
		"2026-12-01T09:05:00Z": true, "2026-12-01T17:50:00Z": true, "2026-12-01T17:51:00Z": false, "2026-12-01T10:05:00Z": false,
		"2026-12-05T09:05:00Z": false, "2026-12-25T09:05:00Z": false, "2026-12-24T09:05:00Z": true,
		"2026-12-05T01:00:00Z": true, "2026-12-05T02:00:00Z": false,
		"2026-11-30T09:05:00Z": false, "2026-12-31T17:05:00Z": true, "2026-12-31T17:20:00Z": false,
	} {
		require.Equal(t, has, p.has(at(text)), text)
	}
	p.spec.StructuredCalendar[0].Year = all(&schedulepb.Range{Start: 2027, End: 2030})
	require.False(t, p.has(at("2026-12-01T09:05:00Z")))
}

func TestASteadyTimeIsFarFromAChangeOfTheClock(t *testing.T) {
	berlin := daily(t, "Europe/Berlin", 2, 30) // the clock changes at 01:00Z
	for text, steady := range map[string]string{
		"2026-10-24T20:59:59Z": "2026-10-24T20:59:59Z",
		"2026-10-24T21:00:01Z": "2026-10-24T21:00:00Z",
		"2026-10-25T01:00:00Z": "2026-10-24T21:00:00Z",
		"2026-10-25T04:59:59Z": "2026-10-24T21:00:00Z",
		"2026-10-25T05:00:00Z": "2026-10-25T05:00:00Z",
		"2026-03-29T01:30:00Z": "2026-03-28T21:00:00Z",
	} {
		require.Equal(t, at(steady), berlin.steady(at(text)).UTC(), text)
	}
	require.Equal(t, at("2011-12-30T06:00:00Z"), daily(t, "Pacific/Apia", 9, 0).steady(at("2011-12-30T10:30:00Z")).UTC())
	require.Equal(t, at("2026-10-25T01:00:00Z"), daily(t, "", 9, 0).steady(at("2026-10-25T01:00:00Z")))
}

func TestAZoneOfOneMachineOrOfNoneIsRefused(t *testing.T) {
	_, err := loadZone("Local")
	require.ErrorContains(t, err, `time zone "Local" is another on each machine`)
	_, err = loadZone("Mars")
	require.ErrorContains(t, err, `time zone "Mars" is not known here`)
}
