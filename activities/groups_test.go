package activities_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/trail"
)

func usd(user string) wallet.AssetRef { return wallet.AssetRef{UserID: user, Currency: "USD"} }

func (s steps) balance(user string) wallet.Asset {
	asset, err := trail.New(s.db).Asset(context.Background(), user, "USD")
	require.NoError(s.t, err)
	return asset
}

func TestGroupsAreOneTransaction(t *testing.T) {
	s := newSteps(t)
	results, err := s.ApplyGroups(t.Context(), []activities.Group{
		{AssetRef: usd("z"), Commands: []wallet.Received{add("in", "10")}},
		{AssetRef: usd("a"), Commands: []wallet.Received{add("in", "3"), subtract("out", "5")}},
		{AssetRef: usd("z"), Commands: []wallet.Received{subtract("out", "4"), add("in", "10")}}, // the same again
	})
	require.NoError(t, err)
	require.Equal(t, []wallet.Status{wallet.StatusApplied}, statuses(results[0]))
	require.Equal(t, []wallet.Status{wallet.StatusApplied, wallet.StatusUnapplied}, statuses(results[1]))
	require.Equal(t, []wallet.Status{wallet.StatusApplied, wallet.StatusApplied}, statuses(results[2]))
	require.True(t, results[2][1].Replayed, "the first group has this id")
	require.Equal(t, []string{"6.00", "3.00"}, []string{s.balance("z").Total.String(), s.balance("a").Total.String()})

	unknown := wallet.AssetRef{UserID: "z", Currency: "XXX"}
	_, err = s.ApplyGroups(t.Context(), []activities.Group{
		{AssetRef: usd("z"), Commands: []wallet.Received{add("lost", "1")}},
		{AssetRef: unknown, Commands: []wallet.Received{add("lost", "1")}},
	})
	require.ErrorAs(t, err, new(*wallet.InvalidError))
	require.Equal(t, "6.00", s.balance("z").Total.String(), "all or nothing")

	for _, user := range []string{"a", "z"} {
		_, err = s.RecordEvents(t.Context(), usd(user))
		require.NoError(t, err)
	}
	report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

func statuses(results []wallet.Result) (list []wallet.Status) {
	for _, r := range results {
		list = append(list, r.Status)
	}
	return list
}

// TestGroupsInAnyOrderDoNotDeadlock has two transactions at a time name the same wallets in
// opposite orders, of which some are new.
func TestGroupsInAnyOrderDoNotDeadlock(t *testing.T) {
	s := newSteps(t)
	var calls errgroup.Group
	for i := range 40 {
		calls.Go(func() error {
			groups := []activities.Group{
				{AssetRef: usd("a"), Commands: []wallet.Received{add(fmt.Sprint("c", i), "1")}},
				{AssetRef: usd("m"), Commands: []wallet.Received{add(fmt.Sprint("c", i), "1")}},
				{AssetRef: usd(fmt.Sprint("z", i/4)), Commands: []wallet.Received{add(fmt.Sprint("c", i), "1")}},
			}
			if i%2 == 1 {
				groups[0], groups[2] = groups[2], groups[0]
			}
			_, err := s.ApplyGroups(context.Background(), groups)
			return err
		})
	}
	require.NoError(t, calls.Wait())
	require.Equal(t, []string{"40.00", "40.00", "4.00"}, []string{s.balance("a").Total.String(), s.balance("m").Total.String(), s.balance("z0").Total.String()})
}

// TestTheTimeOfAWalletIsItsOwn has one whose last entry is a year ahead, as a wrong clock made it,
// in a transaction with one that is not.
func TestTheTimeOfAWalletIsItsOwn(t *testing.T) {
	s := newSteps(t)
	for _, user := range []string{"ahead", "usual"} {
		_, err := s.ApplyGroups(t.Context(), []activities.Group{{AssetRef: usd(user), Commands: []wallet.Received{add("funds", "10"), hold("week", "5", "7d")}}})
		require.NoError(t, err)
	}
	_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET updated_at = updated_at + interval '1 year' WHERE user_id = 'ahead'`)
	require.NoError(t, err)
	_, err = s.ApplyGroups(t.Context(), []activities.Group{
		{AssetRef: usd("ahead"), Commands: []wallet.Received{add("more", "1")}}, {AssetRef: usd("usual"), Commands: []wallet.Received{add("more", "1")}},
	})
	require.NoError(t, err)
	require.Equal(t, int64(1), s.balance("usual").OpenHolds)
	require.WithinDuration(t, time.Now(), s.balance("usual").UpdatedAt, time.Hour)
	require.Zero(t, s.balance("ahead").OpenHolds, "in its time the week is over")
}

// TestAStepWithoutCommandsFindsWhatTheRowForgot has a balance that does not know of a hold that is
// due.
func TestAStepWithoutCommandsFindsWhatTheRowForgot(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"), hold("h", "5", "1s"))
	_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET next_expiry = NULL`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: []wallet.Received{}})
		require.NoError(t, err)
		return out.Expired == 1
	}, time.Minute, 100*time.Millisecond)
	require.Zero(t, s.balance("u1").Hold.Cmp(wallet.Amount{}))
}

