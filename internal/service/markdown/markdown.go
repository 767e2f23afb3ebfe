// Package markdown puts other people's text safely into Markdown, which Temporal's Web UI
// renders in summaries and details.
package markdown

import (
	"fmt"
	"strings"
	"unicode"
)

// Escape makes text appear as it is, on one line, anywhere in Markdown, including a table's
// cell. The Web UI renders HTML that it finds, so this stops a caller's ids from inserting
// pictures and links there.
//
// Punctuation becomes numeric character references: renderers disagree on what a backslash
// escapes, but none treats a reference as structure. Characters that are invisible, or would
// reverse the text around them, become their code points.
func Escape(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		switch {
		case r == ' ' || isWord(r) || r > unicode.MaxASCII && unicode.IsPrint(r) || r == zeroWidthJoiner:
			b.WriteRune(r)
		case strings.ContainsRune("-._@", r) && i > 0 && i+1 < len(runes) && isWord(runes[i-1]) && isWord(runes[i+1]):
			b.WriteRune(r) // never structure; keeps order-7 readable where nothing renders it
		case r > unicode.MaxASCII || unicode.IsControl(r):
			fmt.Fprintf(&b, "⟨%U⟩", r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

// zeroWidthJoiner is part of emoji.
const zeroWidthJoiner = '\u200d'

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// Shorten cuts text to that many characters; the last one is then "…".
func Shorten(text string, characters int) string {
	if runes := []rune(text); len(runes) > characters {
		return string(runes[:characters-1]) + "…"
	}
	return text
}
