package trail

import (
	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/internal/service/rows"
)

// key names a wallet asset, whose rows may be missing in some tables.
type key struct{ userID, currency string }

// before is the sort order of all queries of a verification.
func (k key) before(other key) bool {
	return k.userID < other.userID || k.userID == other.userID && k.currency < other.currency
}

// stream reads journal entries or events with one row of lookahead.
type stream struct {
	found  pgx.Rows
	reader rows.Reader
	on     bool // on a row that is not taken yet
}

// peek reports whether there is a row, and stays on it until it is taken.
func (s *stream) peek() bool {
	s.on = s.on || s.found.Next()
	return s.on
}

func (s *stream) take() { s.on = false }

func (s *stream) row() [][]byte { return rows.Values(s.found) }

// key returns the row's key. Its two columns come first in every query.
func (s *stream) key() key {
	row := s.row()
	return key{string(row[0]), string(row[1])}
}

// of reports whether there is a row with that key.
func (s *stream) of(k key) bool {
	if !s.peek() {
		return false
	}
	row := s.row()
	return string(row[0]) == k.userID && string(row[1]) == k.currency
}
