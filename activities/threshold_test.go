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

// TestACrossingIsToldWhateverMadeIt has each way to the ledger cross a threshold of 20 from 25: the
// crossing is in the entry and its event, once.
func TestACrossingIsToldWhateverMadeIt(t *testing.T) {
	s := newSteps(t)
	of := func(user, kind, amount string) wallet.Leg { return leg(user, wallet.CommandType(kind), amount) }
	for user, row := range map[string]struct {
		cross func(s steps)
		want  string
	}{
		"a lane": {func(s steps) {
			s.lane(inUSD(s.ref.UserID, subtract("below", "6")), inUSD(s.ref.UserID, subtract("lower", "1")), inUSD(s.ref.UserID, add("above", "2")))
		}, "below below, above above"},
		"a run": {func(s steps) {
			s.stage("run", inRun(s.ref.UserID, `{"id":"below","type":"subtract","amount":"6"}`), inRun(s.ref.UserID, `{"id":"lower","type":"subtract","amount":"1"}`))
			s.run("run")
		}, "below below"},
		"a transaction": {func(s steps) {
			s.transaction(wallet.Transaction{ID: "t", Commands: []wallet.Leg{of(s.ref.UserID, "subtract", "6"), of("shop", "add", "6"), of(s.ref.UserID, "add", "1")}})
		}, "_transaction/t/1 below, _transaction/t/3 above"},
		"a transaction in a lane": {func(s steps) {
			s.laneTransactions(wallet.Transaction{ID: "lt", Commands: []wallet.Leg{of(s.ref.UserID, "subtract", "6"), of("shop", "add", "6")}})
		}, "_transaction/lt/1 below"},
		"an expiry": {func(s steps) {
			s.awaitClock(s.apply(hold("h", "6", "1s"))[0].HoldExpiresAt)
			s.apply()
		}, "h below, _expire/h above"},
		"a reversal": {func(s steps) {
			s.apply(reverse("r", "funds", "6"), subtract("lower", "1"), reverse("back", "lower", ""))
			s.apply(add("a", "1"), subtract("s", "1"), reverse("of s", "s", ""))
		}, "r below, a above, s below, of s above"},
	} {
		t.Run(user, func(t *testing.T) {
			s := s.of(user)
			s.apply(add("funds", "25"), setThreshold("set", "low", "20"))
			row.cross(s)
			s.record()
			for _, table := range []string{"wallet_commands", "wallet_asset_events"} {
				var crossed string
				require.NoError(t, s.db.QueryRow(t.Context(), `SELECT string_agg(command_id || ' ' || (crossed->0->>'direction'), ', ' ORDER BY version)
					FROM `+table+` WHERE user_id = $1 AND jsonb_array_length(crossed) = 1`, user).Scan(&crossed))
				require.Equal(t, row.want, crossed, table)
			}
		})
	}
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
