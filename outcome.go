package wallet

import (
	"fmt"
	"time"
)

// Outcome is what became of consecutive commands, in few bytes: what goes into a
// workflow's history is written and read again many times, and decides how soon it is
// full. Where none of the ids had been used, the asset before them and the time are
// enough: the fold gives the results again.
type Outcome struct {
	// Results has one for each command, in order, where the fold alone would not give
	// them again. The rest is absent then.
	Results    []Result  `json:"results,omitempty"`
	Before     *Asset    `json:"before,omitempty"`
	RecordedAt time.Time `json:"recorded_at,omitzero"`
	Hash       Hash      `json:"hash,omitzero"` // of the last entry
}

// Part is the Outcome of so many of an update's commands: those that went together.
type Part struct {
	Commands int `json:"commands"`
	Outcome
}

// NewOutcome shortens the results of consecutive commands. before is the asset before
// the first of them.
func NewOutcome(before Asset, results []Result) Outcome {
	for i, r := range results {
		// A replayed result has an earlier place, an id_conflict has none.
		if r.Position != before.Position+int64(i)+1 || !r.RecordedAt.Equal(results[0].RecordedAt) {
			return Outcome{Results: results}
		}
	}
	if len(results) == 0 {
		return Outcome{}
	}
	return Outcome{Before: &before, RecordedAt: results[0].RecordedAt, Hash: results[len(results)-1].Hash}
}

// Answers gives one Result for each of the commands that the outcome is of. It fails if
// the rules are others than those that made it; the results differ then.
func (o Outcome) Answers(commands []Received) ([]Result, error) {
	if o.Before == nil {
		return o.Results, nil
	}
	after, _, results, err := Fold(*o.Before, nil, commands, o.RecordedAt)
	if err == nil && after.Hash != o.Hash {
		err = fmt.Errorf("the rules have changed: the journal is at %s, they give %s", o.Hash, after.Hash)
	}
	return results, err
}

// AnswersOf puts the answers of an update's parts together.
func AnswersOf(parts []Part, commands []Command) ([]Result, error) {
	received := make([]Received, len(commands))
	for i, c := range commands {
		received[i].Command = c
	}
	var all []Result
	for _, p := range parts {
		if p.Commands < 0 || p.Commands > len(received) {
			return nil, fmt.Errorf("an answer for %d commands, of which %d are left", p.Commands, len(received))
		}
		results, err := p.Answers(received[:p.Commands])
		if err != nil {
			return nil, err
		}
		all, received = append(all, results...), received[p.Commands:]
	}
	return all, nil
}

// After is the asset after a result that Apply gave for it: it is unchanged where the
// result has no new place in the journal.
func (a Asset) After(r Result) Asset {
	if r.Position != a.Position+1 {
		return a
	}
	a.Position, a.Hash, a.UpdatedAt = r.Position, r.Hash, r.RecordedAt
	if r.Status == StatusApplied {
		a.Version, a.Total, a.Hold = r.Version, r.TotalAfter, r.HoldAfter
	}
	return a
}
