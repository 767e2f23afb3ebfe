package schedules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	schedulepb "go.temporal.io/api/schedule/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// ClockChange is what happens to some times of a schedule on a date on which its clock changes.
type ClockChange struct {
	Timezone string `json:"timezone"`
	Date     string `json:"date"` // in the schedule's time zone
	// Times in the schedule's time zone, for example 02:30.
	Times []string `json:"times"`
	// Exist is how often each of them exists on that date.
	Exist Existence `json:"exist"`
	// PaidEach is how often Temporal starts a run for each of them.
	PaidEach int         `json:"paid_each"`
	Paid     []time.Time `json:"paid,omitempty"` // when
}

// Existence is how often a clock shows a time on one date.
type Existence string

const (
	ExistsNever Existence = "never"
	ExistsOnce  Existence = "once" // but Temporal starts no run
	ExistsTwice Existence = "twice"
	// Unasked is a time that is not in the schedule, but for which Temporal starts a run.
	Unasked Existence = "unasked"
)

// String returns a sentence without a final period.
func (c ClockChange) String() string {
	choose := func(singular, plural string) string {
		if len(c.Times) == 1 {
			return singular
		}
		return plural
	}
	what := map[Existence]string{
		ExistsNever: choose("does not exist", "do not exist"),
		ExistsOnce:  choose("is left out by Temporal", "are left out by Temporal"),
		ExistsTwice: choose("exists twice", "exist twice"),
		Unasked:     choose("is no time of the schedule", "are no times of the schedule"),
	}[c.Exist]
	happens := "skipped"
	switch first := c.Paid[:min(c.PaidEach, len(c.Paid))]; len(first) {
	case 1:
		happens = choose("paid once, at ", "each paid once, the first at ") + first[0].Format(time.RFC3339)
	case 2:
		happens = choose("paid twice, at ", "each paid twice, the first at ") + first[0].Format(time.RFC3339) + " and " + first[1].Format(time.RFC3339)
	}
	return fmt.Sprintf("%s in %s: %s %s: %s", c.Date, c.Timezone, enumerate(c.Times), what, happens)
}

func enumerate(times []string) string {
	switch last := len(times) - 1; {
	case last == 0:
		return times[0]
	case last < 4:
		return strings.Join(times[:last], ", ") + " and " + times[last]
	default:
		return fmt.Sprintf("%s to %s (%d times)", times[0], times[last], len(times))
	}
}

// affected is how long after a clock change the server (1.29) may leave out times. It mistakes
// a day that begins with a nonexistent hour for the day before: with each Sunday at 02:30 in
// Havana, it leaves out the Sunday in March on which the clock goes from 0 to 1.
const affected = 28 * time.Hour

// ClockChanges says what happens at a schedule's clock changes after start and up to end. It
// compares what the clock shows with what the server lists.
func (t Times) ClockChanges(ctx context.Context, scheduleID string, start, end time.Time) (found []ClockChange, err error) {
	p, err := t.plan(ctx, scheduleID)
	if err != nil {
		return nil, err
	}
	if p.spec.GetJitter().AsDuration() != 0 {
		return nil, nil // runs of such a schedule fail
	}
	for _, c := range p.changes(start, end) {
		if len(p.walls(c)) == 0 {
			continue
		}
		listed, err := t.between(ctx, scheduleID, c.from(), c.to())
		if err != nil {
			return nil, err
		}
		found = append(found, p.compare(c, listed)...)
	}
	return found, nil
}

// between lists the times after start, which is steady, and up to end.
func (t Times) between(ctx context.Context, scheduleID string, start, end time.Time) (times []time.Time, err error) {
	for {
		page, err := t.page(ctx, scheduleID, start, end)
		if err != nil || len(page) == 0 || !page[len(page)-1].After(start) {
			return times, err
		}
		times = append(times, page...)
		start = page[len(page)-1]
	}
}

// change is a clock change at an instant, from one offset to another.
type change struct {
	at            time.Time
	before, after time.Duration
}

// A change may matter between the instants from and to.
func (c change) from() time.Time { return c.at.Add(-unsteady) }
func (c change) to() time.Time   { return c.at.Add(affected) }

// changes returns the clock changes after start and up to end.
func (p plan) changes(start, end time.Time) (found []change) {
	for at := start; ; {
		if _, at = at.In(p.zone).ZoneBounds(); at.IsZero() || at.After(end) {
			return found
		}
		_, before := at.Add(-time.Second).In(p.zone).Zone()
		_, after := at.In(p.zone).Zone()
		if before != after { // otherwise only the name of the offset changes
			found = append(found, change{at, time.Duration(before) * time.Second, time.Duration(after) * time.Second})
		}
	}
}

