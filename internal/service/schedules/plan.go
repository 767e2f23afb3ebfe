package schedules

import (
	"errors"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the image has no time zone data

	schedulepb "go.temporal.io/api/schedule/v1"
)

// plan holds a schedule's times as its clock shows them.
type plan struct {
	spec *schedulepb.ScheduleSpec
	zone *time.Location
}

// newPlan reads the spec of a schedule as the server describes it, with crons as calendars.
func newPlan(spec *schedulepb.ScheduleSpec) (p plan, err error) {
	p.spec = spec
	switch name := spec.GetTimezoneName(); {
	case len(spec.GetTimezoneData()) > 0:
		if p.zone, err = time.LoadLocationFromTZData(name, spec.TimezoneData); err != nil {
			err = fmt.Errorf("the data of time zone %q cannot be read: %w", name, errZone)
		}
	default:
		p.zone, err = loadZone(name)
	}
	return p, err
}

// errZone says that a schedule's clock cannot be read here.
var errZone = errors.New("use a name of the IANA database, such as Europe/Berlin")

// errLocalZone is an errZone that another worker cannot fix either.
var errLocalZone = fmt.Errorf("time zone \"Local\" is another on each machine: %w", errZone)

// loadZone looks up a time zone by its name in the IANA database; "" is UTC.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errLocalZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is not known here: %w", name, errZone)
	}
	return zone, nil
}

// has reports whether t, a whole second, is one of the schedule's times.
func (p plan) has(t time.Time) bool {
	if !p.runsAt(t) {
		return false
	}
	wall := clockOf(t.In(p.zone))
	if p.excludes(wall) {
		return false
	}
	for _, interval := range p.spec.GetInterval() {
		every, offset := int64(interval.GetInterval().AsDuration()/time.Second), int64(interval.GetPhase().AsDuration()/time.Second)
		if every > 0 && (t.Unix()-offset)%every == 0 {
			return true
		}
	}
	return p.shows(wall)
}

// runsAt reports whether t is between the schedule's start and end.
func (p plan) runsAt(t time.Time) bool {
	start, end := p.spec.GetStartTime(), p.spec.GetEndTime()
	return (start == nil || !t.Before(start.AsTime())) && (end == nil || !t.After(end.AsTime()))
}

// shows reports whether a calendar of the schedule includes a clock time.
func (p plan) shows(wall time.Time) bool {
	return slices.ContainsFunc(p.spec.GetStructuredCalendar(), func(c *schedulepb.StructuredCalendarSpec) bool { return matches(c, wall) })
}

func (p plan) excludes(wall time.Time) bool {
	return slices.ContainsFunc(p.spec.GetExcludeStructuredCalendar(), func(c *schedulepb.StructuredCalendarSpec) bool { return matches(c, wall) })
}

// clockOf returns what a clock shows, as if it were UTC. Unlike an instant, it may not exist,
// or exist twice.
func clockOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

func matches(c *schedulepb.StructuredCalendarSpec, wall time.Time) bool {
	return matchesMinute(c, wall) && contains(c.GetSecond(), wall.Second())
}

func matchesMinute(c *schedulepb.StructuredCalendarSpec, wall time.Time) bool {
	return contains(c.GetMinute(), wall.Minute()) && contains(c.GetHour(), wall.Hour()) &&
		contains(c.GetDayOfMonth(), wall.Day()) && contains(c.GetDayOfWeek(), int(wall.Weekday())) && contains(c.GetMonth(), int(wall.Month())) &&
		(len(c.GetYear()) == 0 || contains(c.GetYear(), wall.Year()))
}

func contains(ranges []*schedulepb.Range, value int) bool {
	for _, r := range ranges {
		start, end, step := int(r.GetStart()), max(int(r.GetEnd()), int(r.GetStart())), max(int(r.GetStep()), 1)
		if start <= value && value <= end && (value-start)%step == 0 {
			return true
		}
	}
	return false
}

// unsteady is how close to a clock change the server's (1.29) answer to "what is the next time
// after t" depends on t. In practice that is at most 2 hours, in the zone where the clock goes
// back by 2 (Antarctica/Troll).
const unsteady = 4 * time.Hour

// steady is the last time up to t that is not close to a clock change. A list that starts there
// has exactly the times at which the server starts runs by itself.
func (p plan) steady(t time.Time) time.Time {
	for {
		last, next := t.In(p.zone).ZoneBounds()
		switch {
		case !last.IsZero() && t.Sub(last) < unsteady:
			t = last.Add(-unsteady)
		case !next.IsZero() && next.Sub(t) < unsteady:
			return next.Add(-unsteady)
		default:
			return t
		}
	}
}
