package torture

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/valueledger/wallet"
)

const (
	// windowOfOperations limits the memory of one search: a bit for each operation in each
	// state.
	windowOfOperations  = 1000
	linearizablePatient = 10 * time.Second
)

// operation is the one effect of a command id.
type operation struct {
	id        string
	command   wallet.Command
	malformed bool
	result    wallet.Result
	call, ret time.Duration
}

// checkLinearizable asks porcupine whether the answers could come from one wallet that runs one
// command after the other, each between its call and its answer. A command without an answer,
// for example a signal, may have run at any time after its call; its outcome comes from the
// journal.
func (c *walletCheck) checkLinearizable() {
	operations := c.operations()
	for len(operations) > 0 {
		window := operations[:min(len(operations), windowOfOperations)]
		if answer := c.linearizable(window); answer != porcupine.Ok {
			c.violateLinearizability(window, answer)
			return
		}
		operations = operations[len(window):]
	}
}

// violateLinearizability shows the end of a window's shortest prefix that is not linearizable:
// its last operation and, if there is one, the first operation that comes before it but was
// called after its answer. Anything with such a prefix cannot be linearizable either, because
// the positions allow only one order.
func (c *walletCheck) violateLinearizability(window []operation, answer porcupine.CheckResult) {
	last := sort.Search(len(window)-1, func(i int) bool { return c.linearizable(window[:i+1]) != porcupine.Ok })
	at := window[last]
	ids := []string{at.id}
	overtaken := slices.IndexFunc(window[:last], func(o operation) bool { return o.call > at.ret })
	if overtaken >= 0 {
		ids = append(ids, window[overtaken].id)
	}
	for _, o := range window[max(0, last-entriesAround):last] {
		ids = append(ids, o.id)
	}
	c.violateAt(c.start.Add(at.call), at.result.Position, ids, "what callers were told up to position %d is linearizable: %s; with %q at position %d: %s",
		window[max(0, last-1)].result.Position, porcupine.Ok, at.id, at.result.Position, answer)
}

// operations returns the operations in order of position.
func (c *walletCheck) operations() (all []operation) {
	for _, e := range c.record.journal {
		// The service's own commands have no call.
		o := operation{id: e.CommandID, command: e.Command(), malformed: e.Reason == wallet.ReasonMalformed, result: e.Result(), ret: open}
		if first, found := c.origin(e); found {
			o.command, o.call = first.command, first.called
			if o.malformed {
				o.command = wallet.Command{}
			}
		}
		for _, a := range c.byID[e.CommandID] {
			if a.result != nil && a.matches(e) && a.returned < o.ret {
				o.ret, o.result = a.returned, *a.result
			}
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b operation) int { return cmp.Compare(a.result.Position, b.result.Position) })
	return all
}

// before is the model before the entry at a position.
func (c *walletCheck) before(position int64) (b balance) {
	for _, e := range c.record.journal[:position-1] {
		if e.TransactionID != "" && e.Status == wallet.StatusUnapplied {
			b, _ = b.refuse(e.Command(), e.Reason, e.RecordedAt)
			continue
		}
		b, _ = b.apply(e.Command(), e.Reason == wallet.ReasonMalformed, e.RecordedAt, scales[c.wallet.Currency])
	}
	return b
}

func (c *walletCheck) linearizable(window []operation) porcupine.CheckResult {
	before := c.before(window[0].result.Position)
	model := porcupine.Model{
		Init: func() any { return before },
		Step: func(state, input, output any) (bool, any) {
			b, o := state.(balance), input.(operation)
			told := output.(wallet.Result)
			after, expected := b.apply(o.command, o.malformed, told.RecordedAt, scales[c.wallet.Currency])
			if told.TransactionID != "" && told.Status == wallet.StatusUnapplied {
				after, expected = b.refuse(o.command, told.Reason, told.RecordedAt)
			}
			return b.differs(after, expected, told) == "", after
		},
	}
	history := make([]porcupine.Operation, len(window))
	for i, o := range window {
		history[i] = porcupine.Operation{ClientId: i, Input: o, Call: int64(o.call), Output: o.result, Return: int64(o.ret)}
	}
	return porcupine.CheckOperationsTimeout(model, history, linearizablePatient)
}
