// Package mutate takes safety mechanisms away, one at a time, to see that a run of
// "wallet-dev torture" misses each of them: a mechanism that nothing misses is either not
// needed or not tested. It does nothing, and costs nothing, without the build tag
// mutations, which only "make mutations" sets.
package mutate

// Mechanism is something that keeps a promise.
type Mechanism string

// The mechanisms, by what is done to each.
const (
	RowLock        Mechanism = "row_lock"        // the row of the asset is read without a lock
	Dedupe         Mechanism = "dedupe"          // nobody looks whether an id is taken
	RequestHash    Mechanism = "request_hash"    // an id that is taken gives its answer to any content
	OneTransaction Mechanism = "one_transaction" // the balance is written after the journal's commit
	EventsOfAll    Mechanism = "events_of_all"   // events are recorded of what is new, not of all that lack one
	Drain          Mechanism = "drain"           // signals that have arrived are not looked for at the end of a run
	Handlers       Mechanism = "handlers"        // a run ends while updates wait for their answer
	Fallback       Mechanism = "fallback"        // a step that does not succeed quickly is given up
	SignalsFirst   Mechanism = "signals_first"   // an update overtakes the signals before it
	AppendOnly     Mechanism = "append_only"     // the triggers of the trail are dropped
)

// Mechanisms are all of them.
var Mechanisms = []Mechanism{RowLock, Dedupe, RequestHash, OneTransaction, EventsOfAll, Drain, Handlers, Fallback, SignalsFirst, AppendOnly}

// Swap is text with part replaced where a mechanism is taken away.
func Swap(m Mechanism, text, part, by string) string {
	if !Without(m) {
		return text
	}
	return swap(text, part, by)
}
