package postgres

import "time"

// ClockTolerance is how far the time of an entry may be ahead of a clock before somebody is told.
// Clocks that are kept in step differ by milliseconds.
const ClockTolerance = 5 * time.Second
