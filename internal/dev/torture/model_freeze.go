package torture

import (
	"math"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// freezes is until when debits and credits are frozen, in microseconds since 1970: in the past if
// they are not, forever if it has no end.
type freezes struct{ debits, credits int64 }

const forever = math.MaxInt64

// with freezes more. A later freeze ends none earlier.
func (f freezes) with(c wallet.Command, at time.Time) freezes {
	until := int64(forever)
	if end := freezeEnd(c, at); !end.IsZero() {
		until = end.UnixMicro()
	}
	if c.What != "credits" {
		f.debits = max(f.debits, until)
	}
	if c.What != "debits" {
		f.credits = max(f.credits, until)
	}
	return f
}

// freezeEnd is when a freeze ends; zero for never.
func freezeEnd(c wallet.Command, at time.Time) time.Time {
	if d, err := time.ParseDuration(c.ExpiresIn); err == nil { // scripts have no days
		return at.Add(d)
	}
	return c.ExpiresAt
}

// refuse reports whether debits or credits are refused at a time.
func (f freezes) refuse(direction wallet.Frozen, at time.Time) bool {
	if direction == wallet.FrozenDebits {
		return at.UnixMicro() < f.debits
	}
	return at.UnixMicro() < f.credits
}

// shown is what an answer of a time says of them.
func (f freezes) shown(at time.Time) string {
	var parts []string
	for _, of := range []struct {
		direction wallet.Frozen
		until     int64
	}{{wallet.FrozenDebits, f.debits}, {wallet.FrozenCredits, f.credits}} {
		switch {
		case !f.refuse(of.direction, at):
		case of.until == forever:
			parts = append(parts, string(of.direction))
		default:
			parts = append(parts, string(of.direction)+" until "+frozenTime(time.UnixMicro(of.until)))
		}
	}
	if text := strings.Join(parts, ", "); text != "debits, credits" {
		return text
	}
	return string(wallet.FrozenAll)
}

func shownFrozen(f wallet.Frozen, ends wallet.FreezeEnds) string {
	return wallet.FrozenText(f, ends, frozenTime)
}

func frozenTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// isShownBy reports whether a balance that was read at about a time says what is frozen.
func (f freezes) isShownBy(a wallet.Asset, read time.Time) bool {
	shown := shownFrozen(a.Frozen, a.FreezeEnds)
	for _, at := range []time.Time{a.UpdatedAt, read, read.Add(time.Minute)} {
		if shown == f.shown(at) {
			return true
		}
	}
	return false
}
