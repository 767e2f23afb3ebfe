package wallet

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// A lane applies commands and transactions of many wallets in one transaction of Postgres. Its
// items are independent of each other: each has an answer of its own.

// LaneItem is what a lane is sent: an ApplyCommandInput, or a Transaction by itself.
type LaneItem struct {
	*ApplyCommandInput
	Transaction *Transaction `json:"transaction,omitempty"`
}

// ApplyLaneInput is at most MaxBatch items, each a LaneItem as it was sent. The step decodes them:
// the workflow only passes them on.
type ApplyLaneInput struct {
	Items []jsontext.Value `json:"items"`
}

// DecodeLane reads a JSON array of 1 to MaxBatch items, without looking into them.
func DecodeLane(data []byte) ([]jsontext.Value, error) {
	var items []jsontext.Value
	if err := decodeJSON(data, "lane", &items); err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > MaxBatch {
		return nil, invalid("lane", fmt.Sprint(len(items)), "there are %d items for the lane: send 1 to %d", len(items), MaxBatch)
	}
	return items, nil
}

// LaneAnswer is what became of an item: Facts of its command or of its transaction's legs, or
// IDConflict for a transaction, or Invalid, or none of them. With none the lane has nothing to say
// of it: send it to the wallet's workflow, or to one of the transaction. It may have been applied
// all the same.
type LaneAnswer struct {
	Facts      Facts
	IDConflict bool // another transaction has the id
	Invalid    *InvalidError
}

// Each answer is a byte that says what it is, its length (uvarint), and that many bytes. A reader
// takes a kind that it does not know for laneReturned.
const (
	laneReturned = iota
	laneFacts
	laneInvalid // JSON
	laneIDConflict
)

// AppendTo appends the answer in the form that SplitLaneAnswers takes apart.
func (a LaneAnswer) AppendTo(b []byte) []byte {
	kind, body := byte(laneReturned), []byte(nil)
	switch {
	case a.Facts != nil:
		kind, body = laneFacts, a.Facts
	case a.IDConflict:
		kind = laneIDConflict
	case a.Invalid != nil:
		encoded, err := json.Marshal(a.Invalid)
		if err != nil { // it is four strings
			panic(err)
		}
		kind, body = laneInvalid, encoded
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

var errLaneAnswers = errors.New("the answers of a lane cannot be read: they do not belong to these items, or are damaged")

// SplitLaneAnswers takes the answers to n items apart, without reading them.
func SplitLaneAnswers(b []byte, n int) ([][]byte, error) {
	answers := make([][]byte, n)
	for i := range answers {
		if len(b) == 0 {
			return nil, errLaneAnswers
		}
		size, width := binary.Uvarint(b[1:])
		if width <= 0 || size > uint64(len(b)-1-width) {
			return nil, errLaneAnswers
		}
		end := 1 + width + int(size)
		answers[i], b = b[:end:end], b[end:]
	}
	if len(b) > 0 {
		return nil, errLaneAnswers
	}
	return answers, nil
}

// IsReturned reports whether one of SplitLaneAnswers says nothing of its item.
func IsReturned(answer []byte) bool {
	return answer[0] != laneFacts && answer[0] != laneInvalid && answer[0] != laneIDConflict
}

// ReadLaneAnswer reads one of SplitLaneAnswers.
func ReadLaneAnswer(b []byte) (LaneAnswer, error) {
	_, width := binary.Uvarint(b[1:])
	body := b[1+width:]
	switch b[0] {
	case laneFacts:
		return LaneAnswer{Facts: Facts(body)}, nil
	case laneIDConflict:
		return LaneAnswer{IDConflict: true}, nil
	case laneInvalid:
		refusal := &InvalidError{}
		if err := json.Unmarshal(body, refusal); err != nil {
			return LaneAnswer{}, fmt.Errorf("%w: %w", errLaneAnswers, err)
		}
		return LaneAnswer{Invalid: refusal}, nil
	default:
		return LaneAnswer{}, nil
	}
}
