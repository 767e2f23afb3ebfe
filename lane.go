package wallet

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// A lane applies commands and transactions of many wallets in one Postgres transaction. Its items are
// independent: each has its own answer.

// LaneItem is what a client sends to a lane: an ApplyCommandInput, or only a Transaction.
type LaneItem struct {
	*ApplyCommandInput
	Transaction *Transaction `json:"transaction,omitempty"`
}

// ApplyLaneInput has up to MaxBatch items, each the JSON of a LaneItem. The workflow passes them on to
// the step, which decodes them.
type ApplyLaneInput struct {
	Items []jsontext.Value `json:"items"`
}

// DecodeLane reads a JSON array of 1 to MaxBatch items, without decoding them.
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

// LaneAnswer is the answer to an item. At most one field is set: Facts of its command or of its
// transaction's legs, IDConflict for a transaction, or Invalid. If none is, the item is returned: send
// it to the workflow of its wallet or transaction. It may have been applied nevertheless.
type LaneAnswer struct {
	Facts      Facts
	IDConflict bool // another transaction has the id
	Invalid    *InvalidError
}

// An answer is encoded as its kind (one byte), the length of its body (uvarint), and the body. A reader
// treats an unknown kind as laneReturned.
const (
	laneReturned = iota
	laneFacts
	laneInvalid // JSON
	laneIDConflict
)

// AppendTo appends the answer, encoded as SplitLaneAnswers expects it.
func (a LaneAnswer) AppendTo(b []byte) []byte {
	kind, body := byte(laneReturned), []byte(nil)
	switch {
	case a.Facts != nil:
		kind, body = laneFacts, a.Facts
	case a.IDConflict:
		kind = laneIDConflict
	case a.Invalid != nil:
		encoded, err := json.Marshal(a.Invalid)
		if err != nil { // cannot happen: it has only strings
			panic(err)
		}
		kind, body = laneInvalid, encoded
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

var errLaneAnswers = errors.New("the answers of a lane cannot be read: they belong to other items, or are damaged")

// SplitLaneAnswers splits the answers to n items, without decoding them.
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

// IsReturned reports whether an encoded answer returns its item.
func IsReturned(answer []byte) bool {
	return answer[0] != laneFacts && answer[0] != laneInvalid && answer[0] != laneIDConflict
}

// ReadLaneAnswer decodes one answer of SplitLaneAnswers.
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
