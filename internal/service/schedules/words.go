package schedules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
)

// InWords says when a schedule sends its command, such as "every Monday at 09:00 UTC". The spec
// is as the server returns it, with crons as calendars.
func InWords(spec client.ScheduleSpec) string {
	var parts []string
	for _, c := range spec.Calendars {
		parts = append(parts, calendarInWords(c)+" "+cmp.Or(spec.TimeZoneName, "UTC"))
	}
	for _, i := range spec.Intervals {
		parts = append(parts, intervalInWords(i))
	}
	words := strings.Join(parts, "; ")
	if len(spec.Skip) > 0 {
		words += ", with exceptions"
	}
	if !spec.StartAt.IsZero() {
		words += ", from " + spec.StartAt.UTC().Format(time.RFC3339)
	}
	if !spec.EndAt.IsZero() {
		words += ", until " + spec.EndAt.UTC().Format(time.RFC3339)
	}
	return words
}

// intervalInWords counts from 1970-01-01T00:00:00Z as Temporal does.
func intervalInWords(i client.ScheduleIntervalSpec) string {
	if i.Every == 24*time.Hour && i.Offset%time.Minute == 0 {
		return "every day at " + clock(int(i.Offset/time.Hour), int(i.Offset%time.Hour/time.Minute), 0) + " UTC"
	}
	words := "every " + duration(i.Every)
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if i.Every%unit.of == 0 {
			words = every(int(i.Every/unit.of), unit.name)
			break
		}
	}
	if i.Offset != 0 {
		words += ", offset " + duration(i.Offset)
	}
	return words
}

// duration writes 6h, where Go writes 6h0m0s.
func duration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func calendarInWords(c client.ScheduleCalendarSpec) string {
	days := daysInWords(values(c.DayOfMonth, 1, 31), values(c.DayOfWeek, 0, 6), values(c.Month, 1, 12))
	if len(c.Year) > 0 {
		var years []string
		for _, year := range values(c.Year, 0, 9999) {
			years = append(years, fmt.Sprint(year))
		}
		days += " in " + enumerated(years, "and")
	}
	at := timesInWords(values(atZero(c.Hour), 0, 23), values(atZero(c.Minute), 0, 59), values(atZero(c.Second), 0, 59))
	if strings.HasPrefix(at, "at ") {
		return days + " " + at
	}
	if days == "every day" { // every hour is so of every day
		return at
	}
	return at + ", " + days
}

// atZero is what Temporal takes an hour, minute or second for that is not given.
func atZero(ranges []client.ScheduleRange) []client.ScheduleRange {
	if len(ranges) == 0 {
		return []client.ScheduleRange{{}}
	}
	return ranges
}

// values are those of the ranges between least and most, in order; all if there are no ranges.
func values(ranges []client.ScheduleRange, least, most int) (all []int) {
	if len(ranges) == 0 {
		ranges = []client.ScheduleRange{{Start: least, End: most}}
	}
	for _, r := range ranges {
		for value := max(r.Start, least); value <= min(max(r.End, r.Start), most); value++ {
			if (value-r.Start)%max(r.Step, 1) == 0 {
				all = append(all, value)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func daysInWords(daysOfMonth, daysOfWeek, months []int) string {
	var weekdays, of []string
	for _, day := range daysOfWeek {
		weekdays = append(weekdays, time.Weekday(day).String())
	}
	for _, month := range months {
		of = append(of, time.Month(month).String())
	}
	anyDate, anyWeekday, anyMonth := len(daysOfMonth) == 31, len(daysOfWeek) == 7, len(months) == 12
	var words string
	switch {
	case anyDate && anyWeekday:
		words = "every day"
	case anyDate:
		words = enumerated(spans(daysOfWeek, weekdays), "and")
		if !strings.Contains(words, " to ") {
			words = "every " + words
		}
	default:
		var dates []string
		for _, day := range daysOfMonth {
			dates = append(dates, fmt.Sprint(day))
		}
		words = "on day " + enumerated(spans(daysOfMonth, dates), "and")
		if anyMonth {
			words += " of the month"
		}
		if !anyWeekday {
			words += " if it is a " + enumerated(weekdays, "or")
		}
	}
	if !anyMonth {
		words += " in " + enumerated(spans(months, of), "and")
	}
	return words
}

// atMost is how many clock times are listed one by one.
const atMost = 4

// timesInWords begins with "at" if days have to come before it, and else with "every".
func timesInWords(hours, minutes, seconds []int) string {
	second := seconds[0]
	if len(seconds) > 1 {
		return fmt.Sprintf("at hour %s, minute %s, second %s", numbers(hours), numbers(minutes), numbers(seconds))
	}
	if len(hours)*len(minutes) <= atMost {
		var times []string
		for _, hour := range hours {
			for _, minute := range minutes {
				times = append(times, clock(hour, minute, second))
			}
		}
		return "at " + enumerated(times, "and")
	}
	of := "" // the hours, unless there are all
	minuteStep, hourStep := step(minutes, 60), step(hours, 24)
	last := len(hours) - 1
	switch {
	case len(hours) == 24:
	case hours[last]-hours[0] == last:
		of = " from " + clock(hours[0], minutes[0], second) + " to " + clock(hours[last], minutes[len(minutes)-1], second)
	case hourStep > 0 && len(minutes) == 1:
		return every(hourStep, "hour") + past(minutes[0], second)
	default:
		of = " of hour " + numbers(hours)
	}
	switch {
	case len(minutes) == 1 && strings.HasPrefix(of, " from "):
		return "every hour" + of
	case len(minutes) == 1 && of != "":
		return "at minute " + numbers(minutes) + past(0, second) + of
	case len(minutes) == 1:
		return "every hour" + past(minutes[0], second)
	case minuteStep > 0 && second == 0:
		return every(minuteStep, "minute") + of
	default:
		return "every hour at minute " + numbers(minutes) + past(0, second) + of
	}
}

// past says how long after the full hour, or minute.
func past(minute, second int) (words string) {
	if minute != 0 {
		words = fmt.Sprintf(" at minute %d", minute)
	}
	if second != 0 {
		words += fmt.Sprintf(", second %d", second)
	}
	return words
}

// step is the distance of values that go through 0 to size-1 in equal steps, else 0.
func step(values []int, size int) int {
	if values[0] != 0 || size%len(values) != 0 {
		return 0
	}
	distance := size / len(values)
	for i, value := range values {
		if value != i*distance {
			return 0
		}
	}
	return distance
}

func every(n int, unit string) string {
	if n == 1 {
		return "every " + unit
	}
	return fmt.Sprintf("every %d %ss", n, unit)
}

func clock(hour, minute, second int) string {
	if second == 0 {
		return fmt.Sprintf("%02d:%02d", hour, minute)
	}
	return fmt.Sprintf("%02d:%02d:%02d", hour, minute, second)
}

func numbers(values []int) string {
	var names []string
	for _, value := range values {
		names = append(names, fmt.Sprint(value))
	}
	return enumerated(spans(values, names), "and")
}

// spans names values, three and more in a row as "Monday to Friday".
func spans(values []int, names []string) (all []string) {
	for from := 0; from < len(values); {
		to := from
		for to+1 < len(values) && values[to+1] == values[to]+1 {
			to++
		}
		if to-from < 2 {
			to = from
			all = append(all, names[from])
		} else {
			all = append(all, names[from]+" to "+names[to])
		}
		from = to + 1
	}
	return all
}

// enumerated is "a, b and c".
func enumerated(items []string, and string) string {
	last := len(items) - 1
	if last < 1 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:last], ", ") + " " + and + " " + items[last]
}
