package rows

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// EventIDDigits is how many hex digits of an entry's hash are in the id of its event.
const EventIDDigits = 16

// EventIDHash is what the id of an event e has of its hash.
var EventIDHash = fmt.Sprintf(`left(encode(e.hash, 'hex'), %d)`, EventIDDigits)

// LastError is an error as a column last_error has it: without NUL, which Postgres does not store,
// and not too long for a table.
func LastError(err error) string {
	const most = 1000
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "\uFFFD")
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "..."
	}
	return text
}
