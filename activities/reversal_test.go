package activities_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func reverse(id, originalID, amount string) wallet.Received {
	c := wallet.Command{ID: id, Type: wallet.TypeReverse, OriginalID: originalID}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	return wallet.Received{Command: c}
}

// TestARefundInPartsStopsAtTheCharge is the story of the guide.
func TestARefundInPartsStopsAtTheCharge(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "20"), subtract("order-7", "10"))
	require.Equal(t, "4.00", s.apply(reverse("r1", "order-7", "6"))[0].OriginalLeft.String())
	for range 2 { // the same answer every time for its id
		r := s.apply(reverse("r2", "order-7", "6"))[0]
		require.Equal(t, wallet.ReasonReversalExceeded, r.Reason)
		require.Contains(t, r.Message, "only 4.00 of the 10.00 USD")
	}
	require.Equal(t, "16.00", s.balance("u1").Total.String())
	require.True(t, s.apply(reverse("r1", "order-7", "6"))[0].Replayed)
	r := s.apply(reverse("r3", "order-7", ""), reverse("r4", "order-7", ""))
	require.Equal(t, "20.00", r[0].TotalAfter.String())
	require.True(t, r[0].OriginalLeft.IsZero())
	require.Equal(t, wallet.ReasonReversalExceeded, r[1].Reason)
	s.verified()

	read := trail.New(s.db)
	reversed, err := read.Reversed(t.Context(), s.journal())
	require.NoError(t, err)
	for i, e := range s.journal() {
		require.Equal(t, e.CommandID == "order-7", !reversed[i].IsZero(), e.CommandID)
	}
	statement, err := read.Statement(t.Context(), "u1", "USD", s.journal()[0].RecordedAt, s.journal()[0].RecordedAt.AddDate(1, 0, 0))
	require.NoError(t, err)
	lines := 0
	for line, err := range statement.Lines(t.Context()) {
		require.NoError(t, err)
		switch line.CommandID {
		case "order-7":
			require.Equal(t, "10.00", line.Reversed.String())
		case "r1":
			require.Equal(t, "wallet_asset.reversed", line.EventType)
			require.Equal(t, []string{"order-7", "4.00"}, []string{line.OriginalID, line.OriginalLeft.String()})
		}
		lines++
	}
	require.Equal(t, 5, lines)

	reversals, err := read.Commands(t.Context(), trail.CommandFilter{UserID: "u1", Currency: "USD", OriginalID: "order-7"})
	require.NoError(t, err)
	require.Len(t, reversals, 2)
	require.Equal(t, []string{"r1", "r3"}, []string{reversals[0].CommandID, reversals[1].CommandID}, "not the refused one")
	rest, err := read.Commands(t.Context(), trail.CommandFilter{UserID: "u1", Currency: "USD", OriginalID: "order-7", AfterPosition: reversals[0].Position, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, reversals[1:], rest)
	_, err = read.Commands(t.Context(), trail.CommandFilter{UserID: "u1", OriginalID: "order-7"})
	require.Error(t, err)
}

func TestAHundredReversalsAtOnce(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), subtract("order-7", "10"))
	var mu sync.Mutex
	applied := 0
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			if r := s.apply(reverse(fmt.Sprint("r", i), "order-7", "1"))[0]; r.Status == wallet.StatusApplied {
				mu.Lock()
				defer mu.Unlock()
				applied++
			}
		})
	}
	group.Wait()
	require.Equal(t, 10, applied)
	require.Equal(t, "100.00", s.balance("u1").Total.String())
	s.verified()
}

// TestALegIsReversedAlone, and the legs of one transaction may reverse one command in parts.
func TestALegIsReversedAlone(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "20"))
	require.Equal(t, wallet.StatusApplied, s.transaction(wallet.Transaction{ID: "t", MustBalance: true, Commands: []wallet.Leg{
		leg("u1", wallet.TypeSubtract, "10"), leg("shop", wallet.TypeAdd, "10")}}).Status)
	of := func(user, id, amount string) wallet.Leg {
		l := leg(user, wallet.TypeReverse, amount)
		l.OriginalID = id
		return l
	}
	require.Equal(t, "14.00", s.apply(reverse("goodwill", "_transaction/t/1", "4"))[0].TotalAfter.String())
	back := wallet.Transaction{ID: "back", Commands: []wallet.Leg{of("u1", "_transaction/t/1", "3"), of("shop", "_transaction/t/2", "3"), of("u1", "_transaction/t/1", "3")}}
	require.Equal(t, wallet.StatusApplied, s.transaction(back).Status)
	require.True(t, s.transaction(back).Replayed)
	back.ID = "more"
	r := s.transaction(back)
	require.Equal(t, wallet.ReasonReversalExceeded, r.Reason)
	require.Equal(t, int64(1), r.RefusedLeg)
	for _, amount := range []string{"4", "5"} { // the second leg is the cause, after what the first would have done
		r = s.transaction(wallet.Transaction{ID: "too much " + amount, Commands: []wallet.Leg{of("shop", "_transaction/t/2", amount), of("shop", "_transaction/t/2", amount), leg("u1", wallet.TypeAdd, "1")}})
		require.Equal(t, int64(2), r.RefusedLeg, r.Message)
	}
	require.Equal(t, wallet.ReasonOriginalNotFound, s.apply(reverse("foreign", "_transaction/t/2", ""))[0].Reason)
	s.verified()
}