// TestAHoldOpenedAgainByHandStopsNoWallet has a row that says open, and a journal that says expired.
func TestAHoldOpenedAgainByHandStopsNoWallet(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"), hold("h", "5", "1s"))
	require.Eventually(t, func() bool {
		out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: []wallet.Received{}})
		require.NoError(t, err)
		return out.Expired == 1
	}, time.Minute, 100*time.Millisecond)
	_, err := s.db.Exec(t.Context(), `UPDATE wallet_holds SET state = 'open', released = 0`)
	require.NoError(t, err)
	_, err = s.db.Exec(t.Context(), `UPDATE wallet_assets SET next_expiry = (SELECT expires_at FROM wallet_holds)`)
	require.NoError(t, err)
	require.Equal(t, wallet.StatusApplied, s.apply(add("after", "1"))[0].Status)
	require.Equal(t, wallet.ReasonHoldExpired, s.apply(capture("late", "h", "", false))[0].Reason)
}

// TestAHoldIDThatPlacedNoHoldIsNotFound has the ids of other commands, whatever they did.
func TestAHoldIDThatPlacedNoHoldIsNotFound(t *testing.T) {
	s := newSteps(t)
	raise := hold("raise", "1", "")
	raise.Command.HoldID = "h"
	s.apply(add("funds", "10"), hold("h", "5", ""), raise, hold("too-much", "99", ""))
	for _, id := range []string{"raise", "funds", "too-much", "nobody"} {
		require.Equal(t, wallet.ReasonHoldNotFound, s.apply(capture("of-"+id, id, "", false))[0].Reason, id)
	}
	require.Len(t, s.holds(), 1)
}

// TestAStepChecksWhatItIsGiven calls it as anybody can who may start workflows on the task queue.
func TestAStepChecksWhatItIsGiven(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"), hold("h", "5", "1h"))
	forged := []wallet.Received{
		{Command: wallet.Command{ID: "_expire/h", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}},
		{Command: wallet.ExpireCommand("h")},
		{Command: wallet.Command{ID: "zero", Type: wallet.TypeAdd}},
		{Command: wallet.Command{ID: "much", Type: wallet.TypeSubtract, Amount: wallet.Amount{}.Sub(wallet.MustAmount("5"))}},
		{Command: wallet.Command{ID: "what", Type: "mint", Amount: wallet.MustAmount("5")}},
		{Command: wallet.Command{ID: "_expire/h"}, Malformed: "burns the id of the expiry"},
	}
	out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: forged})
	require.NoError(t, err)
	require.Equal(t, "10.00", out.Asset.Total.String())
	for _, e := range s.journal()[3:] {
		require.Equal(t, wallet.ReasonMalformed, e.Reason)
		require.Regexp(t, "^_malformed-[0-9a-f]{64}$", e.CommandID)
	}
	require.Len(t, s.journal(), 3+len(forged))
}

func TestAStepSaysThatEntriesAreLost(t *testing.T) {
	s := newSteps(t)
	s.apply(add("a", "1"))
	seen := s.balance("u1").Head()
	apply := func(id string, head wallet.Head) bool {
		out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: []wallet.Received{add(id, "1")}, LastSeen: head})
		require.NoError(t, err)
		return out.LostEntries
	}
	require.False(t, apply("b", seen))
	require.False(t, apply("c", seen), "others may have written since")
	require.False(t, apply("d", wallet.Head{}))
	head := s.balance("u1").Head()
	require.True(t, apply("e", wallet.Head{Position: head.Position + 1, Hash: seen.Hash}), "the journal is shorter")
	head = s.balance("u1").Head()
	require.True(t, apply("f", wallet.Head{Position: head.Position, Hash: seen.Hash}), "it ends differently")
}
