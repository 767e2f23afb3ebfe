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
// The form, for each result: a byte of flags (1 applied, 2 replayed), then a number (uvarint)
// with a bit for each of resultFields that differs from what successor.expect returns, then the
// texts of those fields, each preceded by its length (uvarint). A reader skips bits that it
// does not know, which a later version has set.
type Facts []byte

// resultFields are the fields of a Result that Facts may hold. A field's bit is its index: add
// new ones at the end, and never remove one.
var resultFields = []func(*Result) any{
	func(r *Result) any { return &r.Hash },
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
}

const (
	flagApplied = 1 << iota
	flagReplayed
)

// NewFacts encodes the results of commands.
func NewFacts(commands []Received, results []Result) Facts {
	facts := make(Facts, 0, len(results)*(len(Hash{})+16))
	var values []byte
	follows := successor{}
	for i := range results {
		r := results[i]
		expected := follows.expect(commands[i], r.Status == StatusApplied, r.Replayed)
		differs := uint64(0)
		values = values[:0]
		for bit, of := range resultFields {
			if field := of(&r); !sameField(field, of(&expected)) {
				differs |= 1 << bit
				values = appendField(values, field)
			}
		}
		flags := byte(0)
		if r.Status == StatusApplied {
			flags |= flagApplied
		}
		if r.Replayed {
			flags |= flagReplayed
		}
		facts = append(facts, flags)
		facts = binary.AppendUvarint(facts, differs)
		facts = append(facts, values...)
		follows.after(r)
	}
	return facts
}

// errFacts says that facts do not belong to the commands they are read for.
var errFacts = errors.New("the stored answers cannot be read: they do not belong to these commands, or are damaged")

// Results returns one Result for each of the commands that the facts were made for.
func (f Facts) Results(commands []Received) ([]Result, error) {
	results := make([]Result, 0, len(commands))
	rest, follows := []byte(f), successor{}
	for _, received := range commands {
		if len(rest) == 0 {
			return nil, fmt.Errorf("%w: %d answers for %d commands", errFacts, len(results), len(commands))
		}
		flags := rest[0]
		differs, n := binary.Uvarint(rest[1:])
		if n <= 0 {
			return nil, errFacts
		}
		rest = rest[1+n:]
		r := follows.expect(received, flags&flagApplied != 0, flags&flagReplayed != 0)
		for ; differs != 0; differs &= differs - 1 {
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)-n) {
				return nil, errFacts
			}
			value := rest[n : n+int(size)]
			rest = rest[n+int(size):]
			if bit := bits.TrailingZeros64(differs); bit < len(resultFields) {
				if err := readField(resultFields[bit](&r), value); err != nil {
					return nil, fmt.Errorf("%w: %w", errFacts, err)
				}
			}
		}
		results = append(results, r)
		follows.after(r)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes are left behind %d answers", errFacts, len(rest), len(results))
	}
	return results, nil
}

// FactsOf is NewFacts for the commands of an update.
func FactsOf(commands []Command, results []Result) Facts {
	return NewFacts(asReceived(commands), results)
}

// ResultsFor is Results for the commands of an update.
func (f Facts) ResultsFor(commands []Command) ([]Result, error) {
	return f.Results(asReceived(commands))
}

func asReceived(commands []Command) []Received {
	received := make([]Received, len(commands))
	for i, c := range commands {
		received[i].Command = c
	}
	return received
}

// successor remembers the last result with its own position in the journal.
type successor struct {
	last    Result
	version int64
}

func (s *successor) after(r Result) {
	if r.Replayed || r.Position == 0 {
		return
	}
	s.last = r
	s.version = max(s.version, r.Version)
}

// expect returns the next result if only positions and versions count on.
func (s *successor) expect(received Received, applied, replayed bool) Result {
	c := received.Command
	r := Result{
		CommandID: c.ID, SentID: sentID(received.Malformed != "", c.Metadata), Type: c.Type, Status: StatusUnapplied, HoldID: c.holdID(), Amount: resultAmount(received, s.last.TotalAfter.decimals()),
		TotalBefore: s.last.TotalAfter, TotalAfter: s.last.TotalAfter, HoldBefore: s.last.HoldAfter, HoldAfter: s.last.HoldAfter,
		Position: s.last.Position + 1, RecordedAt: s.last.RecordedAt, Replayed: replayed,
	}
	if applied {
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
	case *Hash:
		return *v == *b.(*Hash)
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
	case *Hash:
		text = string(v[:])
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
	case *Hash:
		if len(value) != len(v) {
			return fmt.Errorf("a hash of %d bytes", len(value))
		}
		copy(v[:], value)
	case *Amount:
		*v = Amount{}
		if len(value) > 0 {
			*v, err = ParseAmount(string(value))
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
