package bench

import (
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// ShowProgress shows a bar for each run on a terminal, and a line elsewhere. Call stop at the
// end.
func ShowProgress(out *os.File) (p Progress, stop func()) {
	if info, err := out.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &lines{out: out}, func() {}
	}
	writer := progress.NewWriter()
	writer.SetOutputWriter(out)
	writer.SetUpdateFrequency(progressEvery)
	writer.SetMessageLength(60)
	writer.Style().Visibility.Value = false
	go writer.Render()
	return &bars{writer: writer}, func() {
		writer.Stop()
		for writer.IsRenderInProgress() {
			time.Sleep(progressEvery)
		}
	}
}

// bars is progress on a terminal.
type bars struct {
	writer  progress.Writer
	tracker *progress.Tracker
}

func (b *bars) Begin(label string, expected time.Duration) {
	// The bar is done once the check is.
	b.tracker = &progress.Tracker{Message: label, Total: expected.Milliseconds(), AutoStopDisabled: true}
	b.writer.AppendTracker(b.tracker)
}

func (b *bars) Advance(elapsed time.Duration) { b.tracker.SetValue(elapsed.Milliseconds()) }

func (b *bars) End(row Row) {
	b.tracker.UpdateMessage(summaryOf(row))
	if len(row.Checked.Violations) > 0 {
		b.tracker.MarkAsErrored()
		return
	}
	b.tracker.MarkAsDone()
}

// lines is progress in a log.
type lines struct{ out *os.File }

func (l *lines) Begin(string, time.Duration) {}
func (l *lines) Advance(time.Duration)       {}
func (l *lines) End(row Row)                 { fmt.Fprintln(l.out, summaryOf(row)) }

func summaryOf(row Row) string {
	return fmt.Sprintf("%s: %s: %.0f commands/s, p50 %.1f ms, %d violations", row.Store, row.Spec, row.CommandsPerSecond, row.Latency.P50, len(row.Checked.Violations))
}
