package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func freeze(id, what string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeFreeze, What: what}}
}

func command(id string, of wallet.CommandType) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: of}}
}

func TestAFrozenWalletStaysFrozen(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"), hold("h", "4", "1h"))
	s.apply(freeze("f", "debits"))
	before := s.journal()[len(s.journal())-1].RecordedAt
	results := s.apply(subtract("s", "1"), capture("c", "h", "", false), add("a", "1"))
	require.Equal(t, wallet.ReasonFrozen, results[0].Reason)
	require.Equal(t, wallet.StatusApplied, results[1].Status, "it was held before the freeze")
	require.Equal(t, wallet.StatusApplied, results[2].Status)
	require.Equal(t, wallet.FrozenDebits, s.ensure().Frozen)
	s.verified()

	// The row is lost, and comes back from the journal.
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_assets WHERE user_id = $1`, s.ref.UserID)
	require.NoError(t, err)
	require.Equal(t, wallet.ReasonFrozen, s.apply(subtract("again", "1"))[0].Reason)
	s.verified()
	require.Equal(t, wallet.StatusApplied, s.apply(command("over", wallet.TypeUnfreeze), subtract("then", "1"))[1].Status)
	then, err := trail.New(s.db).AssetAt(t.Context(), s.ref.UserID, s.ref.Currency, before)
	require.NoError(t, err)
	require.Equal(t, wallet.FrozenDebits, then.Frozen, "then, not now")
	require.Empty(t, s.balance("u1").Frozen)
	s.verified()
}

func TestAClosedWalletIsOpenedByACreate(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"))
	require.Equal(t, wallet.ReasonNotEmpty, s.apply(command("too early", wallet.TypeClose))[0].Reason)
	s.apply(subtract("out", "10"), command("close", wallet.TypeClose))
	require.True(t, s.balance("u1").Closed)
	r := s.transaction(wallet.Transaction{ID: "t", Commands: []wallet.Leg{leg("u1", wallet.TypeAdd, "1"), leg("shop", wallet.TypeAdd, "1")}})
	require.Equal(t, wallet.ReasonClosed, r.Reason)
	require.Equal(t, wallet.ReasonClosed, s.apply(add("a", "1"))[0].Reason)
	require.Equal(t, wallet.StatusApplied, s.apply(create("open again"), add("b", "1"))[1].Status)
	require.False(t, s.balance("u1").Closed)
	s.verified()
}

// TestVerifyFindsAWalletThatSomebodyUnfroze in the row alone.
func TestVerifyFindsAWalletThatSomebodyUnfroze(t *testing.T) {
	for _, change := range []string{`frozen = NULL`, `frozen = 'credits'`, `closed = true`} {
		s := newSteps(t)
		s.apply(add("funds", "10"), subtract("out", "10"), freeze("f", "all"))
		s.verified()
		_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET `+change+` WHERE user_id = $1`, s.ref.UserID)
		require.NoError(t, err)
		report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Findings, 1, change)
		require.Contains(t, report.Findings[0].Problem, "but the journal says")
	}
}

// TestAFreezeThatHasEndedIsNowhere: not in the reads of now, nor after its row was lost; but in those
// of its time.
func TestAFreezeThatHasEndedIsNowhere(t *testing.T) {
	s := newSteps(t)
	until := func(id, what, expiresIn string) wallet.Received {
		return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeFreeze, What: what, ExpiresIn: expiresIn}}
	}
	end := s.apply(add("funds", "10"), until("f", "debits", "1s"), until("g", "credits", "1h"))[1].DebitsFrozenUntil
	frozen := s.journal()[len(s.journal())-1].RecordedAt
	require.Equal(t, end, s.balance("u1").DebitsFrozenUntil)
	s.verified()
	s.awaitClock(end)
	require.Equal(t, wallet.FrozenCredits, s.balance("u1").Frozen)
	require.Equal(t, wallet.FrozenCredits, s.ensure().Frozen)
	statement, err := trail.New(s.db).Statement(t.Context(), "u1", "USD", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, wallet.FrozenCredits, statement.Closing.Frozen)
	require.Len(t, s.journal(), 4, "nobody has to record it")
	s.verified()
	_, err = s.db.Exec(t.Context(), `DELETE FROM wallet_assets WHERE user_id = $1`, s.ref.UserID)
	require.NoError(t, err)
	results := s.apply(subtract("s", "1"), add("a", "1"))
	require.Equal(t, wallet.StatusApplied, results[0].Status)
	require.Equal(t, wallet.ReasonFrozen, results[1].Reason)
	require.Contains(t, results[1].Message, "credits are frozen until")
	s.verified()
	for at, want := range map[time.Time]wallet.Frozen{frozen: wallet.FrozenAll, end.Add(-time.Microsecond): wallet.FrozenAll, end: wallet.FrozenCredits} {
		then, err := trail.New(s.db).AssetAt(t.Context(), s.ref.UserID, s.ref.Currency, at)
		require.NoError(t, err)
		require.Equal(t, want, then.Frozen, at)
	}
	then, err := trail.New(s.db).AssetAtVersion(t.Context(), s.ref.UserID, s.ref.Currency, 4)
	require.NoError(t, err)
	require.Equal(t, wallet.FrozenAll, then.Frozen)
	require.Equal(t, end, then.DebitsFrozenUntil)
}

// TestVerifyFindsAFreezeThatSomebodyCutShort in the row alone.
func TestVerifyFindsAFreezeThatSomebodyCutShort(t *testing.T) {
	for _, change := range []string{`debits_frozen_until = NULL`, `debits_frozen_until = debits_frozen_until - interval '1 second'`, `credits_frozen_until = clock_timestamp()`} {
		s := newSteps(t)
		s.apply(wallet.Received{Command: wallet.Command{ID: "f", Type: wallet.TypeFreeze, What: "all", ExpiresIn: "1h"}})
		s.verified()
		_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET `+change+` WHERE user_id = $1`, s.ref.UserID)
		require.NoError(t, err)
		report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Findings, 1, change)
		require.Contains(t, report.Findings[0].Problem, `it is frozen "`)
	}
}
