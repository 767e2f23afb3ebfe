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

// EventID is the id of the event with a version in a row of a table. If it was deleted from the
// trail, the id has no hash.
func EventID(table, version string) string {
	return fmt.Sprintf(`%[1]s.currency || '/' || %[1]s.user_id || '/' || %[1]s.%[2]s || coalesce('-' || (
			SELECT %[3]s
			FROM wallet_asset_events AS e
			WHERE e.user_id = %[1]s.user_id AND e.currency = %[1]s.currency AND e.version = %[1]s.%[2]s), '')`, table, version, EventIDHash)
}

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
