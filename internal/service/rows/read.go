package rows

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/valueledger/wallet"
)

// read sets a field to the value of a column, with numbers, bytes and times in binary, and says
// what is wrong with it. NULL is only valid in an optional field, where it is the only form of
// "not set". Only a signed amount may be below 0.
func read(of any, column []byte, optional, signed bool) (wrong string) {
	if column == nil {
		clearField(of)
		if !optional {
			return "is NULL"
		}
		return ""
	}
	switch v := of.(type) {
	case *string:
		*v = string(column)
		if optional && *v == "" {
			return "is empty instead of NULL"
		}
	case *int64:
		*v, wrong = readInteger(column)
		if optional && wrong == "" && *v == 0 {
			return "is 0 instead of NULL"
		}
	case **int64:
		n := new(int64)
		*n, wrong = readInteger(column)
		*v = n
	case *bool:
		*v = len(column) == 1 && column[0] == 1
		if optional && !*v {
			return "is false instead of NULL"
		}
	case *wallet.Amount:
		parse := wallet.ParseAmount
		if signed {
			parse = wallet.ParseSigned
		}
		amount, err := parse(string(column))
		*v = amount
		if err != nil {
			return fmt.Sprintf("is %.60q, which is not a valid amount", column)
		}
		if optional && amount.IsZero() {
			return fmt.Sprintf("is %.60q instead of NULL", column)
		}
	case *wallet.Hash:
		if len(column) != len(v) {
			*v = wallet.Hash{}
			return fmt.Sprintf("has %d bytes instead of %d", len(column), len(v))
		}
		copy(v[:], column)
	case *time.Time:
		var micros int64
		if micros, wrong = readInteger(column); wrong == "" && (micros == math.MinInt64 || micros == math.MaxInt64) {
			*v = time.Time{}
			return "is infinite"
		}
		*v = timeOf(micros)
	case *map[string]string:
		*v, wrong = readMetadata(column)
	default:
		panic(fmt.Sprintf("rows: no column is a %T", of))
	}
	return wrong
}

func clearField(of any) {
	switch v := of.(type) {
	case *string:
		*v = ""
	case *int64:
		*v = 0
	case **int64:
		*v = nil
	case *bool:
		*v = false
	case *wallet.Amount:
		*v = wallet.Amount{}
	case *wallet.Hash:
		*v = wallet.Hash{}
	case *time.Time:
		*v = time.Time{}
	case *map[string]string:
		*v = nil
	}
}

func readInteger(column []byte) (n int64, wrong string) {
	switch len(column) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(column))), ""
	case 4:
		return int64(int32(binary.BigEndian.Uint32(column))), ""
	case 8:
		return int64(binary.BigEndian.Uint64(column)), ""
	}
	return 0, fmt.Sprintf("has %d bytes, which is not the size of a number", len(column))
}

// readMetadata reads jsonb. Equal content has equal text in jsonb, so this loses nothing except
// what it refuses.
func readMetadata(column []byte) (metadata map[string]string, wrong string) {
	if metadata := plainPairs(column); metadata != nil {
		return metadata, ""
	}
	var pairs map[string]*string // a pointer, because null must not be read as ""
	if err := json.Unmarshal(column, &pairs); err != nil {
		return nil, fmt.Sprintf("is not an object of strings: %v", err)
	}
	if len(pairs) == 0 {
		return nil, fmt.Sprintf("is %s instead of NULL", column)
	}
	metadata = make(map[string]string, len(pairs))
	for key, value := range pairs {
		if value == nil {
			return nil, fmt.Sprintf("has null at key %.60q", key)
		}
		metadata[key] = *value
	}
	return metadata, ""
}

// plainPairs reads what nearly all metadata looks like: {"key": "value", "more": "x"} as
// Postgres writes it, without escapes. It returns nil for anything else. It exists because
// reading JSON was the most expensive part of a verification.
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

// Column is a column of a row outside the journal, and the variable for its value: one of the
// types of wallet.Field.
type Column struct {
	Name     string
	Of       any
	Optional bool
	Signed   bool
}

// Read reads the current row of found, and returns the first problem with it.
func Read(found pgx.Rows, columns ...Column) (problem string) {
	values := Values(found)
	for _, c := range columns {
		if wrong := read(c.Of, values[columnIndex(found, c.Name)], c.Optional, c.Signed); wrong != "" && problem == "" {
			problem = c.Name + " " + wrong
		}
	}
	return problem
}

// Values returns the columns of the current row of found as this package reads them: numbers,
// bytes and times in binary. In the query modes exec and simple_protocol, which a pooler may
// require, Postgres sends all of them as text.
func Values(found pgx.Rows) [][]byte {
	values, inText := found.RawValues(), true
	for _, column := range found.FieldDescriptions() {
		inText = inText && column.Format == pgtype.TextFormatCode
	}
	if !inText {
		return values
	}
	values = slices.Clone(values)
	for i, column := range found.FieldDescriptions() {
		if values[i] != nil {
			values[i] = binaryOf(found.Conn().TypeMap(), column.DataTypeOID, values[i])
		}
	}
	return values
}

// binaryOf converts a column's text to binary, if its type is read that way. A text that does
// not fit the type is left for the reader to refuse.
func binaryOf(types *pgtype.Map, oid uint32, text []byte) []byte {
	var value any
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		value = new(int64)
	case pgtype.BoolOID:
		value = new(bool)
	case pgtype.ByteaOID:
		value = new([]byte)
	case pgtype.TimestamptzOID:
		value = new(pgtype.Timestamptz) // it may be infinite
	default:
		return text
	}
	if err := types.Scan(oid, pgtype.TextFormatCode, text, value); err != nil {
		return text
	}
	binary, err := types.Encode(oid, pgtype.BinaryFormatCode, value, nil)
	if err != nil {
		return text
	}
	return binary
}
