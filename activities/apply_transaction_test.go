package activities_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

func leg(user string, t wallet.CommandType, amount string) wallet.Leg {
	l := wallet.Leg{AssetRef: usd(user), Command: wallet.Command{Type: t}}
	if amount != "" {
		l.Amount = wallet.MustAmount(amount)
	}
	return l
}

func captureLeg(user, holdID, amount string) wallet.Leg {
	l := leg(user, wallet.TypeCapture, amount)
	l.HoldID = holdID
	return l
}

func transfer(id, from, to, amount string) wallet.Transaction {
	return wallet.Transaction{ID: id, MustBalance: true, Commands: []wallet.Leg{leg(from, wallet.TypeSubtract, amount), leg(to, wallet.TypeAdd, amount)}}
}

func (s steps) transaction(t wallet.Transaction) wallet.TransactionResult {
	s.t.Helper()
	out, err := s.ApplyTransaction(context.Background(), t)
	require.NoError(s.t, err)
	require.True(s.t, out.Recorded)
	return out.Result
}

func (s steps) give(user, amount string) {
	s.t.Helper()
	_, err := s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: usd(user), Commands: []wallet.Received{add("funds", amount)}, AndRecord: true})
	require.NoError(s.t, err)
}

func (s steps) count(sql string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.db.QueryRow(context.Background(), sql).Scan(&n))
	return n
}

func TestATransactionMovesValueOnce(t *testing.T) {
	s := newSteps(t)
	s.give("from", "10")
	first := s.transaction(transfer("t-1", "from", "to", "4"))
	require.Equal(t, wallet.StatusApplied, first.Status)
	require.Equal(t, []string{"6.00", "4.00"}, []string{s.balance("from").Total.String(), s.balance("to").Total.String()})
	require.Equal(t, wallet.LegRef{TransactionID: "t-1", Leg: 2, Legs: 2}, first.Results[1].LegRef)
	require.Equal(t, "_transaction/t-1/2", first.Results[1].CommandID)

	again := s.transaction(transfer("t-1", "from", "to", "4"))
	require.True(t, again.Replayed)
	again.Replayed = false
	for i := range again.Results {
		require.True(t, again.Results[i].Replayed)
		again.Results[i].Replayed = false
	}
	require.Equal(t, first, again)

	for what, other := range map[string]wallet.Transaction{
		"another amount":     transfer("t-1", "from", "to", "5"),
		"other wallets":      transfer("t-1", "x", "y", "4"),
		"another promise":    {ID: "t-1", Commands: transfer("t-1", "from", "to", "4").Commands},
		"another leg beside": {ID: "t-1", MustBalance: true, Commands: append(transfer("t-1", "from", "to", "4").Commands, leg("x", wallet.TypeCreate, ""))},
	} {
		r := s.transaction(other)
		require.Equal(t, wallet.ReasonIDConflict, r.Reason, what)
		require.Empty(t, r.Results, what)
	}
	require.Equal(t, []string{"6.00", "4.00"}, []string{s.balance("from").Total.String(), s.balance("to").Total.String()})
	require.Zero(t, s.count(`SELECT count(*) FROM wallet_commands WHERE user_id IN ('x', 'y')`), "a conflict is on no record")
	require.Equal(t, 2, s.count(`SELECT count(*) FROM wallet_asset_events WHERE transaction_id = 't-1' AND legs = 2`))
	s.verified()
}

// TestOneRefusedLegRefusesAll has five legs, of which the third cannot be done.
func TestOneRefusedLegRefusesAll(t *testing.T) {
	s := newSteps(t)
	for _, user := range []string{"a", "b", "c"} {
		s.give(user, "10")
	}
	five := wallet.Transaction{ID: "five", Description: "all or nothing", Commands: []wallet.Leg{
		leg("a", wallet.TypeSubtract, "4"), leg("b", wallet.TypeHold, "10"), leg("c", wallet.TypeSubtract, "11"), leg("new", wallet.TypeAdd, "15"), leg("a", wallet.TypeSubtract, "99"),
	}}
	first := s.transaction(five)
	require.Equal(t, wallet.StatusUnapplied, first.Status)
	require.Equal(t, wallet.ReasonInsufficientFunds, first.Reason)
	require.Equal(t, int64(3), first.RefusedLeg)
	var refused *wallet.TransactionRefusedError
	require.ErrorAs(t, first.Err(), &refused)
	require.ErrorContains(t, refused, "because of leg 3 of 5")
	for i, r := range first.Results {
		want := wallet.ReasonTransactionRefused
		if i == 2 {
			want = wallet.ReasonInsufficientFunds
		}
		require.Equal(t, want, r.Reason)
		require.Equal(t, r.TotalBefore, r.TotalAfter)
		require.NotEmpty(t, r.Hash, "its receipt")
	}
	for _, user := range []string{"a", "b", "c"} {
		require.Equal(t, "10.00 0.00", s.balance(user).Total.String()+" "+s.balance(user).Hold.String())
	}
	require.Equal(t, "0.00", s.balance("new").Total.String(), "created, like by any first command")
	require.Equal(t, 5, s.count(`SELECT count(*) FROM wallet_commands WHERE transaction_id = 'five' AND description = 'all or nothing'`))

	s.apply() // nothing
	_, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: usd("c"), Commands: []wallet.Received{add("more", "10")}, AndRecord: true})
	require.NoError(t, err)
	again := s.transaction(five)
	require.True(t, again.Replayed, "final, though it would fit now")
	require.Equal(t, first.Message, again.Message)
	s.verified()
}