// instants returns when the clock shows a time: never, once or twice.
func (c change) instants(wall time.Time) (found []time.Time) {
	if t := wall.Add(-c.before); t.Before(c.at) {
		found = append(found, t)
	}
	if t := wall.Add(-c.after); !t.Before(c.at) {
		found = append(found, t)
	}
	return found
}

// walls returns the times of the schedule's calendars that the clock shows or skips around a
// change.
func (p plan) walls(c change) (found []time.Time) {
	first, last := c.from().UTC().Add(c.before), c.to().UTC().Add(c.after)
	for minute := first.Truncate(time.Minute); !minute.After(last); minute = minute.Add(time.Minute) {
		if !slices.ContainsFunc(p.spec.GetStructuredCalendar(), func(c *schedulepb.StructuredCalendarSpec) bool { return matchesMinute(c, minute) }) {
			continue
		}
		for wall := minute; wall.Before(minute.Add(time.Minute)); wall = wall.Add(time.Second) {
			if wall.After(first) && !wall.After(last) && p.shows(wall) && !p.excludes(wall) {
				found = append(found, wall)
			}
		}
	}
	return found
}

// wallTime is a time on the clock, and the instants at which it is paid.
type wallTime struct {
	wall  time.Time
	exist Existence
	paid  []time.Time
}

// compare finds the times around a change that the clock does not show exactly once, or that
// the server does not list exactly once.
func (p plan) compare(c change, listed []time.Time) []ClockChange {
	isListed := map[int64]bool{}
	for _, t := range listed {
		isListed[t.Unix()] = true
	}
	var odd []*wallTime
	for _, wall := range p.walls(c) {
		w := &wallTime{wall: wall, exist: ExistsNever}
		instants := c.instants(wall)
		if outside := func(t time.Time) bool { return !p.runsAt(t) }; slices.ContainsFunc(append(instants, c.at), outside) {
			continue // the schedule begins or ends here
		}
		for _, t := range instants {
			if isListed[t.Unix()] {
				w.paid = append(w.paid, t)
			}
		}
		switch len(instants) {
		case 1:
			w.exist = ExistsOnce
		case 2:
			w.exist = ExistsTwice
		}
		if w.exist != ExistsOnce || len(w.paid) == 0 {
			odd = append(odd, w)
		}
	}
	// The server may list an instant at which the clock shows a different time, for a time that
	// does not exist or exists twice.
	for _, t := range listed {
		if p.has(t) {
			continue
		}
		unpaid := slices.IndexFunc(odd, func(w *wallTime) bool { return len(w.paid) == 0 && w.exist != ExistsOnce })
		if unpaid >= 0 {
			odd[unpaid].paid = []time.Time{t}
			continue
		}
		odd = append(odd, &wallTime{wall: clockOf(t.In(p.zone)), exist: Unasked, paid: []time.Time{t}})
	}
	return p.group(odd)
}

// group combines times on one date that have the same outcome.
func (p plan) group(odd []*wallTime) (grouped []ClockChange) {
	for _, w := range odd {
		date, clock := w.wall.Format(time.DateOnly), w.wall.Format("15:04")
		if w.wall.Second() != 0 {
			clock = w.wall.Format(time.TimeOnly)
		}
		i := slices.IndexFunc(grouped, func(g ClockChange) bool {
			return g.Date == date && g.Exist == w.exist && g.PaidEach == len(w.paid)
		})
		if i < 0 {
			i = len(grouped)
			grouped = append(grouped, ClockChange{Timezone: p.zone.String(), Date: date, Exist: w.exist, PaidEach: len(w.paid)})
		}
		g := &grouped[i]
		g.Times, g.Paid = append(g.Times, clock), append(g.Paid, w.paid...)
	}
	return grouped
}

// clockTeller fills in the effects of clock changes, once for all schedules with the same
// times, because listing times on the server is slow.
type clockTeller struct {
	times Times
	told  map[string]Entry // by the spec
}

// listedSpecs is how many calendars, intervals and exclusions of a schedule the server (1.29)
// shows in a list.
const listedSpecs = 10

func (c clockTeller) tell(ctx context.Context, entry *Entry, spec *client.ScheduleSpec) error {
	key, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	same, known := c.told[string(key)]
	if !known {
		now := time.Now()
		same.ClockChanges, err = c.times.ClockChanges(ctx, entry.Name, now, now.AddDate(1, 0, 0))
		var missing *serviceerror.NotFound
		switch {
		case errors.Is(err, errZone):
			same.ClockUnknown = err.Error()
		case errors.As(err, &missing):
			return nil // the list lags behind and still has deleted schedules
		case err != nil:
			return err
		}
		if len(spec.Calendars) < listedSpecs && len(spec.Intervals) < listedSpecs && len(spec.Skip) < listedSpecs {
			c.told[string(key)] = same
		}
	}
	entry.ClockChanges, entry.ClockUnknown = same.ClockChanges, same.ClockUnknown
	return nil
}
