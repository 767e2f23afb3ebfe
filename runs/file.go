package runs

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/valueledger/wallet"
)

// maxLineBytes is far more than the largest command takes. It bounds the memory for a file without
// line breaks, or with a quote that is never closed.
const maxLineBytes = 1 << 20

// Line is a line of a file.
type Line struct {
	wallet.RunLine
	Number int64                // where it begins in the file, from 1; the header of CSV is the first
	Err    *wallet.InvalidError // if not nil, the line is invalid and only Number can be used
}

// FileError says that a file cannot be read as a list of commands at all.
type FileError struct{ Message string }

func (e *FileError) Error() string { return e.Message }

func fileErrorf(format string, args ...any) error { return &FileError{fmt.Sprintf(format, args...)} }

// column is a field of a line. A key of metadata can be a column too, such as metadata.invoice.
type column struct {
	name string
	// isPlain reports whether a cell is a JSON value of the column's type, which is not quoted; nil
	// for text.
	isPlain func(string) bool
	wanted  string // what to send instead, for error messages
}

// columns are the fields that a line may have.
var columns = columnsOf(reflect.TypeFor[wallet.RunLine]())

func columnsOf(t reflect.Type) (all []column) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		kind := field.Type.Kind()
		switch {
		case field.Anonymous:
			all = append(all, columnsOf(field.Type)...)
		case name == "-" || name == "reply_to": // a line has no reply_to
		case kind == reflect.Bool:
			all = append(all, column{name, regexp.MustCompile(`^(true|false)$`).MatchString, "true or false"})
		case kind == reflect.Int64 || kind == reflect.Pointer && field.Type.Elem().Kind() == reflect.Int64:
			all = append(all, column{name, regexp.MustCompile(`^-?[0-9]{1,30}$`).MatchString, "a whole number"})
		case kind == reflect.Map:
			all = append(all, column{name, isObject, `a JSON object of texts, such as {"invoice":"7"}`})
		default:
			all = append(all, column{name: name})
		}
	}
	return all
}

func columnNames() string {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// isObject reports whether a text is one JSON object with nothing after it.
func isObject(text string) bool {
	value := jsontext.Value(text)
	return value.IsValid() && value.Kind() == '{'
}

// ReadFile calls line for each line of a file of JSON objects, one per line, or of CSV with a header.
// Lines without an id get a RunLineID. A Line must not be used after line returns.
func ReadFile(file io.Reader, runID string, line func(Line) error) error {
	in := bufio.NewReaderSize(file, 1<<16)
	if start, _ := in.Peek(3); string(start) == "\ufeff" {
		_, _ = in.Discard(3)
	}
	start, err := in.Peek(1)
	if errors.Is(err, io.EOF) {
		return fileErrorf("the file is empty: it needs CSV with a header, or JSON objects, one per line")
	}
	if err != nil {
		return err
	}
	if start[0] == '{' {
		return readJSON(in, runID, line)
	}
	return readCSV(in, runID, line)
}

func readJSON(in *bufio.Reader, runID string, line func(Line) error) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 1<<16), maxLineBytes)
	number := int64(0)
	for scanner.Scan() {
		number++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		if err := line(decode(text, runID, number)); err != nil {
			return err
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return fileErrorf("line %d has more than %d bytes, more than any command needs: put each JSON object on its own line", number+1, maxLineBytes)
	}
	return scanner.Err()
}

func decode(text []byte, runID string, number int64) Line {
	l := Line{Number: number}
	var err error
	if l.RunLine, err = wallet.DecodeRunLine(text, runID, number); err != nil && !errors.As(err, &l.Err) {
		l.Err = &wallet.InvalidError{Reason: wallet.ReasonMalformed, Message: err.Error()}
	}
	return l
}

// boundedRecord fails if one CSV record takes more than left bytes.
type boundedRecord struct {
	io.Reader
	left int
}

var errLongRecord = errors.New("too long")

func (b *boundedRecord) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongRecord
	}
	n, err := b.Reader.Read(p)
	b.left -= n
	return n, err
}

