package wallet

import "time"

// Duration is a time.Duration written in JSON as Go writes it ("1h30m").
type Duration struct{ time.Duration }

// MarshalText writes "1h30m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "1h30m"; a duration below 0 is refused.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	if err != nil || value < 0 {
		return invalid("duration", string(text), `%s is not a duration: send one such as "24h"`, quote(string(text)))
	}
	d.Duration = value
	return nil
}

// IsZero is for JSON's omitzero.
func (d Duration) IsZero() bool { return d.Duration == 0 }
