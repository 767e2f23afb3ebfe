package activities_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func (s steps) requireSound() {
	s.t.Helper()
	_, err := s.RecordEvents(context.Background(), s.ref)
	require.NoError(s.t, err)
	report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{})
	require.NoError(s.t, err)
	require.Empty(s.t, report.Findings)
}

// TestOneOfManyCallersWithOneVersionWins has all of them decide on the same balance.
func TestOneOfManyCallersWithOneVersionWins(t *testing.T) {
	s := newSteps(t)
	s.apply(add("a", "100"), add("b", "1"), add("c", "1"), add("d", "1"))
	results := make([]wallet.Result, 8)
	var group errgroup.Group
	for i := range results {
		c := subtract(fmt.Sprint("s", i), "10")
		c.Command.ExpectedVersion = new(int64(5))
		group.Go(func() error {
			results[i] = s.apply(c)[0]
			return nil
		})
	}
	require.NoError(t, group.Wait())
	applied := 0
	for _, r := range results {
		if r.Status == wallet.StatusApplied {
			applied++
			continue
		}
		require.Equal(t, wallet.ReasonVersionMismatch, r.Reason)
		require.Contains(t, r.Message, "the wallet has version 6, not the expected_version 5")
	}
	require.Equal(t, 1, applied)
	require.Equal(t, "93.00", s.balance("u1").Total.String())
	s.requireSound()
}

// TestConditionsAreStoredAsSent reads them back from the journal and the events, 0 as 0.
func TestConditionsAreStoredAsSent(t *testing.T) {
	s := newSteps(t)
	at := time.Date(2099, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	open, late := create("open"), add("late", "1")
	open.Command.NotAfter, open.Command.ExpectedVersion = at, new(int64(0))
	late.Command.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	results := s.apply(open, late, add("plain", "1"))
	require.Equal(t, []wallet.Reason{"", wallet.ReasonTooLate, ""}, []wallet.Reason{results[0].Reason, results[1].Reason, results[2].Reason})
	entries := s.journal()
	require.Equal(t, at, entries[0].NotAfter)
	require.Equal(t, new(int64(0)), entries[0].ExpectedVersion)
	require.Equal(t, late.Command.NotAfter, entries[1].NotAfter)
	require.Nil(t, entries[2].ExpectedVersion)
	require.True(t, entries[2].NotAfter.IsZero())
	s.requireSound()
	events, err := trail.New(s.db).Events(t.Context(), trail.EventFilter{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	require.Equal(t, at, events[0].NotAfter)
	require.Equal(t, new(int64(0)), events[0].ExpectedVersion)
	require.Nil(t, events[1].ExpectedVersion)
}

func TestARefusedCreateLeavesAJournalThatVerifies(t *testing.T) {
	s := newSteps(t)
	late := create("open")
	late.Command.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	require.Equal(t, wallet.ReasonTooLate, s.apply(late)[0].Reason)
	require.Equal(t, int64(1), s.balance("u1").Version)

	r := s.transaction(wallet.Transaction{ID: "t-1", Commands: []wallet.Leg{leg("new", wallet.TypeCreate, ""), leg("new", wallet.TypeSubtract, "5"), leg("other", wallet.TypeCreate, "")}})
	require.Equal(t, wallet.ReasonInsufficientFunds, r.Reason)
	past := wallet.Transaction{ID: "t-2", NotAfter: late.Command.NotAfter, Commands: []wallet.Leg{leg("third", wallet.TypeCreate, ""), leg("u1", wallet.TypeAdd, "1")}}
	r = s.transaction(past)
	require.Equal(t, wallet.ReasonTooLate, r.Reason)
	require.Equal(t, int64(1), r.RefusedLeg)
	require.True(t, s.transaction(past).Replayed)
	past.NotAfter = past.NotAfter.Add(time.Microsecond)
	require.Equal(t, wallet.ReasonIDConflict, s.transaction(past).Reason, "the time is content")
	s.requireSound()
}
