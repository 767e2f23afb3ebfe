package model

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheModelByHand pins what the model says with answers that were worked out on
// paper, so that it cannot be wrong in the same way as what it is compared with.
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
	first := Answer{ID: "a", Status: "applied", Before: "0.00", After: "0.05", Version: 2, Position: 2}
	again := first
	again.Replayed = true
	require.Equal(t, []Answer{
		first,
		{ID: "b", Status: "unapplied", Reason: "insufficient_funds", Before: "0.05", After: "0.05", Position: 3},
		{ID: "c", Status: "unapplied", Reason: "scale_exceeded", Before: "0.05", After: "0.05", Position: 4},
		again,
		{ID: "a", Status: "unapplied", Reason: "id_conflict", Before: "0.05", After: "0.05"},
		{ID: "d", Status: "unapplied", Reason: "already_exists", Before: "0.05", After: "0.05", Position: 5},
		{ID: "e", Status: "unapplied", Reason: "malformed", Before: "0.05", After: "0.05", Position: 6},
		{ID: "f", Status: "applied", Before: "0.05", After: "0.00", Version: 3, Position: 7},
	}, answers)
	require.Equal(t, "0.00", w.Total())
	require.Equal(t, int64(1), w.Recorded, "creation comes with its event, the others when they are recorded")
}
