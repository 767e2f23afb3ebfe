package model

import (
	"strings"
	"time"
)

// freeze is one that nothing has ended but its time.
type freeze struct {
	what  string
	until time.Time // zero for never
}

func (f freeze) isOver(at time.Time) bool { return !f.until.IsZero() && !at.Before(f.until) }

// refuses reports whether debits or credits are frozen.
func (w *Wallet) refuses(direction string) bool {
	frozen, _ := w.frozen(direction, w.Now)
	return frozen
}

// frozen reports whether any freeze is of a direction at a time, and when the last of them ends.
func (w *Wallet) frozen(direction string, at time.Time) (frozen bool, until time.Time) {
	endless := false
	for _, f := range w.freezes {
		if f.isOver(at) || f.what != direction && f.what != "all" {
			continue
		}
		frozen, endless = true, endless || f.until.IsZero()
		if f.until.After(until) {
			until = f.until
		}
	}
	if endless {
		return true, time.Time{}
	}
	return frozen, until
}

// FrozenAt returns "debits until 2026-01-31T12:00:00Z, credits" for what is frozen at a time, and
// "all" for both without an end.
func (w *Wallet) FrozenAt(at time.Time) string {
	var parts []string
	for _, direction := range []string{"debits", "credits"} {
		if frozen, until := w.frozen(direction, at); frozen && until.IsZero() {
			parts = append(parts, direction)
		} else if frozen {
			parts = append(parts, direction+" until "+Time(until))
		}
	}
	if text := strings.Join(parts, ", "); text != "debits, credits" {
		return text
	}
	return "all"
}
