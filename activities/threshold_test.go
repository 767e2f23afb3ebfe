package activities_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func setThreshold(id, name, amount string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeSetThreshold, Threshold: name, Amount: wallet.MustAmount(amount)}}
}

// TestThresholdsAreInThePresentThePastAndWhatIsRestored, and each crossing is in its event.
func TestThresholdsAreInThePresentThePastAndWhatIsRestored(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "25"), setThreshold("set", "low", "20"))
	before := s.journal()[len(s.journal())-1].RecordedAt
	s.apply(subtract("19", "6"), subtract("18", "1"), add("30", "12"), setThreshold("more", "high", "100"), hold("h", "11", "1h"))
	s.verified()
	want := s.balance("u1").Thresholds
	require.Len(t, want.List(), 2)
	require.Equal(t, want, s.ensure().Thresholds)

	// The row is lost, and comes back from the journal.
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_assets WHERE user_id = $1`, s.ref.UserID)
	require.NoError(t, err)
	require.Equal(t, wallet.Crossed(`[{"name": "low", "amount": "20.00", "direction": "above"}]`), s.apply(wallet.Received{Command: wallet.Command{ID: "r", Type: wallet.TypeRelease, HoldID: "h"}})[0].Crossed)
	require.Equal(t, want, s.balance("u1").Thresholds)
	s.verified()

	read := trail.New(s.db)
	then, err := read.AssetAt(t.Context(), s.ref.UserID, s.ref.Currency, before)
	require.NoError(t, err)
	require.Len(t, then.Thresholds.List(), 1, "then, not now")
	then, err = read.AssetAtVersion(t.Context(), s.ref.UserID, s.ref.Currency, 2)
	require.NoError(t, err)
	require.Empty(t, then.Thresholds)

	var crossed string
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT string_agg(command_id || ' ' || (crossed->0->>'direction'), ', ' ORDER BY version) FROM wallet_asset_events WHERE user_id = $1 AND crossed IS NOT NULL`, s.ref.UserID).Scan(&crossed))
	require.Equal(t, "19 below, 30 above, h below, r above", crossed)
}

// TestALegCrossesThresholdsWhenItsTransactionIsApplied and not when that is refused.
func TestALegCrossesThresholdsWhenItsTransactionIsApplied(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "25"), setThreshold("set", "low", "20"))
	refused := s.transaction(wallet.Transaction{ID: "t1", Commands: []wallet.Leg{leg("u1", wallet.TypeSubtract, "10"), leg("shop", wallet.TypeSubtract, "1")}})
	require.Equal(t, wallet.StatusUnapplied, refused.Status)
	require.Empty(t, refused.Results[0].Crossed)
	applied := s.transaction(wallet.Transaction{ID: "t2", Commands: []wallet.Leg{leg("u1", wallet.TypeSubtract, "10"), leg("shop", wallet.TypeAdd, "10")}})
	require.Len(t, applied.Results[0].Crossed.List(), 1)
	s.verified()
}

// TestVerifyFindsThresholdsThatSomebodyChanged in the row alone.
func TestVerifyFindsThresholdsThatSomebodyChanged(t *testing.T) {
	for _, change := range []string{`NULL`, `'[]'`, `'[{"name": "low", "amount": "5.00"}]'`, `thresholds || '[{"name": "x", "amount": "5.00"}]'`} {
		s := newSteps(t)
		s.apply(add("funds", "25"), setThreshold("set", "low", "20"))
		s.verified()
		_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET thresholds = `+change+` WHERE user_id = $1`, s.ref.UserID)
		require.NoError(t, err)
		report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Findings, 1, change)
		require.Contains(t, report.Findings[0].Problem, "its thresholds are")
	}
}
