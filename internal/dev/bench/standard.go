package bench

import "time"

// Standard is the set of runs in docs/benchmarks.md. Runs to compare are next to each other, so
// that a temporarily busy machine affects both.
func Standard(duration time.Duration) []Spec {
	c := Choice{Wallets: 64, SubtractPercent: 30, Duration: duration}
	rows, many, wide := c, c, c
	rows.Wallets, many.Wallets = 1000, 200 // fewer, because wallets are opened first
	wide.Wallets, wide.Lanes = 100_000, 2
	return []Spec{
		c.spec(Hot, Floor, floorWriters, 1),
		c.spec(Hot, Coalesced, 512, 1),
		c.spec(Hot, Textbook, mostUpdates, 1),
		c.spec(Hot, Update, mostUpdates, 1),
		c.spec(Hot, Coalesced, 64, 1),
		c.spec(Hot, Batch, mostUpdates, 500),
		c.spec(Hot, Floor, 1, 500),
		c.spec(Hot, Textbook, 1, 1),
		c.spec(Hot, Update, 1, 1),
		c.spec(Hot, Signal, 32, 1),
		c.spec(Plain, Coalesced, 512, 1),
		c.spec(Holds, Coalesced, 512, 1),
		c.spec(Plain, Update, mostUpdates, 1),
		c.spec(Holds, Update, mostUpdates, 1),
		c.spec(Spread, Floor, floorWriters, 1),
		c.spec(Spread, Coalesced, 32, 1),
		c.spec(Spread, Lanes, 32, 1),
		c.spec(Spread, Textbook, 32, 1),
		rows.spec(Spread, Floor, floorWriters, 1),
		rows.spec(Spread, Lanes, 256, 1),
		rows.spec(Spread, HTTP, 256, 1),
		wide.spec(Spread, Floor, floorWriters, 1),
		wide.spec(Spread, Lanes, 1000, 1),
		rows.spec(Transfer, Floor, floorWriters, 1),
		rows.spec(Transfer, Lanes, 256, 1),
		many.spec(Transfer, Coalesced, 32, 1),
		many.spec(Transfer, Lanes, 32, 1),
		rows.spec(Collect, Floor, floorWriters, 1),
		rows.spec(Collect, Lanes, 256, 1),
		many.spec(Mixed, Floor, floorWriters, 1),
		many.spec(Mixed, Coalesced, 64, 1),
	}
}

// StandardShort is the part of it that also runs on the development server with SQLite. It has no
// floors, which do not use Temporal.
func StandardShort(duration time.Duration) []Spec {
	c := Choice{Wallets: 64, SubtractPercent: 30, Duration: duration}
	return []Spec{
		c.spec(Hot, Coalesced, 512, 1),
		c.spec(Hot, Textbook, mostUpdates, 1),
		c.spec(Hot, Batch, mostUpdates, 500),
		c.spec(Hot, Textbook, 1, 1),
		c.spec(Hot, Update, 1, 1),
		c.spec(Hot, Signal, 32, 1),
		c.spec(Spread, Coalesced, 32, 1),
		c.spec(Spread, Textbook, 32, 1),
	}
}
