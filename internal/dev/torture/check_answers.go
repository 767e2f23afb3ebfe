package torture

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

// checkAnswers compares each answer with the one outcome of its id, and checks that each
// command has one.
func (c *walletCheck) checkAnswers() {
	for _, id := range sortedIDs(c.byID) {
		entry, recorded := c.entries[id]
		var fresh, carried, final int
		for _, a := range c.byID[id] {
			if a.result == nil {
				if a.accepted {
					final++
				}
				continue
			}
			final++
			r := *a.result
			switch {
			case !recorded:
				c.violateBy(a, "command %q was answered, but is not recorded", id)
			case a.matches(entry) && !sameResult(r, entry.Result()):
				c.violateBy(a, "command %q was answered with %s, but is recorded as %s", id, describe(r), describe(entry.Result()))
			case !a.matches(entry) && (r.Reason != wallet.ReasonIDConflict || r.Status != wallet.StatusUnapplied || r.Position != 0 || r.Version != 0):
				c.violateBy(a, "%s was answered with %s, but its id is recorded with other content: that is an id_conflict", a.command, describe(r))
			}
			switch {
			case !a.matches(entry) || r.Replayed:
			case a.way == ApplyCommand, a.way.isTransaction(): // concurrent callers of one id share its execution
				carried = 1
			default:
				fresh++
			}
		}
		if fresh+carried > 1 {
			c.violate(entry.Position, []string{id}, "command %q was answered as new %d times", id, fresh+carried)
		}
		if final == 0 {
			c.violate(entry.Position, []string{id}, "command %q has no final answer", id)
		}
		// A terminated workflow loses what it had not applied. Lost commands were sent again,
		// but nobody sends garbage again.
		lostGarbage := c.wallet.Handling.losesSignals() && c.byID[id][0].way == Garbage
		if !recorded && final > 0 && !lostGarbage {
			c.violate(0, []string{id}, "command %q was accepted, but is not recorded", id)
		}
	}
}

// sameResult compares everything except Replayed.
func sameResult(a, b wallet.Result) bool {
	a.Replayed, b.Replayed = false, false
	return sameJSON(a, b)
}

// sameJSON compares all that a caller sees, whatever fields are added.
func sameJSON(a, b any) bool {
	textA, errA := json.Marshal(a)
	textB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(textA, textB)
}

// updateLost is Temporal's failure for an update that its workflow had accepted but did not
// complete before it ended.
const updateLost = "AcceptedUpdateCompletedWorkflow"

// checkErrors looks for failures that no fault excuses.
func (c *walletCheck) checkErrors() {
	for _, a := range c.attempts {
		var invalid *wallet.InvalidError
		var gaveUp *gaveUpError
		var panicked *panicError
		var application *temporal.ApplicationError
		switch {
		case a.err == nil:
		case errors.As(a.err, &invalid):
			c.violateBy(a, "%s was refused as invalid: %v", a.command, a.err)
		case errors.As(a.err, &panicked):
			c.violateBy(a, "%s: %v", a.command, a.err)
		case errors.As(a.err, &gaveUp):
			c.violateBy(a, "the Go client gave up before its context ended: %v", a.err)
		case errors.As(a.err, &application) && application.Type() == updateLost && c.wallet.Handling == Untouched:
			c.violateBy(a, "an accepted update was left without an answer: %v", a.err)
		}
	}
}

// checkOrder checks that a command sent after an answer comes after the answered one. The same
// goes for a command queued after a signal was accepted, except in a workflow that may lose
// signals.
func (c *walletCheck) checkOrder() {
	answered, accepted := bound{at: open}, bound{at: open} // the earliest of the later positions
	for _, e := range slices.Backward(c.record.journal) {
		first, found := c.origin(e)
		if !found {
			continue
		}
		limit := answered
		if accepted.at < limit.at && !c.wentAstray(e.CommandID) {
			limit = accepted
		}
		if first.called > limit.at {
			c.violate(e.Position, []string{e.CommandID, limit.id}, "command %q was sent at %.3f, after %q had been answered or accepted at %.3f, and comes before it",
				e.CommandID, first.called.Seconds(), limit.id, limit.at.Seconds())
			return
		}
		for _, a := range c.byID[e.CommandID] {
			switch {
			case a.result != nil && a.returned < answered.at:
				answered = bound{a.returned, e.CommandID}
			case a.accepted && a.matches(e) && !c.wallet.Handling.losesSignals() && a.returned < accepted.at:
				accepted = bound{a.returned, e.CommandID}
			}
		}
	}
}

// bound is when a caller knew that a command had its place.
type bound struct {
	at time.Duration
	id string
}

// wentAstray reports whether a command may have bypassed the queue.
func (c *walletCheck) wentAstray(id string) bool {
	return slices.ContainsFunc(c.byID[id], func(a attempt) bool {
		return a.way == StrayStep || a.way.isTransaction() || a.way == InLane || a.way == InRun || a.way == LongRun
	})
}

func sortedIDs(byID map[string][]attempt) []string {
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, strings.Compare)
	return ids
}
