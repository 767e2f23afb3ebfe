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

- **textbook** is a wallet as Temporal's samples would have it: one long-running workflow,
  one update per command, each of the three steps a regular activity. Same code for the
  steps, same tables. On one wallet the server paces it: Temporal reads the transfer queue of
  a shard at most 20 times a second (history.transferProcessorMaxPollRPS), and an update of
  three activities needs six reads, one after the other, which makes 300 ms. The first 20
  reads after a pause are free: a command now and then has about half of that.
- **floor** is one SQL statement per call on a table of its own in the same database: it
  changes a balance and inserts a journal row, and nothing else. 32 writers with one command
  each, or one writer with many.
- **update**, **batch** and **textbook** have at most %d callers on one wallet, because Temporal
  takes at most 10 updates in flight for a workflow. **coalesced** is what programs use: the
  callers share a starter.Client, which lets concurrent calls travel together.
- CPU is in milliseconds for each command: of the process of callers and worker, of
  Temporal, and of Postgres, where Temporal on Postgres has its part too.
  What the servers use without any load is in it, which shows where commands are few.
  **others' CPU** is the share of the machine that other programs took meanwhile.
- **holds** is one wallet whose callers place a hold that expires in an hour, and capture it with
  their next call; each of the two counts as a command. **plain** is the same with subtractions,
  and **of plain** the ratio of both, per command.
- Latency is of one call: with many commands per call it is that of all of them.
- **exactly once**: after each run every accepted command is compared with the journal, the
  answers with what is recorded, the balances with the sum of the answers, and the whole
  trail is verified as by `+"`wallet verify`"+`.
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
