package wallet

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// encoder collects fields one after the other, each preceded by its length as 8 bytes big
// endian, so that fields cannot run into each other: ("ab","c") and ("a","bc") differ. They are
// hashed in one go, because many small writes cost more than the hash itself.
type encoder []byte

// encoders are reused: a verification needs millions.
var encoders = sync.Pool{New: func() any { return &encoder{} }}

func newEncoder(domain string) *encoder {
	e := encoders.Get().(*encoder)
	*e = (*e)[:0]
	e.text(domain)
	return e
}

func (e *encoder) length(n int) { *e = binary.BigEndian.AppendUint64(*e, uint64(n)) }

func (e *encoder) bytes(b []byte) {
	e.length(len(b))
	*e = append(*e, b...)
}

func (e *encoder) text(s string) {
	e.length(len(s))
	*e = append(*e, s...)
}

func (e *encoder) number(n int64) {
	e.length(8)
	*e = binary.BigEndian.AppendUint64(*e, uint64(n))
}

func (e *encoder) amount(a Amount) {
	var room [maxParsedDigits]byte
	e.bytes(a.appendText(room[:0]))
}

// metadata writes the number of pairs, then each key and value, sorted by key.
func (e *encoder) metadata(m map[string]string) {
	e.number(int64(len(m)))
	for _, key := range sortedKeys(m) {
		e.text(key)
		e.text(m[key])
	}
}

// field writes a fixed field of an entry.
func (e *encoder) field(of any) {
	switch v := of.(type) {
	case *string:
		e.text(*v)
	case *int64:
		e.number(*v)
	case *Amount:
		e.amount(*v)
	case *Hash:
		e.bytes(v[:])
	case *time.Time:
		e.number(v.UnixMicro())
	case *map[string]string:
		e.metadata(*v)
	default:
		panic(fmt.Sprintf("wallet: a %T cannot be hashed", of))
	}
}

// sum hashes what was written and returns the encoder to the pool: do not use it afterwards.
func (e *encoder) sum() Hash {
	h := sha256.Sum256(*e)
	encoders.Put(e)
	return h
}
