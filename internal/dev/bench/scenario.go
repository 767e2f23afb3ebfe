package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scenario says how commands are spread over wallets.
type Scenario string

// The scenarios.
const (
	Hot    Scenario = "hot"    // one wallet
	Spread Scenario = "spread" // each wallet as often as the next
	Mixed  Scenario = "mixed"  // Zipf: few wallets get most

	// Holds is one wallet whose callers place a hold and capture it, by turns; each run of it
	// has one of Plain beside it.
	Holds Scenario = "holds"
	Plain Scenario = "plain" // one wallet, subtracted from

	Transfer Scenario = "transfer" // between pairs of wallets, each pair as often as the next
	Collect  Scenario = "collect"  // transfers from any wallet into one
)

// moves reports whether a call is a transfer: one transaction of two legs.
func (s Scenario) moves() bool { return s == Transfer || s == Collect }

// Scenarios are all of them.
var Scenarios = []Scenario{Hot, Spread, Mixed, Holds, Transfer, Collect}

// Mode is the way commands are sent: one of the wallets' own, or one of the two baselines.
type Mode string

// The modes.
const (
	Signal    Mode = "signal"    // starter.Send: nobody waits for the answer
	Update    Mode = "update"    // one update per command, each caller with its own client
	Batch     Mode = "batch"     // starter.ApplyBatch
	Coalesced Mode = "coalesced" // all callers call Add or Subtract of one client
	Lanes     Mode = "lanes"     // the same, with starter.Options.Lanes
	HTTP      Mode = "http"      // by the HTTP API over loopback, which has lanes
	Textbook  Mode = "textbook"  // one update, three regular activities
	Floor     Mode = "floor"     // one SQL statement per call, without Temporal
)

// Modes are those of the wallets.
var Modes = []Mode{Signal, Update, Batch, Coalesced, Lanes, HTTP}

func (m Mode) hasLanes() bool { return m == Lanes || m == HTTP }

const (
	// mostUpdates stays below Temporal's limit of 10 updates in flight per workflow, for
	// callers that do not share a client that combines them.
	mostUpdates = 8
	// floorWriters is the number of connections with the best throughput on one row at one
	// command per statement.
	floorWriters = 32
)

// Spec is one run.
type Spec struct {
	Scenario        Scenario      `json:"scenario"`
	Mode            Mode          `json:"mode"`
	Clients         int           `json:"clients"`  // callers, each with one call under way
	Wallets         int           `json:"wallets"`  // 1 if hot
	PerCall         int           `json:"per_call"` // commands; a transfer counts as one
	Lanes           int           `json:"lanes,omitempty"`
	SubtractPercent int           `json:"subtract_percent"` // 0 where holds are captured or transfers made
	WarmUp          time.Duration `json:"-"`
	Duration        time.Duration `json:"-"`
}

func (s Spec) String() string {
	text := fmt.Sprintf("%s by %s, %d clients", s.Scenario, s.Mode, s.Clients)
	if s.Wallets > 1 {
		text += fmt.Sprintf(", %d wallets", s.Wallets)
	}
	if s.PerCall > 1 {
		text += fmt.Sprintf(", %d commands per call", s.PerCall)
	}
	if s.Lanes > 0 {
		text += fmt.Sprintf(", %d lanes", s.Lanes)
	}
	return text
}

// fileName is the spec as a part of a file's name.
func (s Spec) fileName() string {
	return fmt.Sprintf("%s-%s-%dx%d", s.Scenario, s.Mode, s.Clients, s.PerCall)
}

// limited reduces the callers to what the mode allows per wallet.
func (s Spec) limited() Spec {
	alone := s.Mode == Update || s.Mode == Batch || s.Mode == Textbook
	if alone && s.Scenario != Spread {
		s.Clients = min(s.Clients, mostUpdates)
	}
	return s
}

// Choice is what to run, as given on the command line.
type Choice struct {
	Scenarios       []Scenario
	Modes           []Mode
	Clients         int
	Wallets         int
	PerCall         int // commands of a batch
	Lanes           int // of the modes lanes and http
	SubtractPercent int
	Duration        time.Duration
}

// Specs are the runs of a choice, each scenario with its floors and the textbook, or that of
// holds with plain subtractions.
func (c Choice) Specs() ([]Spec, error) {
	if c.Clients < 1 || c.Wallets < 1 || c.PerCall < 1 || c.Duration <= 0 {
		return nil, fmt.Errorf("clients (%d), wallets (%d), batch (%d) and duration (%s) have to be above 0", c.Clients, c.Wallets, c.PerCall, c.Duration)
	}
	if c.SubtractPercent < 0 || c.SubtractPercent > 100 {
		return nil, fmt.Errorf("subtract %d%% is not between 0%% and 100%%", c.SubtractPercent)
	}
	var specs []Spec
	for _, scenario := range c.Scenarios {
		if !slices.Contains(Scenarios, scenario) {
			return nil, fmt.Errorf("scenario %q is unknown: use %s", scenario, join(Scenarios))
		}
		if scenario.moves() {
			if c.Wallets < 2 {
				return nil, fmt.Errorf("scenario %q needs 2 wallets or more, got %d", scenario, c.Wallets)
			}
			specs = append(specs, c.spec(scenario, Floor, floorWriters, 1))
		} else if scenario != Holds {
			specs = append(specs,
				c.spec(scenario, Floor, floorWriters, 1),
				c.spec(scenario, Floor, 1, 100),
				c.spec(scenario, Floor, 1, 500),
				c.spec(scenario, Textbook, c.Clients, 1))
		}
		for _, mode := range c.Modes {
			if !slices.Contains(Modes, mode) {
				return nil, fmt.Errorf("mode %q is unknown: use %s", mode, join(Modes))
			}
			if scenario.moves() && mode != Coalesced && mode != Lanes {
				continue // there is one way to send a transaction, with lanes and without
			}
			perCall := 1
			if mode == Batch {
				perCall = c.PerCall
			}
			if scenario == Holds {
				specs = append(specs, c.spec(Plain, mode, c.Clients, perCall))
			}
			specs = append(specs, c.spec(scenario, mode, c.Clients, perCall))
		}
	}
	return specs, nil
}

func (c Choice) spec(scenario Scenario, mode Mode, clients, perCall int) Spec {
	wallets, subtract := c.Wallets, c.SubtractPercent
	if scenario == Hot || scenario == Plain || scenario == Holds {
		wallets = 1
	}
	switch scenario {
	case Plain:
		subtract = 100
	case Holds, Transfer, Collect:
		subtract = 0
	}
	lanes := 0
	if mode.hasLanes() {
		lanes = max(c.Lanes, 1)
	}
	return Spec{
		Scenario: scenario, Mode: mode, Clients: clients, Wallets: wallets, PerCall: perCall, Lanes: lanes,
		SubtractPercent: subtract, Duration: c.Duration, WarmUp: min(c.Duration/4, 2*time.Second),
	}.limited()
}

func join[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}
