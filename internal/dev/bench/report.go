package bench

import (
	"fmt"
	"math"
	"runtime"
	"time"
)

// Row is the result of one run. All figures except those of Checked and the history are for the
// window after the warm-up.
type Row struct {
	Store string `json:"temporal_store"`
	Spec
	WindowSeconds     float64 `json:"window_seconds"`
	Commands          int64   `json:"commands"` // whose call has returned
	CommandsPerSecond float64 `json:"commands_per_second"`
	// Latency is of a call, with all its commands.
	Latency Latency `json:"latency_ms"`
	CPU     CPU     `json:"cpu_ms_per_command"`
	// HistoryEventsPerCommand covers the whole run; 0 without Temporal.
	HistoryEventsPerCommand float64 `json:"history_events_per_command"`
	// OthersCPU is the share of the machine used by programs outside the benchmark, 0 to 1:
	// compare only runs where it is similar.
	OthersCPU float64  `json:"others_cpu"`
	Signals   *Signals `json:"signals,omitempty"`
	Ratios    Ratios   `json:"ratios"`
	Checked   Checked  `json:"checked"`
}

// Latency of calls, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// CPU is the time each process has used, in milliseconds per command. Part of Temporal's work
// on Postgres is counted for Postgres.
type CPU struct {
	ClientAndWorker float64 `json:"client_and_worker"`
	Temporal        float64 `json:"temporal,omitempty"`
	Postgres        float64 `json:"postgres,omitempty"`
}

// sum is the time on the whole machine.
func (c CPU) sum() float64 { return c.ClientAndWorker + c.Temporal + c.Postgres }

// Signals has figures for signals only, because their senders do not wait for the answer.
type Signals struct {
	AcceptedPerSecond float64 `json:"accepted_per_second"`
	AppliedPerSecond  float64 `json:"applied_per_second"`
	// SecondsToEmpty is from the last accepted signal to the last applied one.
	SecondsToEmpty float64 `json:"seconds_to_empty"`
}

// Ratios compare with runs of the same scenario and store; 0 if there is none.
type Ratios struct {
	// ToTextbook is commands/s divided by the textbook's with the same number of callers, or as
	// many as it can have.
	ToTextbook float64 `json:"to_textbook,omitempty"`
	// P50ToTextbook is the median latency divided by the textbook's.
	P50ToTextbook float64 `json:"p50_to_textbook,omitempty"`
	// CPUToTextbook is the CPU time per command of all processes divided by the textbook's.
	CPUToTextbook float64 `json:"cpu_to_textbook,omitempty"`
	// ToFloor is commands/s divided by the floor's with one command per statement.
	ToFloor float64 `json:"to_floor,omitempty"`
	// ToBatchedFloor is the same with the best floor that has many commands per statement.
	ToBatchedFloor float64 `json:"to_batched_floor,omitempty"`
	// ToCoalesced is commands/s in lanes by those without, with the same callers and wallets.
	ToCoalesced float64 `json:"to_coalesced,omitempty"`
	// ToLanes is commands/s by HTTP by those in lanes, with the same callers and wallets.
	ToLanes float64 `json:"to_lanes,omitempty"`
	// ToPlain is commands/s of holds and captures by those of plain subtractions, in the same
	// mode and with as many callers.
	ToPlain float64 `json:"to_plain,omitempty"`
}

