package wallet

import "time"

// conditions are the fields of a command that say what must be true for it to be applied. Every
// type that callers may send takes them.
var conditions = []string{"not_after", "expected_version"}

// tooLate refuses a command that would be recorded after its not_after.
func (c Command) tooLate(now time.Time) *Refusal {
	if c.NotAfter.IsZero() || !now.After(c.NotAfter) {
		return nil
	}
	return refuse(ReasonTooLate, "it is %s, later than not_after %s: if it is still wanted, send it under a new id, with a later time", timeText(now), timeText(c.NotAfter))
}

// versionMismatch refuses a command for another version of the wallet asset.
func (c Command) versionMismatch(before Asset) *Refusal {
	if c.ExpectedVersion == nil || *c.ExpectedVersion == before.Version {
		return nil
	}
	return refuse(ReasonVersionMismatch, "the wallet has version %d, not the expected_version %d: read it, and decide again under a new id", before.Version, *c.ExpectedVersion)
}

func (c *Command) validateConditions() error {
	if err := validateTime("not_after", c.NotAfter); err != nil {
		return err
	}
	if c.ExpectedVersion != nil && *c.ExpectedVersion < 0 {
		text := fieldText(&c.ExpectedVersion)
		return invalid("expected_version", text, "expected_version %s is below 0: send the version that the wallet must have", text)
	}
	return nil
}

// validateTime refuses times that Postgres or JSON cannot keep unchanged.
func validateTime(field string, t time.Time) error {
	if t.IsZero() {
		return nil
	}
	text := fieldText(&t)
	switch year := t.UTC().Year(); {
	case !t.Equal(t.Truncate(time.Microsecond)):
		return invalid(field, text, "%s %s has more than 6 decimals of a second, which are not kept: send at most 6", field, text)
	case year < 2000 || year > 9999: // no JSON has a later one
		return invalid(field, text, "%s %s is out of range: send a time between the years 2000 and 9999", field, text)
	}
	return nil
}

// ValidateScheduled refuses conditions in the command of a schedule: they would hold for one of
// its times at most.
func (c *Command) ValidateScheduled() error {
	for _, f := range commandFields {
		if !f.isCondition() || !isSet(f.of(c)) {
			continue
		}
		text := fieldText(f.of(c))
		return invalid(f.name, text, "a schedule sends the same command at each of its times, so it takes no %s, got %s: leave it out", f.name, quote(text))
	}
	return nil
}
