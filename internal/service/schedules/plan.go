package schedules

import (
	"errors"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the image has no time zones of its own

	schedulepb "go.temporal.io/api/schedule/v1"
)

// plan is a schedule's times as its clock shows them.
type plan struct {
	spec *schedulepb.ScheduleSpec
	zone *time.Location
}

// newPlan reads the spec of a schedule as the server describes it: crons are calendars there.
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

// errZone says that the clock of a schedule cannot be read here.
var errZone = errors.New("use a name of the IANA database, such as Europe/Berlin")

// errLocalZone is an errZone that no other worker mends.
var errLocalZone = fmt.Errorf("time zone \"Local\" is another on each machine: %w", errZone)

// loadZone finds a time zone by its name in the IANA database; UTC is "" too.
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

// has says whether the clock shows one of the schedule's times at t, a whole second.
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

// runsAt says whether t is between the start and the end of the schedule.
func (p plan) runsAt(t time.Time) bool {
	start, end := p.spec.GetStartTime(), p.spec.GetEndTime()
	return (start == nil || !t.Before(start.AsTime())) && (end == nil || !t.After(end.AsTime()))
}

// shows says whether a calendar of the schedule has a time of the clock.
func (p plan) shows(wall time.Time) bool {
	return slices.ContainsFunc(p.spec.GetStructuredCalendar(), func(c *schedulepb.StructuredCalendarSpec) bool { return matches(c, wall) })
}

func (p plan) excludes(wall time.Time) bool {
	return slices.ContainsFunc(p.spec.GetExcludeStructuredCalendar(), func(c *schedulepb.StructuredCalendarSpec) bool { return matches(c, wall) })
}

// clockOf is what a clock shows, as if it were UTC. Unlike an instant, it may be a time that
// does not exist, or exists twice.
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

// unsteady is how close to a change of the clock the server's (1.29) answer to "what is the
// next time after t" depends on t: 2 hours at most in any zone, where the clock goes back by
// 2 (Antarctica/Troll).
const unsteady = 4 * time.Hour

// steady is the last time up to t that is not close to a change of the clock. A list of times
// that starts there has what the server starts by itself.
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
