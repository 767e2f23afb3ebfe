package torture

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/runs"
)

// ranTo returns a run of lines for two wallets, every tenth refused, and its outcome: done, or
// cancelled after some lines.
func ranTo(state wallet.RunState, lines int) (*longRun, outcomeOfRun) {
	run := &longRun{ID: "r", ended: wallet.RunStatus{State: state}}
	o := outcomeOfRun{status: wallet.RunStatus{State: state}, entries: map[string]wallet.Entry{}}
	for i := range 2 * everyInvalid {
		c := add(fmt.Sprint("l", i), "1")
		run.wallets, run.commands = append(run.wallets, i%2), append(run.commands, c)
		if i >= lines {
			continue
		}
		e := wallet.Entry{CommandID: c.ID, Position: int64(10 + i), Status: wallet.StatusApplied}
		o.status.Applied++
		if i%10 == 9 {
			e.Status, e.Reason = wallet.StatusUnapplied, wallet.ReasonInsufficientFunds
			o.status.Applied--
			o.status.Refused++
			o.failures = append(o.failures, runs.Failure{Line: lineOf(i), Status: "refused", Reason: e.Reason})
		}
		o.entries[c.ID] = e
		if state == wallet.RunCancelled {
			run.recorded = append(run.recorded, c.ID)
		}
	}
	for _, line := range run.invalidLines() {
		o.status.Invalid++
		o.failures = append(o.failures, runs.Failure{Line: line, Status: "invalid", Reason: wallet.ReasonUnknownCurrency})
	}
	return run, o
}

func TestABrokenRunIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		state  wallet.RunState
		doctor func(*longRun, *outcomeOfRun)
		want   string // none if it is empty
	}{
		"done":      {wallet.RunDone, func(*longRun, *outcomeOfRun) {}, ""},
		"cancelled": {wallet.RunCancelled, func(*longRun, *outcomeOfRun) {}, ""},
		"a crash left lines out of the count of a cancelled run": {wallet.RunCancelled, func(_ *longRun, o *outcomeOfRun) {
			o.status.Applied, o.failures = 3, o.failures[:1]
		}, ""},
		"a line is missing": {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) {
			delete(o.entries, "l79")
		}, "line 159 has no entry"},
		"a line is applied later": {wallet.RunCancelled, func(_ *longRun, o *outcomeOfRun) {
			o.entries["l50"] = wallet.Entry{CommandID: "l50", Position: 90, Status: wallet.StatusApplied}
		}, "line 101 was applied after the run was cancelled"},
		"an entry is gone": {wallet.RunCancelled, func(_ *longRun, o *outcomeOfRun) {
			delete(o.entries, "l48")
		}, "line 97 had an entry, which is gone"},
		"a line is passed over": {wallet.RunCancelled, func(r *longRun, o *outcomeOfRun) {
			delete(o.entries, "l10")
			r.recorded = append(r.recorded[:10:10], r.recorded[11:]...)
		}, `(missing: "l10")`},
		"lines change places": {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) {
			e := o.entries["l20"]
			e.Position = 13
			o.entries["l20"] = e
		}, "line 41 is at position 13"},
		"a line is counted twice": {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) { o.status.Applied++ }, "it counts 73 applied"},
		"a line waits":            {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) { o.status.Waiting = 1 }, "1 waiting"},
		"a failure is missing":    {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) { o.failures = o.failures[1:] }, "1 failed lines are not among the failures"},
		"an invalid line is missing": {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) {
			o.failures = o.failures[:len(o.failures)-1]
		}, "1 failed lines are not among the failures"},
		"an applied line is a failure": {wallet.RunCancelled, func(_ *longRun, o *outcomeOfRun) {
			o.failures = append(o.failures, runs.Failure{Line: 1, Status: "refused", Reason: wallet.ReasonTooLate})
		}, "line 1 is among the failures"},
		"a failure is there twice": {wallet.RunDone, func(_ *longRun, o *outcomeOfRun) {
			o.failures = append(o.failures, o.failures[0])
		}, "is among the failures"},
		"it goes on": {wallet.RunCancelled, func(_ *longRun, o *outcomeOfRun) { o.status.State = wallet.RunRunning }, "it ended as cancelled and is running"},
		"it went on while it was paused": {wallet.RunDone, func(r *longRun, _ *outcomeOfRun) {
			r.problems = append(r.problems, "3 lines were in journals once it was paused, and then 4")
		}, "once it was paused"},
	} {
		t.Run(name, func(t *testing.T) {
			run, o := ranTo(c.state, map[wallet.RunState]int{wallet.RunDone: 80, wallet.RunCancelled: 50}[c.state])
			c.doctor(run, &o)
			problems := run.check(o)
			if c.want == "" {
				require.Empty(t, problems)
				return
			}
			require.NotEmpty(t, problems)
			require.Contains(t, problems[0], c.want)
		})
	}
}
