package main

import (
	"os"
	"sync/atomic"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

const progressInterval = 100 * time.Millisecond

// verifyWithProgress verifies, with a bar on the terminal that has come to its end
// when it returns.
func (a *app) verifyWithProgress(cmd *cobra.Command, read trail.Reader, o trail.VerifyOptions) (trail.Report, error) {
	terminal := cli.Terminal(cmd, a.output)
	if terminal == nil {
		return read.Verify(cmd.Context(), o)
	}
	total, err := read.ExpectedEntries(cmd.Context(), o.UserID, o.Currency)
	if err != nil {
		return trail.Report{}, err
	}
	o.Entries = &atomic.Int64{}
	finish := showProgress(terminal, "journal entries", total, o.Entries)
	report, err := read.Verify(cmd.Context(), o)
	finish(err)
	return report, err
}

// showProgress draws a bar until finish is called.
func showProgress(terminal *os.File, message string, total int64, done *atomic.Int64) (finish func(error)) {
	// Only finish ends it: there may be more than was expected.
	tracker := &progress.Tracker{Message: message, Total: total, AutoStopDisabled: true}
	bar := progress.NewWriter()
	bar.SetOutputWriter(terminal)
	bar.SetUpdateFrequency(progressInterval)
	bar.SetTrackerLength(20)
	bar.Style().Visibility.ETA = true
	bar.Style().Visibility.Speed = true
	// The bar looks this up for stdout only. A line that wraps could not be drawn
	// over.
	if width, _, err := term.GetSize(int(terminal.Fd())); err == nil {
		bar.SetTerminalWidth(width)
	}
	// Stop would be lost if it came before Render; a tracker that is done is not.
	bar.SetAutoStop(true)
	bar.SetNumTrackersExpected(1)
	bar.AppendTracker(tracker)

	rendered, finished := make(chan struct{}), make(chan error)
	go func() {
		defer close(rendered)
		bar.Render()
	}()
	go func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tracker.SetValue(done.Load())
			case err := <-finished:
				tracker.SetValue(done.Load())
				if err != nil {
					tracker.MarkAsErrored()
				} else {
					tracker.MarkAsDone()
				}
				return
			}
		}
	}()
	return func(err error) {
		finished <- err
		<-rendered
	}
}
