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
  step a regular activity. One wallet takes 300 ms per update: Temporal reads a shard's transfer queue at most 20
  times a second (history.transferProcessorMaxPollRPS), and three activities need six reads.
- **floor** is one SQL statement per call: it changes a balance and inserts a journal row. 32 writers with one
  command each, or one writer with many.
- **lanes** is the same as coalesced, with lanes: concurrent calls for different wallets are sent together too.
- **coalesced** is what programs use: callers share a starter.Client, which combines concurrent calls.
  **update**, **batch** and **textbook** have at most %d callers on one wallet, because Temporal allows 10
  updates in flight per workflow.
- **holds** is one wallet whose callers place a hold and capture it with their next call, each a command.
  **plain** is the same with subtractions; **of plain** is the ratio of both.
- **transfer** moves value between two wallets at random, **collect** from one at random into the same one, always: each
  is one transaction, and counts as one command. Their floor locks both rows, changes both balances and inserts two
  journal rows in one statement; **coalesced** has a workflow for each.
- CPU is in milliseconds per command, idle servers included; Postgres's includes its work for Temporal.
  **others' CPU** is the share of the machine that other programs used.
- Latency is per call, however many commands it has.
- **exactly once**: after each run every accepted command is compared with the journal and its answer,
  balances with the sum of the answers, and `+"`wallet verify`"+` checks the rest.
`, r.StartedAt.UTC().Format(time.DateOnly), m.CPU, m.CPUs, m.MemoryGiB, m.OS, m.Go, m.Postgres, m.PostgresSet, m.Temporal, r.Command, mostUpdates)
	if err != nil {
		return err
	}
	for _, store := range r.Stores() {
		rows := r.RowsOf(store)
		_, err := fmt.Fprintf(out, "\n## Temporal on %s\n\n%s\n", store, Table(rows).RenderMarkdown())
		if err != nil {
			return err
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
	for _, r := range rows {
		if s := r.Signals; s != nil {
			notes = append(notes, fmt.Sprintf("%s: %s/s accepted, %s/s applied, empty %s s after the last was accepted; latency is until accepted.",
				r.Spec, figure(s.AcceptedPerSecond), figure(s.AppliedPerSecond), figure(s.SecondsToEmpty)))
		}
		for _, violation := range r.Checked.Violations {
			notes = append(notes, fmt.Sprintf("VIOLATED: %s: %s", r.Spec, violation))
		}
	}
	return notes
}
