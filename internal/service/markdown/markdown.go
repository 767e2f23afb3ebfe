// Package markdown puts text of others into Markdown, which Temporal's Web UI makes of
// summaries and details.
package markdown

import (
	"fmt"
	"strings"
	"unicode"
)

// Escape makes text show as it is, on one line, in any place of a Markdown text, a
// table's cell included. The Web UI renders HTML that it finds, so this is what keeps
// a caller's ids from drawing pictures and links there.
//
// Punctuation becomes numeric character references: renderers disagree on what a
// backslash escapes, but no reference is ever taken for structure. What cannot be seen, or
// would turn the text around it, becomes its code point.
func Escape(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		switch {
		case r == ' ' || isWord(r) || r > unicode.MaxASCII && unicode.IsPrint(r) || r == zeroWidthJoiner:
			b.WriteRune(r)
		case strings.ContainsRune("-._@", r) && i > 0 && i+1 < len(runes) && isWord(runes[i-1]) && isWord(runes[i+1]):
			b.WriteRune(r) // structure nowhere; order-7 stays readable where nothing renders it
		case r > unicode.MaxASCII || unicode.IsControl(r):
			fmt.Fprintf(&b, "⟨%U⟩", r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

// zeroWidthJoiner is within emoji.
const zeroWidthJoiner = '\u200d'

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// Shorten cuts text to so many characters, the last of which is then "…".
func Shorten(text string, characters int) string {
	if runes := []rune(text); len(runes) > characters {
		return string(runes[:characters-1]) + "…"
	}
	return text
}