func newRow(store string, spec Spec, m measured) Row {
	perCommand := func(d time.Duration) float64 {
		commands := m.commands
		if spec.Mode == Signal { // the work is done when it is applied
			commands = m.settled
		}
		if commands == 0 {
			return 0
		}
		return milliseconds(d) / float64(commands)
	}
	quantile := func(q float64) float64 { return float64(m.latency.ValueAtQuantile(q)) / 1000 }
	row := Row{
		Store: store, Spec: spec,
		WindowSeconds: m.window.Seconds(), Commands: m.commands,
		CommandsPerSecond: float64(m.commands) / m.window.Seconds(),
		Latency:           Latency{P50: quantile(50), P95: quantile(95), P99: quantile(99)},
		CPU:               CPU{perCommand(m.cpu.client), perCommand(m.cpu.temporal), perCommand(m.cpu.postgres)},
		OthersCPU:         float64(m.cpu.others()) / float64(m.window) / float64(runtime.NumCPU()),
	}
	if spec.Mode == Signal {
		row.Signals = &Signals{
			AcceptedPerSecond: row.CommandsPerSecond,
			AppliedPerSecond:  float64(m.settled) / m.window.Seconds(),
			SecondsToEmpty:    m.untilEmpty.Seconds(),
		}
		row.CommandsPerSecond = min(row.Signals.AcceptedPerSecond, row.Signals.AppliedPerSecond)
	}
	return row
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// compare fills in the ratios of rows of one store.
func compare(rows []Row) {
	for i := range rows {
		row := &rows[i]
		if row.Mode == Floor {
			continue
		}
		row.Ratios.ToPlain = toPlain(*row, rows)
		row.Ratios.ToCoalesced = toCoalesced(*row, rows)
		row.Ratios.ToLanes = toLanes(*row, rows)
		var textbook, floor, batched *Row
		for j := range rows {
			other := &rows[j]
			if other.Scenario != row.Scenario {
				continue
			}
			switch {
			case other.Mode == Textbook && (textbook == nil || closer(row.Clients, other.Clients, textbook.Clients)):
				textbook = other
			case other.Mode == Floor && other.PerCall == 1 && (floor == nil || closer(row.Wallets, other.Wallets, floor.Wallets)):
				floor = other
			case other.Mode == Floor && other.PerCall > 1 && (batched == nil || other.CommandsPerSecond > batched.CommandsPerSecond):
				batched = other
			}
		}
		if textbook != nil && row.Mode != Textbook {
			row.Ratios.ToTextbook = ratio(row.CommandsPerSecond, textbook.CommandsPerSecond)
			row.Ratios.P50ToTextbook = ratio(row.Latency.P50, textbook.Latency.P50)
			row.Ratios.CPUToTextbook = ratio(row.CPU.sum(), textbook.CPU.sum())
		}
		if floor != nil {
			row.Ratios.ToFloor = ratio(row.CommandsPerSecond, floor.CommandsPerSecond)
		}
		if batched != nil {
			row.Ratios.ToBatchedFloor = ratio(row.CommandsPerSecond, batched.CommandsPerSecond)
		}
	}
}

// toPlain compares a run of holds with the plain one beside it.
func toPlain(row Row, rows []Row) float64 {
	beside := row.Spec
	beside.Scenario, beside.SubtractPercent = Plain, 100
	for _, other := range rows {
		if row.Scenario == Holds && other.Spec == beside {
			return ratio(row.CommandsPerSecond, other.CommandsPerSecond)
		}
	}
	return 0
}

// toCoalesced compares a run in lanes with the one beside it without.
func toCoalesced(row Row, rows []Row) float64 {
	beside := row.Spec
	beside.Mode, beside.Lanes = Coalesced, 0
	for _, other := range rows {
		if row.Mode == Lanes && other.Spec == beside {
			return ratio(row.CommandsPerSecond, other.CommandsPerSecond)
		}
	}
	return 0
}

// toLanes compares a run by HTTP with the one beside it in lanes.
func toLanes(row Row, rows []Row) float64 {
	beside := row.Spec
	beside.Mode = Lanes
	for _, other := range rows {
		if row.Mode == HTTP && other.Spec == beside {
			return ratio(row.CommandsPerSecond, other.CommandsPerSecond)
		}
	}
	return 0
}

// closer reports whether a is nearer to want than b.
func closer(want, a, b int) bool {
	distance := func(n int) float64 { return math.Abs(math.Log(float64(n) / float64(want))) }
	return distance(a) < distance(b)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Violations returns those of all rows.
func Violations(rows []Row) (all []string) {
	for _, row := range rows {
		for _, violation := range row.Checked.Violations {
			all = append(all, fmt.Sprintf("%s on %s: %s", row.Spec, row.Store, violation))
		}
	}
	return all
}
