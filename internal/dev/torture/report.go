package torture

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/api/serviceerror"
)

// Report says what a run did, saw and found.
type Report struct {
	Plan      Plan        `json:"-"`
	Seed      uint64      `json:"seed"`
	StartedAt time.Time   `json:"started_at"`
	Faults    []Inflicted `json:"-"`

	FaultsByKind map[string]int `json:"faults_by_kind"`
	FaultsMissed int            `json:"faults_missed"` // there was nothing to hit
	Effects      map[string]int `json:"effects"`       // what the faults caused

	Commands int            `json:"commands"` // different ids
	Attempts map[string]int `json:"attempts"` // by way
	Answers  int            `json:"answers"`
	Replays  int            `json:"replays"` // repeated answers
	Conflict int            `json:"id_conflicts"`
	Failures map[string]int `json:"failures"` // attempts without an answer, by error
	Resent   int64          `json:"resent"`   // signals that terminated workflows lost

	Entries  int            `json:"journal_entries"`
	Events   int            `json:"events"`
	Applied  map[string]int `json:"applied"`  // entries, by type
	Refusals map[string]int `json:"refusals"` // and by reason

	ServersBack    time.Duration `json:"servers_back_ns"`    // after the end of the faults
	Recovery       time.Duration `json:"recovery_ns"`        // until each command had its answer
	LongestSilence time.Duration `json:"longest_silence_ns"` // no caller got an answer
	Silent         time.Duration `json:"silent_ns"`          // together, of silences over silenceCounts

	Pace []int `json:"answers_in_each_5s"`

	Violations []Violation `json:"violations"`

	resent, salvaged atomic.Int64
	healed           time.Time
	// clockRight is after every time that Postgres's clock had shown until then.
	clockRight time.Time
	// ownEvents is how many events one run of the busiest wallet that nobody touched
	// would have at least, had it never continued as new.
	ownEvents int
}

func newReport(p Plan) *Report {
	return &Report{
		Plan: p, Seed: p.Options.Seed, StartedAt: time.Now(), Violations: []Violation{},
		FaultsByKind: map[string]int{}, Effects: map[string]int{}, Attempts: map[string]int{}, Failures: map[string]int{}, Applied: map[string]int{}, Refusals: map[string]int{},
	}
}

// countFaults counts faults by kind and by target.
func (r *Report) countFaults() {
	for _, f := range r.Faults {
		for _, sql := range f.Succeeded {
			r.violateAt(f.Begun, "somebody changed the trail, and nothing stopped it: %s", sql)
		}
		if f.Inconsistent != "" {
			r.violateAt(f.Begun, "%s", f.Inconsistent)
		}
		for _, lasted := range f.Snapshots {
			r.Effects[snapshotSeconds] += int(lasted.Seconds())
			r.Effects[longestSnapshot] = max(r.Effects[longestSnapshot], int(lasted.Seconds()))
		}
		if f.Missed != "" {
			r.FaultsMissed++
			continue
		}
		r.FaultsByKind[f.class()]++
	}
	r.Resent = r.resent.Load()
	r.Effects[salvaged] = int(r.salvaged.Load())
}

// count adds the attempts of one wallet.
func (r *Report) count(attempts []attempt) {
	ids := map[string]bool{}
	for _, a := range attempts {
		ids[a.command.ID] = true
		r.Attempts[string(a.way)]++
		switch {
		case a.result != nil && a.result.Replayed:
			r.Replays++
			r.Answers++
		case a.result != nil && a.result.Position == 0:
			r.Conflict++
			r.Answers++
		case a.result != nil:
			r.Answers++
		case a.err != nil:
			r.Failures[nameOf(a.err)]++
		}
	}
	r.Commands += len(ids)
}

// nameOf classifies an error.
func nameOf(err error) string {
	var status serviceerror.ServiceError
	if errors.As(err, &status) {
		return fmt.Sprintf("%T", status)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return "Postgres: " + refused.Message
	}
	var unreachable *pgconn.ConnectError
	if errors.As(err, &unreachable) {
		return "no connection to Postgres"
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T %.80s", err, err)
}

const violationsShown = 30

// Write prints the report for people.
func (r *Report) Write(w io.Writer) {
	o := r.Plan.Options
	fmt.Fprintf(w, "seed %d, %s of load and faults, %d workers, %d clients, %d wallets, Temporal on %s\n",
		r.Seed, o.Duration, o.Workers, o.Clients, o.Wallets, o.TemporalStore)
	fmt.Fprintf(w, "commands   %d, journal entries %d, events %d\n", r.Commands, r.Entries, r.Events)
	fmt.Fprintf(w, "answers    %d, of which replays %d, id_conflicts %d\n", r.Answers, r.Replays, r.Conflict)
	writeCounts(w, "attempts", r.Attempts)
	writeCounts(w, "applied", r.Applied)
	writeCounts(w, "refusals", r.Refusals)
	writeCounts(w, "failures", r.Failures)
	writeCounts(w, "faults", r.FaultsByKind)
	writeCounts(w, "effects", r.Effects)
	fmt.Fprintf(w, "missed     %d faults, whose target was not there; resent %d signals that terminated workflows had lost\n", r.FaultsMissed, r.Resent)
	fmt.Fprintf(w, "recovery   %s until the servers answered, %s until every command had its answer; longest time without any answer %s, all over %s together %s\n",
		round(r.ServersBack), round(r.Recovery), round(r.LongestSilence), silenceCounts, round(r.Silent))
	fmt.Fprintf(w, "pace       %d (answers and accepted signals in each %s)\n", r.Pace, paceSpan)
	fmt.Fprintf(w, "violations %d\n", len(r.Violations))
	for _, v := range r.Violations[:min(len(r.Violations), violationsShown)] {
		fmt.Fprintln(w, "\n  "+v.String())
	}
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

func writeCounts(w io.Writer, title string, counts map[string]int) {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	fmt.Fprintf(w, "%-10s %d\n", title, sum)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "  %7d  %s\n", counts[name], name)
	}
}

// Progress is how far a run is.
type Progress struct {
	Elapsed, Duration time.Duration
	Answered, Failed  int // attempts
}
