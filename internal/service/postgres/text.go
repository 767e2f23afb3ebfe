package postgres

import (
	"strings"
	"unicode/utf8"
)

// IsText reports whether Postgres takes s as text.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
