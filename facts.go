package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

// Facts are the Results of consecutive commands in a compact form, because a workflow's history
// stores them and they are read many times. Reading them back does not use the ledger's rules:
// anything that does not follow from the command itself, or from counting on from the previous
// result, is stored. In JSON they are base64.
//
// The form, for each result: a byte of flags, the hash if there is one, and if flagOthers is
// set, a number (uvarint) with a bit for each of resultFields that differs from what
// successor.expect returns, then the texts of those fields, each preceded by its length
// (uvarint). A reader skips bits that it does not know, which a later version has set.
type Facts []byte

const (
	flagApplied = 1 << iota
	flagReplayed
	flagHash
	flagTotalGrew // by the command's amount
	flagTotalShrank
	flagHoldGrew
	flagHoldShrank
	flagOthers
)

// resultFields are the fields of a Result that Facts may hold. A field's bit is its index: add
// new ones at the end, and never remove one.
var resultFields = []func(*Result) any{
	func(r *Result) any { return &r.TotalAfter },
	func(r *Result) any { return &r.HoldAfter },
	func(r *Result) any { return (*string)(&r.Reason) },
	func(r *Result) any { return &r.Message },
	func(r *Result) any { return (*string)(&r.Type) },
	func(r *Result) any { return &r.Amount },
	func(r *Result) any { return &r.TotalBefore },
	func(r *Result) any { return &r.HoldBefore },
	func(r *Result) any { return &r.Version },
	func(r *Result) any { return &r.Position },
	func(r *Result) any { return &r.RecordedAt },
	func(r *Result) any { return &r.HoldID },
	func(r *Result) any { return (*string)(&r.HoldState) },
	func(r *Result) any { return &r.HoldLeft },
	func(r *Result) any { return &r.HoldExpiresAt },
	func(r *Result) any { return &r.TransactionID },
	func(r *Result) any { return &r.Leg },
	func(r *Result) any { return &r.Legs },
	func(r *Result) any { return &r.OriginalID },
	func(r *Result) any { return &r.OriginalLeft },
	func(r *Result) any { return (*string)(&r.Frozen) },
	func(r *Result) any { return &r.Closed },
	func(r *Result) any { return &r.Threshold },
	func(r *Result) any { return (*string)(&r.Thresholds) },
	func(r *Result) any { return (*string)(&r.Crossed) },
	func(r *Result) any { return &r.DebitsFrozenUntil },
	func(r *Result) any { return &r.CreditsFrozenUntil },
	func(r *Result) any { return &r.CreditLimit },
	func(r *Result) any { return &r.GrantExpiresAt },
}

// NewFacts encodes the results of commands.
func NewFacts(commands []Received, results []Result) Facts {
	return newFacts(results, func(i int) (*Command, bool) { return &commands[i].Command, commands[i].Malformed != "" })
}

// newFacts takes the commands one by one, and whether each is malformed: there are hundreds, of
// different types.
func newFacts(results []Result, command func(int) (c *Command, malformed bool)) Facts {
	facts := make(Facts, 0, len(results)*(len(Hash{})+16))
	var values []byte
	var expected Result
	follows := successor{last: &Result{}}
	for i := range results {
		r := &results[i]
		flags := byte(0)
		if r.Status == StatusApplied {
			flags |= flagApplied
		}
		if r.Replayed {
			flags |= flagReplayed
		}
		if !r.Hash.IsZero() {
			flags |= flagHash
		}
		c, malformed := command(i)
		expected = follows.expect(c, malformed, flags)
		flags |= moved(&expected.TotalAfter, r.TotalAfter, expected.Amount, flagTotalGrew, flagTotalShrank)
		flags |= moved(&expected.HoldAfter, r.HoldAfter, expected.Amount, flagHoldGrew, flagHoldShrank)
		differs := uint64(0)
		values = values[:0]
		for bit, of := range resultFields {
			if field := of(r); !sameField(field, of(&expected)) {
				differs |= 1 << bit
				values = appendField(values, field)
			}
		}
		if differs != 0 {
			flags |= flagOthers
		}
		facts = append(facts, flags)
		if flags&flagHash != 0 {
			facts = append(facts, r.Hash[:]...)
		}
		if differs != 0 {
			facts = binary.AppendUvarint(facts, differs)
			facts = append(facts, values...)
		}
		follows.after(r)
	}
	return facts
}

// errFacts says that facts do not belong to the commands they are read for.
var errFacts = errors.New("the stored answers cannot be read: they do not belong to these commands, or are damaged")

// Results returns one Result for each of the commands that the facts were made for.
func (f Facts) Results(commands []Received) ([]Result, error) {
	return f.results(len(commands), func(i int) (*Command, bool) { return &commands[i].Command, commands[i].Malformed != "" })
}

