package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTheModelByHand pins the model to answers worked out on paper, so that it cannot be wrong
// in the same way as what it is compared with.
func TestTheModelByHand(t *testing.T) {
	w := New(2)
	w.Ensure()
	answers := w.Apply([]Command{
		{ID: "a", Type: "add", Amount: "0.05"},
		{ID: "b", Type: "subtract", Amount: "0.06"},
		{ID: "c", Type: "add", Amount: "1.005"},
		{ID: "a", Type: "add", Amount: "0.050"},
		{ID: "a", Type: "add", Amount: "0.05", Content: "other"},
		{ID: "d", Type: "create"},
		{ID: "e", Malformed: true},
		{ID: "f", Type: "subtract", Amount: "0.05"},
	})
	first := Answer{ID: "a", Status: "applied", Before: "0.00", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00", Version: 2, Position: 2}
	again := first
	again.Replayed = true
	require.Equal(t, []Answer{
		first,
		{ID: "b", Status: "unapplied", Reason: "insufficient_funds", Before: "0.05", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00", Position: 3},
		{ID: "c", Status: "unapplied", Reason: "scale_exceeded", Before: "0.05", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00", Position: 4},
		again,
		{ID: "a", Status: "unapplied", Reason: "id_conflict", Before: "0.05", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00"},
		{ID: "d", Status: "unapplied", Reason: "already_exists", Before: "0.05", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00", Position: 5},
		{ID: "e", Status: "unapplied", Reason: "malformed", Before: "0.05", After: "0.05", HoldBefore: "0.00", HoldAfter: "0.00", Position: 6},
		{ID: "f", Status: "applied", Before: "0.05", After: "0.00", HoldBefore: "0.00", HoldAfter: "0.00", Version: 3, Position: 7},
	}, answers)
	require.Equal(t, "0.00", w.Total())
	require.Equal(t, int64(1), w.Recorded, "creation comes with its event, the others when they are recorded")
}

// TestTheModelsHoldsByHand does the same for holds, across an expiry.
func TestTheModelsHoldsByHand(t *testing.T) {
	w := New(2)
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	w.Now = at(0)
	answers := w.Apply([]Command{
		{ID: "funds", Type: "add", Amount: "1"},
		{ID: "h", Type: "hold", Amount: "0.60", ExpiresIn: "10s"},
		{ID: "s", Type: "subtract", Amount: "0.41"},
		{ID: "part", Type: "capture", HoldID: "h", Amount: "0.20", Partial: true},
		{ID: "more", Type: "hold", HoldID: "h", Amount: "0.05", ExpiresIn: "5s"},
		{ID: "raise", Type: "hold", HoldID: "h", Amount: "0.05", ExpiresIn: "11s"},
		{ID: "over", Type: "release", HoldID: "h", Amount: "0.46"},
		{ID: "back", Type: "release", HoldID: "h", Amount: "0.15"},
		{ID: "none", Type: "capture", HoldID: "x"},
		{ID: "late", Type: "hold", Amount: "0.01", ExpiresAt: at(0)},
		{ID: "k", Type: "hold", Amount: "0.10"},
		{ID: "last", Type: "capture", HoldID: "k", Amount: "0.04"},
		{ID: "again", Type: "capture", HoldID: "k"},
	})
	applied := func(id, before, after, heldBefore, heldAfter, hold, state, left string, version, position int64) Answer {
		return Answer{ID: id, Status: "applied", Before: before, After: after, HoldBefore: heldBefore, HoldAfter: heldAfter,
			Hold: hold, State: state, Left: left, Version: version, Position: position}
	}
	refused := func(id, reason, total, held string, position int64) Answer {
		return Answer{ID: id, Status: "unapplied", Reason: reason, Before: total, After: total, HoldBefore: held, HoldAfter: held, Position: position}
	}
	until := func(second int, a Answer) Answer { a.Expires = Time(at(second)); return a }
	require.Equal(t, []Answer{
		applied("funds", "0.00", "1.00", "0.00", "0.00", "", "", "", 2, 2),
		until(10, applied("h", "1.00", "1.00", "0.00", "0.60", "h", "open", "0.60", 3, 3)),
		refused("s", "insufficient_funds", "1.00", "0.60", 4),
		until(10, applied("part", "1.00", "0.80", "0.60", "0.40", "h", "open", "0.40", 4, 5)),
		refused("more", "expiry_not_later", "0.80", "0.40", 6),
		until(11, applied("raise", "0.80", "0.80", "0.40", "0.45", "h", "open", "0.45", 5, 7)),
		refused("over", "hold_exceeded", "0.80", "0.45", 8),
		until(11, applied("back", "0.80", "0.80", "0.45", "0.30", "h", "open", "0.30", 6, 9)),
		refused("none", "hold_not_found", "0.80", "0.30", 10),
		refused("late", "hold_expired", "0.80", "0.30", 11),
		applied("k", "0.80", "0.80", "0.30", "0.40", "k", "open", "0.10", 7, 12),
		applied("last", "0.80", "0.76", "0.40", "0.30", "k", "captured", "", 8, 13),
		refused("again", "hold_closed", "0.76", "0.30", 14),
	}, answers)
	require.Equal(t, at(11), w.NextExpiry())
	require.Equal(t, int64(1), w.Open())

	w.Now = at(11)
	answers = w.Apply([]Command{{ID: "too late", Type: "capture", HoldID: "h"}, {ID: "t", Type: "subtract", Amount: "0.76"}})
	require.Equal(t, []Answer{
		refused("too late", "hold_expired", "0.76", "0.00", 16),
		applied("t", "0.76", "0.00", "0.00", "0.00", "", "", "", 10, 17),
	}, answers)
	require.Equal(t, until(11, applied("_expire/h", "0.76", "0.76", "0.30", "0.00", "h", "expired", "", 9, 15)), w.Journal[14])
	require.Equal(t, map[string]Hold{
		"h": {"expired", "0.65", "0.20", "0.45", "", Time(at(11)), Time(at(0)), Time(at(11)), 15},
		"k": {"captured", "0.10", "0.04", "0.06", "", "", Time(at(0)), Time(at(0)), 13},
	}, w.Holds())
	require.Zero(t, w.NextExpiry())
}
