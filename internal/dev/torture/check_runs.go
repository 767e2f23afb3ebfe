package torture

import (
	"context"
	"fmt"
	"slices"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/runs"
)

// Effects of long runs.
const (
	longRunsDone      = "long runs done"
	longRunsCancelled = "long runs cancelled in the end"
	linesApplied      = "lines of long runs applied or refused"
)

// outcomeOfRun is what Postgres has of a run.
type outcomeOfRun struct {
	status   wallet.RunStatus
	failures []runs.Failure
	entries  map[string]wallet.Entry // of its lines, by command id
}

// checkRuns checks each long run that has ended.
func (r *Report) checkRuns(ctx context.Context, w *world, h *history, checks map[wallet.AssetRef]*walletCheck) error {
	for _, run := range h.longRuns() {
		o := outcomeOfRun{entries: map[string]wallet.Entry{}}
		var err error
		if o.status, err = runs.Status(ctx, w.owner, run.ID); err != nil {
			return err
		}
		for f, err := range runs.Failures(ctx, w.owner, run.ID) {
			if err != nil {
				return err
			}
			o.failures = append(o.failures, f)
		}
		for i, c := range run.commands {
			if e, found := checks[w.plan.Wallets[run.wallets[i]].AssetRef].entries[c.ID]; found {
				o.entries[c.ID] = e
			}
		}
		r.Effects[linesApplied] += len(o.entries)
		if run.ended.State == wallet.RunCancelled {
			r.Effects[longRunsCancelled]++
		} else {
			r.Effects[longRunsDone]++
		}
		for _, problem := range run.check(o) {
			r.violate("run %q (%v): %s", run.ID, run.Interruptions, problem)
		}
	}
	return nil
}

// check returns what is wrong with the outcome: a line of a run that is done counts once and is
// counted once, one of a cancelled run is not applied later, those of a wallet are applied in
// order, and the failures are exactly the lines that failed.
func (r *longRun) check(o outcomeOfRun) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	problems = append(problems, r.problems...)
	if o.status.State != r.ended.State {
		wrong("it ended as %s and is %s", r.ended.State, o.status.State)
	}
	done := r.ended.State == wallet.RunDone
	var applied, refused int64
	failed := map[int64]wallet.Reason{} // by line
	last := map[int]int64{}             // position of each wallet's line before
	missing := map[int]string{}         // in each wallet
	for i, c := range r.commands {
		of := r.wallets[i]
		e, recorded := o.entries[c.ID]
		switch wasRecorded := slices.Contains(r.recorded, c.ID); {
		case done && !recorded:
			wrong("line %d has no entry, though all are done", lineOf(i))
		case !done && recorded && !wasRecorded:
			wrong("line %d was applied after the run was cancelled", lineOf(i))
		case !done && !recorded && wasRecorded:
			wrong("line %d had an entry, which is gone", lineOf(i))
		}
		if !recorded {
			missing[of] = c.ID
			continue
		}
		if missing[of] != "" || e.Position <= last[of] {
			wrong("line %d is at position %d of its wallet, after a line of before at %d (missing: %q)", lineOf(i), e.Position, last[of], missing[of])
		}
		last[of] = e.Position
		if e.Status == wallet.StatusApplied {
			applied++
		} else {
			refused++
			failed[lineOf(i)] = e.Reason
		}
	}
	invalid := r.invalidLines()
	for _, line := range invalid {
		failed[line] = wallet.ReasonUnknownCurrency
	}
	if s := o.status; done && (s.Applied != applied || s.Refused != refused || s.Invalid != int64(len(invalid)) || s.Waiting != 0) {
		wrong("it counts %d applied, %d refused, %d invalid, %d waiting; the journals have %d and %d, and %d are invalid", s.Applied, s.Refused, s.Invalid, s.Waiting, applied, refused, len(invalid))
	}
	for _, f := range o.failures {
		if reason, found := failed[f.Line]; !found || reason != f.Reason {
			wrong("line %d is among the failures as %s %s, and its wallet has %q", f.Line, f.Status, f.Reason, reason)
		}
		delete(failed, f.Line)
	}
	if done && len(failed) > 0 {
		wrong("%d failed lines are not among the failures: %v", len(failed), failed)
	}
	return problems
}
