package schedules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

func TestTheTimesOfAScheduleInWords(t *testing.T) {
	one := func(values ...int) (ranges []client.ScheduleRange) {
		for _, value := range values {
			ranges = append(ranges, client.ScheduleRange{Start: value})
		}
		return ranges
	}
	span := func(start, end, step int) []client.ScheduleRange {
		return []client.ScheduleRange{{Start: start, End: end, Step: step}}
	}
	for words, calendar := range map[string]client.ScheduleCalendarSpec{
		"every day at 00:00 UTC":                                     {},
		"every day at 02:30 UTC":                                     {Hour: one(2), Minute: one(30), DayOfMonth: span(1, 31, 1), Month: span(1, 12, 1), DayOfWeek: span(0, 6, 1)},
		"on day 1 of the month at 09:00 UTC":                         {Hour: one(9), DayOfMonth: one(1)},
		"on day 1 and 15 of the month at 00:00:05 UTC":               {Second: one(5), DayOfMonth: one(1, 15)},
		"on day 1 in January and July in 2027 at 00:00 UTC":          {DayOfMonth: one(1), Month: one(1, 7), Year: one(2027)},
		"every Friday at 17:30 UTC":                                  {Hour: one(17), Minute: one(30), DayOfWeek: one(5)},
		"every Sunday and Wednesday at 06:00 UTC":                    {Hour: one(6), DayOfWeek: one(0, 3)},
		"Monday to Friday at 09:00 and 17:00 UTC":                    {Hour: one(9, 17), DayOfWeek: span(1, 5, 1)},
		"on day 13 of the month if it is a Friday at 00:00 UTC":      {DayOfMonth: one(13), DayOfWeek: one(5)},
		"every day in June to August at 12:00 UTC":                   {Hour: one(12), Month: span(6, 8, 1)},
		"every minute UTC":                                           {Hour: span(0, 23, 1), Minute: span(0, 59, 1)},
		"every 15 minutes UTC":                                       {Hour: span(0, 23, 1), Minute: span(0, 59, 15)},
		"every 15 minutes from 09:00 to 17:45, Monday to Friday UTC": {Hour: span(9, 17, 1), Minute: span(0, 59, 15), DayOfWeek: span(1, 5, 1)},
		"every hour UTC":                                             {Hour: span(0, 23, 1)},
		"every hour at minute 5 UTC":                                 {Hour: span(0, 23, 1), Minute: one(5)},
		"every 2 hours at minute 5 UTC":                              {Hour: span(0, 23, 2), Minute: one(5)},
		"every hour from 09:30 to 17:30 UTC":                         {Hour: span(9, 17, 1), Minute: one(30)},
		"every day at minute 0 of hour 1, 2, 5, 7 and 8 UTC":         {Hour: one(1, 2, 5, 7, 8)},
		"every hour at minute 0, 7 and 14 UTC":                       {Hour: span(0, 23, 1), Minute: span(0, 14, 7)},
		"every hour at minute 5, second 10 UTC":                      {Hour: span(0, 23, 1), Minute: one(5), Second: one(10)},
		"every day at hour 1, minute 0, second 0 to 9 UTC":           {Hour: one(1), Second: span(0, 9, 1)},
	} {
		require.Equal(t, words, InWords(client.ScheduleSpec{Calendars: []client.ScheduleCalendarSpec{calendar}}))
	}
	for words, interval := range map[string]client.ScheduleIntervalSpec{
		"every day at 06:00 UTC":      {Every: 24 * time.Hour, Offset: 6 * time.Hour},
		"every 7 days, offset 36h":    {Every: 7 * 24 * time.Hour, Offset: 36 * time.Hour},
		"every 8 hours, offset 1h30m": {Every: 8 * time.Hour, Offset: 90 * time.Minute},
		"every hour":                  {Every: time.Hour},
		"every 90 minutes":            {Every: 90 * time.Minute},
		"every 100 seconds":           {Every: 100 * time.Second},
	} {
		require.Equal(t, words, InWords(client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{interval}}))
	}
	require.Equal(t, "every day at 02:30 Europe/Berlin; every hour, with exceptions, from 2027-01-01T00:00:00Z, until 2028-01-01T00:00:00Z", InWords(client.ScheduleSpec{
		Calendars: []client.ScheduleCalendarSpec{{Hour: one(2), Minute: one(30)}}, Intervals: []client.ScheduleIntervalSpec{{Every: time.Hour}},
		TimeZoneName: "Europe/Berlin", Skip: []client.ScheduleCalendarSpec{{}},
		StartAt: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), EndAt: time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC),
	}))
}