// TestLegsOfOneWalletSeeEachOther has a wallet that gives out what it has just got, and one that
// gives out the same twice.
func TestLegsOfOneWalletSeeEachOther(t *testing.T) {
	s := newSteps(t)
	s.give("a", "10")
	r := s.transaction(wallet.Transaction{ID: "through", MustBalance: true, Commands: []wallet.Leg{
		leg("a", wallet.TypeSubtract, "10"), leg("b", wallet.TypeAdd, "10"), leg("b", wallet.TypeSubtract, "10"), leg("c", wallet.TypeAdd, "10"),
	}})
	require.Equal(t, wallet.StatusApplied, r.Status)
	r = s.transaction(wallet.Transaction{ID: "twice", Commands: []wallet.Leg{leg("c", wallet.TypeSubtract, "6"), leg("c", wallet.TypeSubtract, "5")}})
	require.Equal(t, int64(2), r.RefusedLeg)
	require.Contains(t, r.Message, "4.00 available")
	require.Equal(t, "10.00", s.balance("c").Total.String())
	s.verified()
}

func TestAHoldIsCapturedIntoAnotherWallet(t *testing.T) {
	s := newSteps(t)
	s.give("buyer", "10")
	place := leg("buyer", wallet.TypeHold, "8")
	place.ExpiresIn = "1h"
	r := s.transaction(wallet.Transaction{ID: "order", Commands: []wallet.Leg{place, leg("shop", wallet.TypeCreate, "")}})
	require.Equal(t, wallet.StatusApplied, r.Status)
	held := r.Results[0].HoldID
	require.Equal(t, wallet.LegID("order", 1), held)
	r = s.transaction(wallet.Transaction{ID: "pay", MustBalance: true, Commands: []wallet.Leg{captureLeg("buyer", held, "6"), leg("shop", wallet.TypeAdd, "6")}})
	require.Equal(t, wallet.StatusApplied, r.Status)
	require.Equal(t, []string{"4.00", "0.00", "6.00"}, []string{s.balance("buyer").Total.String(), s.balance("buyer").Hold.String(), s.balance("shop").Total.String()})
	r = s.transaction(wallet.Transaction{ID: "again", Commands: []wallet.Leg{leg("shop", wallet.TypeSubtract, "6"), captureLeg("buyer", held, "")}})
	require.Equal(t, wallet.ReasonHoldClosed, r.Reason)
	require.Equal(t, "6.00", s.balance("shop").Total.String())
	s.verified()
}

func TestAnInvalidTransactionLeavesNothing(t *testing.T) {
	s := newSteps(t)
	s.give("a", "10")
	unknown := transfer("t", "a", "b", "1")
	unknown.Commands[1].Currency = "XXX"
	unknown.MustBalance = false
	for what, bad := range map[string]wallet.Transaction{
		"unknown currency": unknown,
		"one leg":          {ID: "t", Commands: []wallet.Leg{leg("a", wallet.TypeAdd, "1")}},
		"out of balance":   {ID: "t", MustBalance: true, Commands: []wallet.Leg{leg("a", wallet.TypeSubtract, "1"), leg("b", wallet.TypeAdd, "2")}},
		"an expiry":        {ID: "t", Commands: []wallet.Leg{{AssetRef: usd("a"), Command: wallet.Command{Type: wallet.TypeExpire, HoldID: "h"}}, leg("b", wallet.TypeAdd, "2")}},
	} {
		_, err := s.ApplyTransaction(t.Context(), bad)
		require.ErrorContains(t, err, "InvalidCommand", what)
	}
	require.Zero(t, s.count(`SELECT count(*) FROM wallet_transactions`))
	require.Equal(t, wallet.StatusApplied, s.transaction(transfer("t", "a", "b", "1")).Status, "the id is free")
}