func (f Facts) results(commands int, command func(int) (c *Command, malformed bool)) ([]Result, error) {
	results := make([]Result, commands)
	rest, follows := []byte(f), successor{last: &Result{}}
	for i := range results {
		if len(rest) == 0 {
			return nil, fmt.Errorf("%w: %d answers for %d commands", errFacts, i, commands)
		}
		flags := rest[0]
		rest = rest[1:]
		c, malformed := command(i)
		r := &results[i]
		*r = follows.expect(c, malformed, flags)
		if flags&flagHash != 0 {
			if len(rest) < len(r.Hash) {
				return nil, errFacts
			}
			rest = rest[copy(r.Hash[:], rest):]
		}
		differs := uint64(0)
		if flags&flagOthers != 0 {
			var n int
			if differs, n = binary.Uvarint(rest); n <= 0 {
				return nil, errFacts
			}
			rest = rest[n:]
		}
		for ; differs != 0; differs &= differs - 1 {
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)-n) {
				return nil, errFacts
			}
			value := rest[n : n+int(size)]
			rest = rest[n+int(size):]
			if bit := bits.TrailingZeros64(differs); bit < len(resultFields) {
				if err := readField(resultFields[bit](r), value); err != nil {
					return nil, fmt.Errorf("%w: %w", errFacts, err)
				}
			}
		}
		follows.after(r)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes are left behind %d answers", errFacts, len(rest), len(results))
	}
	return results, nil
}

// FactsOf is NewFacts for the commands of an update.
func FactsOf(commands []Command, results []Result) Facts {
	return newFacts(results, func(i int) (*Command, bool) { return &commands[i], false })
}

// ResultsFor is Results for the commands of an update.
func (f Facts) ResultsFor(commands []Command) ([]Result, error) {
	return f.results(len(commands), func(i int) (*Command, bool) { return &commands[i], false })
}

// successor remembers the last result with its own position in the journal.
type successor struct {
	last    *Result
	version int64
}

func (s *successor) after(r *Result) {
	if r.Replayed || r.Position == 0 {
		return
	}
	s.last = r
	s.version = max(s.version, r.Version)
}

// moved returns which of the flags says how amount leads from what is expected to what is, and
// then expects that. It returns none where they are the same, or neither flag does.
func moved(expected *Amount, is, amount Amount, grew, shrank byte) byte {
	switch {
	case is.Same(*expected):
		return 0
	case is.Same(expected.Add(amount)):
		*expected = is
		return grew
	case is.Same(expected.Sub(amount)):
		*expected = is
		return shrank
	}
	return 0
}

func move(amount *Amount, by Amount, grew, shrank bool) {
	if grew {
		*amount = amount.Add(by)
	}
	if shrank {
		*amount = amount.Sub(by)
	}
}

// expect returns the next result if only positions and versions count on, and totals and holds
// move as the flags say.
func (s *successor) expect(c *Command, malformed bool, flags byte) Result {
	last := s.last
	r := Result{
		CommandID: c.ID, LegRef: c.LegRef, SentID: sentID(malformed, c.Metadata), Type: c.Type, Status: StatusUnapplied, HoldID: c.holdID(), OriginalID: c.OriginalID, Amount: resultAmount(c, malformed, last.TotalAfter.decimals()),
		TotalBefore: last.TotalAfter, TotalAfter: last.TotalAfter, HoldBefore: last.HoldAfter, HoldAfter: last.HoldAfter,
		Frozen: last.Frozen, FreezeEnds: last.FreezeEnds, Closed: last.Closed, CreditLimit: last.CreditLimit, Threshold: c.Threshold, Position: last.Position + 1, RecordedAt: last.RecordedAt, Replayed: flags&flagReplayed != 0,
	}
	move(&r.TotalAfter, r.Amount, flags&flagTotalGrew != 0, flags&flagTotalShrank != 0)
	move(&r.HoldAfter, r.Amount, flags&flagHoldGrew != 0, flags&flagHoldShrank != 0)
	if flags&flagApplied != 0 {
		r.Status, r.Version = StatusApplied, s.version+1
	}
	return r
}

func sameField(a, b any) bool {
	switch v := a.(type) {
	case *string:
		return *v == *b.(*string)
	case *int64:
		return *v == *b.(*int64)
	case *bool:
		return *v == *b.(*bool)
	case *Amount:
		other := *b.(*Amount)
		return v.Same(other) && (*v == Amount{}) == (other == Amount{})
	case *time.Time:
		return v.Equal(*b.(*time.Time))
	}
	panic(fmt.Sprintf("wallet: a %T is no field of a result", a))
}

// appendField writes a value preceded by its length.
func appendField(b []byte, of any) []byte {
	var text string
	switch v := of.(type) {
	case *time.Time:
		if !v.IsZero() {
			text = strconv.FormatInt(v.UnixMicro(), 10)
		}
	default:
		text = fieldText(of)
	}
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// readField reads what appendField wrote.
func readField(of any, value []byte) (err error) {
	switch v := of.(type) {
	case *string:
		*v = string(value)
	case *int64:
		*v, err = readInteger(value)
	case *bool:
		*v = len(value) > 0
	case *Amount:
		*v = Amount{}
		if len(value) > 0 {
			*v, err = ParseSigned(string(value))
		}
	case *time.Time:
		*v = time.Time{}
		var micros int64
		if micros, err = readInteger(value); err == nil && len(value) > 0 {
			*v = time.UnixMicro(micros).UTC()
		}
	}
	return err
}

// readInteger reads a number; 0 is stored as an empty text.
func readInteger(text []byte) (int64, error) {
	if len(text) == 0 {
		return 0, nil
	}
	return strconv.ParseInt(string(text), 10, 64)
}
