package trail

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/valueledger/wallet"
)

// storedFormats asks Postgres for numbers, bytes and times in binary, and for all
// else as text: for numeric with its decimals as they are stored.
var storedFormats = pgx.QueryResultFormatsByOID{
	pgtype.Int8OID: pgx.BinaryFormatCode, pgtype.ByteaOID: pgx.BinaryFormatCode, pgtype.TimestamptzOID: pgx.BinaryFormatCode,
}

// storedRow reads a row column by column, in the order of its query, as strictly
// as a proof needs it: NULL is not the same as empty, and a row has one form for
// one content. What this service never stores is a problem in words, of which the
// first is kept. (Scan takes NULL for empty, and fails at what it cannot convert,
// where only one wallet is wrong.)
type storedRow struct {
	names   []pgconn.FieldDescription
	columns [][]byte // nil is NULL; valid until the next row
	next    int
	problem string
}

func (r *storedRow) column() []byte {
	r.next++
	return r.columns[r.next-1]
}

// wrong says what is wrong with the column that was read last.
func (r *storedRow) wrong(format string, args ...any) {
	if r.problem == "" {
		r.problem = r.names[r.next-1].Name + " " + fmt.Sprintf(format, args...)
	}
}

func (r *storedRow) required() []byte {
	column := r.column()
	if column == nil {
		r.wrong("is NULL")
	}
	return column
}

func (r *storedRow) text() string { return string(r.required()) }

// optionalText is NULL where there is none.
func (r *storedRow) optionalText() string {
	column := r.column()
	if column != nil && len(column) == 0 {
		r.wrong("is empty instead of NULL")
	}
	return string(column)
}

func (r *storedRow) integer(column []byte) int64 {
	if len(column) != 8 {
		if column != nil {
			r.wrong("has %d bytes instead of 8", len(column))
		}
		return 0
	}
	return int64(binary.BigEndian.Uint64(column))
}

func (r *storedRow) number() int64 { return r.integer(r.required()) }

func (r *storedRow) optionalNumber() int64 {
	column := r.column()
	n := r.integer(column)
	if column != nil && n == 0 {
		r.wrong("is 0 instead of NULL")
	}
	return n
}

func (r *storedRow) decimal(column []byte) wallet.Amount {
	if column == nil {
		return wallet.Amount{}
	}
	amount, err := wallet.ParseAmount(string(column))
	if err != nil {
		r.wrong("is %.60q, which no amount can be", column)
	}
	return amount
}

func (r *storedRow) amount() wallet.Amount { return r.decimal(r.required()) }

func (r *storedRow) optionalAmount() wallet.Amount {
	column := r.column()
	amount := r.decimal(column)
	if column != nil && amount.IsZero() {
		r.wrong("is %.60q instead of NULL", column)
	}
	return amount
}

func (r *storedRow) hash() (h wallet.Hash) {
	if column := r.required(); len(column) == len(h) {
		copy(h[:], column)
	} else {
		r.wrong("has %d bytes instead of %d", len(column), len(h))
	}
	return h
}

// postgresEpoch is 2000-01-01, from which Postgres counts microseconds; the ends
// of the range are its infinities.
const postgresEpoch = 946_684_800_000_000

func (r *storedRow) time() time.Time {
	micros := r.number()
	if micros == math.MinInt64 || micros == math.MaxInt64 {
		r.wrong("is infinite")
		return time.Time{}
	}
	return time.UnixMicro(micros + postgresEpoch).UTC()
}

// metadata is NULL where there is none. jsonb has one text for one content, so
// that nothing is lost here but what is refused.
func (r *storedRow) metadata() map[string]string {
	column := r.column()
	if column == nil {
		return nil
	}
	if metadata := plainPairs(column); metadata != nil {
		return metadata
	}
	var pairs map[string]*string // a pointer, because null must not pass for ""
	if err := json.Unmarshal(column, &pairs); err != nil {
		r.wrong("is no object of strings: %v", err)
		return nil
	}
	if len(pairs) == 0 {
		r.wrong("is %s instead of NULL", column)
	}
	metadata := make(map[string]string, len(pairs))
	for key, value := range pairs {
		if value == nil {
			r.wrong("has null at key %.60q", key)
			continue
		}
		metadata[key] = *value
	}
	return metadata
}

// plainPairs reads what nearly all metadata is, {"key": "value", "more": "x"} as
// Postgres writes it, without anything escaped. It returns nil for all else, and is
// here because reading JSON was the most costly part of a verification.
func plainPairs(text []byte) map[string]string {
	if bytes.IndexByte(text, '\\') >= 0 {
		return nil
	}
	parts := strings.Split(string(text), `"`)
	last := len(parts) - 1
	if last < 4 || last%4 != 0 || parts[0] != "{" || parts[last] != "}" {
		return nil
	}
	pairs := make(map[string]string, last/4)
	for i := 1; i < last; i += 4 {
		if parts[i+1] != ": " || i+3 < last && parts[i+3] != ", " {
			return nil
		}
		pairs[parts[i]] = parts[i+2]
	}
	return pairs
}

// present reads a column that tells whether a joined row is there.
func (r *storedRow) present(otherwise string) {
	if r.column() == nil && r.problem == "" {
		r.problem = otherwise
	}
}

// stream is the rows of a query, each looked at before it is taken.
type stream struct {
	rows  pgx.Rows
	stand bool // on a row that is not taken
}

// peek returns nil at the end.
func (s *stream) peek() [][]byte {
	if !s.stand && !s.rows.Next() {
		return nil
	}
	s.stand = true
	return s.rows.RawValues()
}

func (s *stream) take() { s.stand = false }
