package torture

import (
	"maps"
	"slices"
	"strings"

	"github.com/valueledger/wallet"
)

// Names of effects.
const (
	recoveries = "recoveries of Postgres"
	runsThat   = "runs " // and Temporal's word for how they ended
	// aheadOfTime are entries of a time that came only after their callers had the answer.
	aheadOfTime = "entries ahead of time"
	// How far the service was with the expiry that a kill was aimed at.
	expiredBefore = "expiries recorded before the kill at them"
	expiredAfter  = "expiries recorded after the kill at them"
	notExpired    = "holds that did not expire at the kill at them"
	// Long snapshots end early where Postgres ends.
	snapshotSeconds = "seconds of long snapshots"
	longestSnapshot = "seconds of the longest snapshot"
	promotions      = "promotions in Postgres's timeline"
	salvaged        = "commands sent again by salvage"
)

// enoughPlanned is how many faults of one kind cannot all miss their targets.
const enoughPlanned = 3

// enoughCommands is how many commands surely include each type that must be applied.
const enoughCommands = 500

// enoughAimed kills at an expiry have some that come before it is recorded.
const enoughAimed = 10

// enoughJumps of the clock have some ahead among them, while commands are recorded.
const enoughJumps = 10

// checkEffects holds that there was load and that faults were felt: a run in which
// nobody does anything, or that disturbs nobody, proves nothing.
func (r *Report) checkEffects() {
	if r.Commands == 0 {
		r.violate("nobody sent a command: there is nothing to check")
	}
	if r.Commands >= enoughCommands {
		sent := []wallet.CommandType{wallet.TypeHold, wallet.TypeCapture, wallet.TypeRelease, wallet.TypeExpire}
		if r.Plan.Options.Load != LoadTransfers { // whose transactions balance, so that they reverse nothing
			sent = append(sent, wallet.TypeReverse, wallet.TypeExpireGrant)
		}
		for _, of := range sent {
			if r.Applied[string(of)] == 0 {
				r.violate("%d commands were sent, and no %s was applied: the run says nothing of it", r.Commands, of)
			}
		}
	}
	if r.Commands >= enoughCommands && (r.Effects[transactionsApplied] == 0 || r.Effects[transactionsRefused] == 0) {
		r.violate("%d commands were sent, and %d transactions applied, %d refused: the run says nothing of transactions", r.Commands, r.Effects[transactionsApplied], r.Effects[transactionsRefused])
	}
	planned, reason := map[string]int{}, map[string]string{}
	for _, f := range r.Plan.Faults {
		// Other wallets may have no workflow, because nobody sent them anything; and without load
		// no hold expires.
		if f.Wallet < hotWallets && (f.Kind != KillAtExpiry || r.Commands >= enoughCommands) {
			planned[f.class()]++
		}
	}
	for _, f := range r.Faults {
		reason[f.class()] = f.Missed
	}
	for _, kind := range slices.Sorted(maps.Keys(planned)) {
		if planned[kind] >= enoughPlanned && r.FaultsByKind[kind] == 0 {
			r.violate("at least %d faults of the kind %q were planned, and none was inflicted: %s", planned[kind], kind, reason[kind])
		}
	}
	if r.FaultsByKind["kill postgres"] > 0 && r.Effects[recoveries] == 0 {
		r.violate("Postgres was killed, and never recovered: the faults have no effect")
	}
	if r.FaultsByKind["kill temporal"] > 0 && r.Effects["starts of "+temporalTarget] == 0 {
		r.violate("Temporal was killed, and not started again: the faults have no effect")
	}
	starts := -r.Plan.Options.Workers
	for i := range r.Plan.Options.Workers {
		starts += r.Effects["starts of "+workerTarget(i)]
	}
	if r.FaultsByKind["kill worker"] > 0 && starts == 0 {
		r.violate("workers were killed, and none was started again: the faults have no effect")
	}
	if r.FaultsByKind[string(Jump)] >= enoughJumps && r.Effects[aheadOfTime] == 0 {
		r.violate("Postgres's clock jumped %d times, and no entry is ahead of its time: the faults have no effect", r.FaultsByKind[string(Jump)])
	}
	if n := r.FaultsByKind[string(Promote)]; r.Effects[promotions] < n {
		r.violate("%d standbys were promoted, and only %d have written anything: the faults have no effect", n, r.Effects[promotions])
	}
	aimed := r.FaultsByKind["kill worker at expiry"] + r.FaultsByKind["kill postgres at expiry"]
	if aimed >= enoughAimed && r.Effects[expiredAfter] == 0 {
		r.violate("%d kills were aimed at expiries, and all of these were recorded before: the faults have no effect", aimed)
	}
	if n := r.FaultsByKind[string(Overfill)]; n >= enoughPlanned && r.Effects[salvaged] == 0 {
		r.violate("%d runs were ended at a limit, and none had accepted a command: the faults have no effect", n)
	}
	// A reset ends its run in the same way, so that there may be more.
	if n := r.FaultsByKind[string(Terminate)] + r.FaultsByKind[string(Overfill)]; r.Effects[runsThat+"Terminated"] < n {
		r.violate("%d workflows were terminated, and only %d runs ended so: the faults have no effect", n, r.Effects[runsThat+"Terminated"])
	}
	if r.ownEvents > eventsOfARun && r.Effects[runsThat+"ContinuedAsNew"] == 0 {
		r.violate("a wallet had %d events, a run takes %d, and none continued as new", r.ownEvents, eventsOfARun)
	}
}

// aheadOfTime counts entries that a clock that had gone ahead has stamped.
func (c *walletCheck) aheadOfTime() (n int) {
	for _, a := range c.attempts {
		if e, recorded := c.entries[a.command.ID]; recorded && a.result != nil && a.matches(e) && e.RecordedAt.After(c.start.Add(a.returned)) {
			n++
		}
	}
	return n
}

// eventsOf counts what certainly has an event of its own in the history of a wallet's
// workflow: each accepted signal, and each answered update of a caller who sends it by
// himself. Package starter's travel together.
func eventsOf(attempts []attempt) (n int) {
	for _, a := range attempts {
		if a.accepted || a.way == BareUpdate && a.result != nil {
			n++
		}
	}
	return n
}

// checkCrashes checks that a worker only exits by itself if it cannot start because a server is
// unavailable: it says so, and its service manager tries again.
func (r *Report) checkCrashes(name string, crashes []string) {
	for _, crash := range crashes {
		if !couldNotStart(crash) {
			r.violate("%s ended by itself: %s", name, crash)
		}
	}
}

// couldNotStart judges a worker's exit by its exit code and its log. A panic has another code.
func couldNotStart(crash string) bool {
	lines := strings.Split(crash, "\n")
	if !strings.Contains(lines[0], "(exit status 1)") {
		return false
	}
	for _, line := range slices.Backward(lines) {
		if said, found := strings.CutPrefix(line, "wallet: "); found {
			return !strings.HasPrefix(said, "the worker ended")
		}
	}
	return false
}