// TestTransactionsInAnyOrderDoNotDeadlock runs random ones between few wallets, in both
// directions, each twice at the same time, beside commands of single wallets.
func TestTransactionsInAnyOrderDoNotDeadlock(t *testing.T) {
	s := newSteps(t)
	const wallets = 6
	user := func(n int) string { return fmt.Sprint("u", n) }
	for n := range wallets / 2 { // the others are created on the way
		s.give(user(n), "100")
	}
	random := rand.New(rand.NewPCG(1, 2))
	var calls errgroup.Group
	for i := range 60 {
		tx := wallet.Transaction{ID: fmt.Sprint("t", i), MustBalance: true}
		for range 1 + random.IntN(10) {
			from, to, amount := random.IntN(wallets), random.IntN(wallets), fmt.Sprint(1+random.IntN(9))
			tx.Commands = append(tx.Commands, leg(user(from), wallet.TypeSubtract, amount), leg(user(to), wallet.TypeAdd, amount))
		}
		for range 2 {
			calls.Go(func() error { _, err := s.ApplyTransaction(context.Background(), tx); return err })
		}
		calls.Go(func() error {
			_, err := s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: usd(user(i % wallets)), Commands: []wallet.Received{hold(fmt.Sprint("h", i), "1", "1s")}})
			return err
		})
	}
	require.NoError(t, calls.Wait())
	require.Equal(t, 300, s.count(`SELECT sum(total_amount)::int FROM wallet_assets`))
	require.Equal(t, 60, s.count(`SELECT count(*) FROM wallet_transactions`))
	require.Zero(t, s.count(`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`))
	for n := range wallets {
		_, err := s.RecordEvents(t.Context(), usd(user(n)))
		require.NoError(t, err)
	}
	s.verified()
}

// TestARefusedTransactionCreatesItsWalletsAsAnyFirstCommandDoes has legs that create, in one that
// is refused: because of another leg, of one that follows in the same wallet, or of themselves.
func TestARefusedTransactionCreatesItsWalletsAsAnyFirstCommandDoes(t *testing.T) {
	s := newSteps(t)
	for i, legs := range [][]wallet.Leg{
		{leg("new-0", wallet.TypeCreate, ""), leg("poor", wallet.TypeSubtract, "5")},
		{leg("new-1", wallet.TypeCreate, ""), leg("new-1", wallet.TypeAdd, "3"), leg("new-1", wallet.TypeSubtract, "5")},
		{leg("new-2", wallet.TypeCreate, ""), leg("new-2", wallet.TypeCreate, "")},
		{leg("new-3", wallet.TypeAdd, "1"), leg("new-3", wallet.TypeCreate, "")},
		{leg("poor", wallet.TypeSubtract, "5"), leg("new-4", wallet.TypeCreate, "")},
		{leg("new-2", wallet.TypeCreate, ""), leg("new-5", wallet.TypeCreate, "")},
	} {
		r := s.transaction(wallet.Transaction{ID: fmt.Sprint("refused-", i), Commands: legs})
		require.Equal(t, wallet.StatusUnapplied, r.Status)
		for _, l := range r.Results {
			require.Positive(t, l.Position)
			require.Equal(t, int64(1), s.balance(l.UserID).Version, "created, and no more")
		}
		s.verified()
	}
	r := s.transaction(wallet.Transaction{ID: "opens", Commands: []wallet.Leg{leg("new-6", wallet.TypeCreate, ""), leg("new-6", wallet.TypeAdd, "2")}})
	require.Equal(t, wallet.StatusApplied, r.Status)
	s.give("new-1", "1")
	s.verified()
}

// TestTheServiceCannotBlindVerify tries rows that nobody could read.
func TestTheServiceCannotBlindVerify(t *testing.T) {
	s := newSteps(t)
	for _, lists := range []string{`ARRAY[NULL, NULL]::text[], ARRAY['USD', 'USD']`, `ARRAY['a', 'b'], ARRAY[NULL, 'USD']`, `ARRAY[['a'], ['b']], ARRAY['USD', 'USD']`, `'[0:1]={a,b}'::text[], ARRAY['USD', 'USD']`} {
		_, err := s.db.Exec(t.Context(), `INSERT INTO wallet_transactions VALUES ('evil', `+lists+`, false, sha256('x'))`)
		require.ErrorContains(t, err, "violates check constraint")
	}
}

// TestALegReversesWhatTheServiceRecordedBeforeIt has originals that the service records in the same
// transaction: they cannot be reversed, and verify says the same.
func TestALegReversesWhatTheServiceRecordedBeforeIt(t *testing.T) {
	s := newSteps(t)
	reversal := leg("new", wallet.TypeReverse, "")
	reversal.OriginalID = wallet.AutoCreate().ID
	require.Equal(t, wallet.ReasonNotReversible, s.transaction(wallet.Transaction{ID: "t", Commands: []wallet.Leg{leg("new", wallet.TypeAdd, "5"), reversal}}).Reason)

	s.apply(add("funds", "20"), hold("h", "5", "1s"))
	time.Sleep(1100 * time.Millisecond) // until it is due
	expired := leg("u1", wallet.TypeReverse, "")
	expired.OriginalID = wallet.ExpireCommand("h").ID
	require.Equal(t, wallet.ReasonNotReversible, s.transaction(wallet.Transaction{ID: "e", Commands: []wallet.Leg{leg("u1", wallet.TypeAdd, "5"), expired}}).Reason)
	s.verified()
}