func readCSV(in io.Reader, runID string, line func(Line) error) error {
	bounded := &boundedRecord{in, maxLineBytes}
	records := csv.NewReader(bounded)
	header, err := records.Read()
	if err != nil {
		return csvError(err, 1)
	}
	of, err := readHeader(header)
	if err != nil {
		return err
	}
	records.ReuseRecord = true
	records.FieldsPerRecord = -1 // checked below, so that one such record does not end the reading
	var text []byte
	last := int64(1)
	for {
		bounded.left = maxLineBytes
		record, err := records.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(err, last+1)
		}
		at, _ := records.FieldPos(0)
		last = int64(at)
		l := Line{Number: last}
		if len(record) != len(header) {
			l.Err = &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "line", Value: fmt.Sprint(len(record)),
				Message: fmt.Sprintf("the line has %d fields, and the header %d: put quotes around a field with a comma", len(record), len(header))}
		} else if text, l.Err = asJSON(text[:0], of, record); l.Err == nil {
			l = decode(text, runID, last)
		}
		if err := line(l); err != nil {
			return err
		}
	}
}

// csvError ends the reading: after a misplaced quote nobody knows where the next line begins.
func csvError(err error, line int64) error {
	var syntax *csv.ParseError
	switch {
	case errors.Is(err, errLongRecord):
		return fileErrorf("the record at line %d has more than %d bytes, more than any command needs: is a quote not closed?", line, maxLineBytes)
	case errors.As(err, &syntax):
		return fileErrorf("line %d, column %d is not CSV: %v", syntax.Line, syntax.Column, syntax.Err)
	case errors.Is(err, io.EOF):
		return fileErrorf("the file has no header")
	}
	return err
}

// readHeader returns the column of each name in the header.
func readHeader(header []string) (all []headerColumn, err error) {
	for i, name := range header {
		key, isMetadata := strings.CutPrefix(name, "metadata.")
		of := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
		switch {
		case slices.Contains(header[:i], name):
			return nil, fileErrorf("the header has the column %q twice", name)
		case isMetadata && slices.Contains(header, "metadata"):
			return nil, fileErrorf("the header has both metadata and %.60q: use one of them", name)
		case isMetadata && key != "":
			all = append(all, headerColumn{column{name: name}, key})
		case of >= 0:
			all = append(all, headerColumn{columns[of], ""})
		default:
			return nil, fileErrorf("the header has an unknown column %.60q: the columns are %s, and metadata.KEY", name, columnNames())
		}
	}
	for _, name := range []string{"user_id", "currency", "type"} {
		if !slices.Contains(header, name) {
			return nil, fileErrorf("the header has no column %s: the first line names the columns, such as user_id,currency,type,amount,id", name)
		}
	}
	return all, nil
}

type headerColumn struct {
	column
	metadataKey string // of a column metadata.KEY; else empty
}

// asJSON appends the JSON object of a record, without empty fields.
func asJSON(b []byte, header []headerColumn, record []string) ([]byte, *wallet.InvalidError) {
	b = append(b, '{')
	var metadata []byte
	for i, value := range record {
		c := header[i]
		switch {
		case value == "":
		case c.metadataKey != "":
			metadata = appendText(append(appendText(append(metadata, ','), c.metadataKey), ':'), value)
		case c.isPlain == nil:
			b = appendText(append(appendText(append(b, ','), c.name), ':'), value)
		case c.isPlain(value):
			b = append(append(appendText(append(b, ','), c.name), ':'), value...)
		default:
			return b, &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: c.name, Message: fmt.Sprintf("%s is %.60q: send %s", c.name, value, c.wanted)}
		}
	}
	if metadata != nil {
		metadata[0] = '{'
		b = append(append(append(b, `,"metadata":`...), metadata...), '}')
	}
	if len(b) > 1 {
		b = append(b[:1], b[2:]...) // the first comma
	}
	return append(b, '}'), nil
}

// appendText appends a JSON string. Text that is not UTF-8 is appended unescaped: decoding then
// refuses the line.
func appendText(b []byte, text string) []byte {
	quoted, err := jsontext.AppendQuote(b, text)
	if err != nil {
		return append(append(append(b, '"'), text...), '"')
	}
	return quoted
}
