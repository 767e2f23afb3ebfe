package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is the complete result of a benchmark.
type Report struct {
	Command   string    `json:"command"`
	StartedAt time.Time `json:"started_at"`
	Machine   Machine   `json:"machine"`
	Rows      []Row     `json:"rows"`
}

// Stores returns the stores that the report has rows for, in order.
func (r Report) Stores() (stores []string) {
	for _, row := range r.Rows {
		if !slices.Contains(stores, row.Store) {
			stores = append(stores, row.Store)
		}
	}
	return stores
}

// RowsOf returns the rows of one store.
func (r Report) RowsOf(store string) (rows []Row) {
	for _, row := range r.Rows {
		if row.Store == store {
			rows = append(rows, row)
		}
	}
	return rows
}

// WriteText writes the report for a terminal.
func (r Report) WriteText(out io.Writer) error {
	for _, store := range r.Stores() {
		rows := r.RowsOf(store)
		_, err := fmt.Fprintf(out, "\nTemporal on %s\n%s\n%s\n", store, Table(rows).Render(), strings.Join(notes(rows), "\n"))
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteMarkdown writes the report as a document. plots are the file names of the stores' plots,
// relative to it.
func (r Report) WriteMarkdown(out io.Writer, plots map[string]string) error {
	m := r.Machine
	_, err := fmt.Fprintf(out, `# Benchmarks

Written by `+"`make bench`"+`; do not edit. One run on one machine: compare only the rows of a table.

| | |
|---|---|
| date | %s |
| machine | %s, %d CPUs, %.0f GiB, %s |
| Go | %s |
| Postgres | %s, %s |
| Temporal | %s |
| command | `+"`%s`"+` |

## How to read it

- **textbook** is a wallet as in Temporal's samples, on the same tables: one workflow, one update per command, each
  step a regular activity. Temporal's transfer queue, which is read at most 20 times a second
  (history.transferProcessorMaxPollRPS), makes that 300 ms per update of a wallet.
- **floor** is one SQL statement per call: it changes a balance and inserts a journal row.
- **coalesced** is what programs use: callers share a starter.Client, which combines concurrent calls of a wallet.
  **lanes** also combines calls for different wallets. **http** is the same callers by the HTTP API over loopback, whose
  server is in the process of the worker.
  **update**, **batch** and **textbook** have at most %d callers on one wallet, because Temporal allows 10.
- **holds** places a hold with one call and captures it with the next; **plain** is the same with subtractions.
- **transfer** moves value between two wallets at random, **collect** into the same one, always: each is one transaction,
  and counts as one command. Their floor does it in one statement; **coalesced** has a workflow for each.
- CPU is in milliseconds per command, idle servers included; Postgres's includes its work for Temporal.
- Latency is per call, however many commands it has.
- **exactly once** is how many commands were accepted: each is compared with the journal and its answer, and
  `+"`wallet verify`"+` checks the rest.
`, r.StartedAt.UTC().Format(time.DateOnly), m.CPU, m.CPUs, m.MemoryGiB, m.OS, m.Go, m.Postgres, m.PostgresSet, m.Temporal, r.Command, mostUpdates)
	if err != nil {
		return err
	}
	for i, store := range r.Stores() {
		rows := r.RowsOf(store)
		if _, err := fmt.Fprintf(out, "\n## Temporal on %s\n", store); err != nil {
			return err
		}
		if i == 0 || plots[store] == "" { // of the other stores, the plot is enough
			if _, err := fmt.Fprintf(out, "\n%s\n", Table(rows).RenderMarkdown()); err != nil {
				return err
			}
		}
		for _, note := range notes(rows) {
			if _, err := fmt.Fprintf(out, "\n%s\n", note); err != nil {
				return err
			}
		}
		if plot := plots[store]; plot != "" {
			if _, err := fmt.Fprintf(out, "\n![throughput and latency with Temporal on %s](%s)\n", store, plot); err != nil {
				return err
			}
		}
	}
	return nil
}

// notes returns what a table of commands/s cannot show.
func notes(rows []Row) (notes []string) {
	var others float64
	for _, r := range rows {
		others = max(others, r.OthersCPU)
		if s := r.Signals; s != nil {
			notes = append(notes, fmt.Sprintf("%s: %s/s accepted, %s/s applied, empty %s s after the last was accepted; latency is until accepted.",
				r.Spec, figure(s.AcceptedPerSecond), figure(s.AppliedPerSecond), figure(s.SecondsToEmpty)))
		}
		for _, violation := range r.Checked.Violations {
			notes = append(notes, fmt.Sprintf("VIOLATED: %s: %s", r.Spec, violation))
		}
	}
	if others > 0 {
		notes = append(notes, "Other programs used at most "+percent(others)+" of the machine during a run.")
	}
	return notes
}
