package activities_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

func hold(id, amount, expiresIn string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeHold, Amount: wallet.MustAmount(amount), ExpiresIn: expiresIn}}
}

func capture(id, holdID, amount string, partial bool) wallet.Received {
	c := wallet.Command{ID: id, Type: wallet.TypeCapture, HoldID: holdID, Partial: partial}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	return wallet.Received{Command: c}
}

func release(id, holdID string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeRelease, HoldID: holdID}}
}

func (s steps) holds() map[string]wallet.Hold {
	found, err := s.db.Query(context.Background(), `SELECT `+rows.HoldColumns+` FROM wallet_holds WHERE user_id = $1 AND currency = $2`, s.ref.UserID, s.ref.Currency)
	require.NoError(s.t, err)
	holds, err := rows.CollectHolds(found)
	require.NoError(s.t, err)
	byID := map[string]wallet.Hold{}
	for _, h := range holds {
		byID[h.ID] = h.Hold
	}
	return byID
}

// verified checks the whole database.
func (s steps) verified() {
	s.record()
	report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{})
	require.NoError(s.t, err)
	require.Empty(s.t, report.Findings)
}

func TestAHoldReservesWhatItIsOf(t *testing.T) {
	s := newSteps(t)
	results := s.apply(add("funds", "100"), hold("order-7", "80", "15m"), hold("order-8", "30", ""),
		wallet.Received{Command: subtract("s", "30").Command}, subtract("t", "20"))
	require.Equal(t, wallet.StatusApplied, results[1].Status)
	require.Equal(t, "order-7", results[1].HoldID)
	require.Equal(t, wallet.HoldOpen, results[1].HoldState)
	require.Equal(t, "80.00", results[1].HoldAfter.String())
	require.Equal(t, results[1].RecordedAt.Add(15*time.Minute), results[1].HoldExpiresAt)
	require.Equal(t, wallet.ReasonInsufficientFunds, results[2].Reason)
	require.Equal(t, "cannot hold 30.00 USD: 20.00 available (total 100.00, hold 80.00)", results[2].Message)
	require.Equal(t, wallet.ReasonInsufficientFunds, results[3].Reason)
	require.Equal(t, wallet.StatusApplied, results[4].Status)

	results = s.apply(capture("c1", "order-7", "30", true), capture("c2", "order-7", "60", false), capture("c3", "order-7", "20", false), capture("c4", "order-7", "", false))
	require.Equal(t, []string{"50.00", "50.00"}, []string{results[0].HoldLeft.String(), results[0].TotalAfter.String()})
	require.Equal(t, wallet.ReasonHoldExceeded, results[1].Reason)
	require.Contains(t, results[1].Message, "50.00 USD left")
	require.Equal(t, wallet.HoldCaptured, results[2].HoldState)
	require.Equal(t, "30.00", results[2].TotalAfter.String())
	require.Equal(t, "0.00", results[2].HoldAfter.String(), "what a last capture leaves is given back")
	require.Equal(t, wallet.ReasonHoldClosed, results[3].Reason)
	h := s.holds()["order-7"]
	require.Equal(t, []string{"80.00", "50.00", "30.00"}, []string{h.Amount.String(), h.Captured.String(), h.Released.String()})
	asset := s.ensure()
	require.Zero(t, asset.OpenHolds)
	require.Zero(t, asset.NextExpiry)
	s.verified()
}

func TestEachWrongHoldHasItsReason(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("refused", "1000", ""), hold("released", "1", ""), release("r", "released"), hold("captured", "1", ""), capture("c", "captured", "", false))
	other := s
	other.ref = wallet.AssetRef{UserID: "u2", Currency: "USD"}
	other.apply(add("funds", "100"), hold("foreign", "1", ""))
	other.record()
	for id, want := range map[string]wallet.Reason{
		"refused": wallet.ReasonHoldNotFound, "foreign": wallet.ReasonHoldNotFound, "unknown": wallet.ReasonHoldNotFound, "funds": wallet.ReasonHoldNotFound,
		"released": wallet.ReasonHoldClosed, "captured": wallet.ReasonHoldClosed,
	} {
		for range 2 { // the same answer every time for its id
			require.Equal(t, want, s.apply(capture("capture "+id, id, "", false))[0].Reason, id)
			require.Equal(t, want, s.apply(release("release "+id, id))[0].Reason, id)
		}
	}
	s.verified()
}

func TestAHundredCapturesAtOnce(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("whole", "50", "1h"), hold("parts", "50", "1h"))
	var mu sync.Mutex
	applied := map[string]int{}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			for kind, c := range map[string]wallet.Received{
				"whole": capture(fmt.Sprint("whole-", i), "whole", "50", false), "parts": capture(fmt.Sprint("parts-", i), "parts", "1", true),
			} {
				r := s.apply(c)[0]
				mu.Lock()
				if r.Status == wallet.StatusApplied {
					applied[kind]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	require.Equal(t, map[string]int{"whole": 1, "parts": 50}, applied)
	require.Equal(t, "0.00", s.ensure().Total.String())
	s.verified()
}

// TestAnExpiredHoldBlocksNothing expires holds while no worker is running.
func TestAnExpiredHoldBlocksNothing(t *testing.T) {
	s := newSteps(t)
	results := s.apply(add("funds", "100"), hold("short", "80", "1s"), hold("kept", "10", "1s"), hold("long", "10", "1h"))
	require.Equal(t, results[1].HoldExpiresAt, s.ensure().NextExpiry)
	extended := s.apply(wallet.Received{Command: wallet.Command{ID: "extend", Type: wallet.TypeHold, HoldID: "kept", ExpiresIn: "2h"}})[0]
	require.Equal(t, wallet.StatusApplied, extended.Status)
	earlier := s.apply(wallet.Received{Command: wallet.Command{ID: "earlier", Type: wallet.TypeHold, HoldID: "long", ExpiresIn: "1m"}})[0]
	require.Equal(t, wallet.ReasonExpiryNotLater, earlier.Reason)

	s.awaitClock(results[1].HoldExpiresAt)
	results = s.apply(capture("late", "short", "", false), subtract("s", "80"))
	require.Equal(t, wallet.ReasonHoldExpired, results[0].Reason)
	require.Equal(t, wallet.StatusApplied, results[1].Status, "the first command afterwards finds the funds")
	require.Equal(t, wallet.ReasonHoldExpired, s.apply(capture("later", "short", "", false))[0].Reason)
	require.Equal(t, wallet.HoldExpired, s.holds()["short"].State)
	require.Equal(t, wallet.HoldOpen, s.holds()["kept"].State)
	s.verified()
	expiries := 0
	for _, e := range s.events() {
		if strings.Contains(e, " wallet_asset.hold_expired ") {
			expiries++
		}
	}
	require.Equal(t, 1, expiries)
}

// awaitClock waits until Postgres's clock reaches a time.
func (s steps) awaitClock(at time.Time) {
	_, err := s.db.Exec(context.Background(), `SELECT pg_sleep(greatest(0, extract(epoch FROM $1::timestamptz - clock_timestamp())) + 0.001)`, at)
	require.NoError(s.t, err)
}

// TestHoldsExpireTogether has more of them due than there are groups in the transaction.
func TestHoldsExpireTogether(t *testing.T) {
	s := newSteps(t)
	r := s.apply(add("funds", "100"), hold("a", "10", "1s"), hold("b", "20", "1s"), hold("c", "30", "1s"))[3]
	s.awaitClock(r.HoldExpiresAt)
	out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: []wallet.Received{subtract("s", "100")}})
	require.NoError(t, err)
	require.Equal(t, 3, out.Expired)
	require.Equal(t, "0.00", out.Asset.Total.String())
	s.verified()
}

// TestNobodyHasToSendACommand expires a hold with a step without commands, once.
func TestNobodyHasToSendACommand(t *testing.T) {
	s := newSteps(t)
	r := s.apply(add("funds", "100"), hold("short", "80", "1s"))[1]
	s.awaitClock(r.HoldExpiresAt)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { s.apply() })
	}
	group.Wait()
	require.Equal(t, "0.00", s.ensure().Hold.String())
	require.Len(t, s.journal(), 4)
	s.verified()
}

// TestALostHoldComesBackFromTheJournal deletes derived rows.
func TestALostHoldComesBackFromTheJournal(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("a", "80", "1h"), capture("part", "a", "30", true))
	want := s.holds()
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_holds`)
	require.NoError(t, err)
	require.Equal(t, wallet.ReasonHoldExceeded, s.apply(capture("too much", "a", "51", true))[0].Reason)
	require.Equal(t, want, s.holds())
	_, err = s.db.Exec(t.Context(), `DELETE FROM wallet_assets`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	asset := s.ensure()
	require.Equal(t, int64(1), asset.OpenHolds)
	require.Equal(t, want["a"].ExpiresAt, asset.NextExpiry)
	require.Equal(t, wallet.StatusApplied, s.apply(capture("rest", "a", "", false))[0].Status)
	s.verified()
}

func TestAtMostAThousandHoldsAreOpen(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "2000"))
	for batch := range 2 {
		commands := make([]wallet.Received, 500)
		for i := range commands {
			commands[i] = hold(fmt.Sprint(batch, "-", i), "1", "1h")
		}
		s.apply(commands...)
	}
	r := s.apply(hold("one more", "1", ""))[0]
	require.Equal(t, wallet.ReasonTooManyHolds, r.Reason)
	require.Contains(t, r.Message, "1000")
	require.Equal(t, int64(1000), s.ensure().OpenHolds)
	s.apply(release("room", "0-0"))
	require.Equal(t, wallet.StatusApplied, s.apply(hold("now", "1", ""))[0].Status)
	s.verified()
}

// TestTheSweepSeesToWalletsWithoutAWorkflow waits for the sweep's grace period to pass.
func TestTheSweepSeesToWalletsWithoutAWorkflow(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("short", "80", "1s"), hold("long", "1", "1h"))
	s.record()
	expired, _, err := s.ExpireOverdue(t.Context())
	require.NoError(t, err)
	require.Zero(t, expired, "nothing is overdue yet")
	_, err = s.db.Exec(t.Context(), `UPDATE wallet_holds SET expires_at = expires_at - interval '1 minute' WHERE hold_id = 'short'`)
	require.NoError(t, err)
	_, err = s.db.Exec(t.Context(), `UPDATE wallet_assets SET next_expiry = next_expiry - interval '1 minute'`)
	require.NoError(t, err)
	expired, wallets, err := s.ExpireOverdue(t.Context())
	require.NoError(t, err)
	require.Equal(t, []any{activities.Expired{Holds: 1}, 1}, []any{expired, wallets})
	require.Equal(t, wallet.HoldExpired, s.holds()["short"].State)
	require.Contains(t, s.events()[len(s.events())-1], "wallet_asset.hold_expired _expire/short")
}

// TestRepairMakesLostHoldsAgain deletes the rows of an open hold and a closed one.
func TestRepairMakesLostHoldsAgain(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("open", "10", "1h"), hold("closed", "10", ""), capture("c", "closed", "4", false))
	s.record()
	want := s.holds()
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_holds`)
	require.NoError(t, err)
	report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Len(t, report.Findings, 1)
	require.True(t, report.Findings[0].MissingHold)
	repaired, err := s.RepairEvents(t.Context(), s.ref)
	require.NoError(t, err)
	require.Equal(t, int64(2), repaired.Holds)
	require.Equal(t, want, s.holds())
	s.verified()
}

// TestNoCommandComesBetweenWhatRepairReadsAndWrites has repair wait for another session that inserts
// the row which is lost.
func TestNoCommandComesBetweenWhatRepairReadsAndWrites(t *testing.T) {
	testenv.SkipOnCitus(t, "it looks at the locks of one server")
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("lost", "10", "1h"))
	s.exec(`CREATE TABLE lost AS SELECT * FROM wallet_holds`)
	s.exec(`DELETE FROM wallet_holds`)
	inserting, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = inserting.Rollback(context.Background()) }() // repair waits for it
	_, err = inserting.Exec(t.Context(), `INSERT INTO wallet_holds SELECT * FROM lost`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := s.RepairEvents(context.Background(), s.ref)
		done <- err
	}()
	require.Eventually(t, func() bool {
		return s.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO wallet_holds%'`) > 0
	}, time.Minute, time.Millisecond)
	// It waits for a while, and then tries again.
	require.Eventually(t, func() bool {
		_, err := s.db.Exec(t.Context(), `SELECT FROM wallet_assets FOR NO KEY UPDATE NOWAIT`)
		return err != nil
	}, time.Minute, time.Millisecond, "the wallet's row is locked")
	require.NoError(t, inserting.Commit(t.Context()))
	require.NoError(t, <-done)
	s.verified()
}

// TestNothingIsLeftButTheJournal deletes the balance and the holds together.
func TestNothingIsLeftButTheJournal(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "100"), hold("a", "80", "1h"))
	s.exec(`DELETE FROM wallet_holds`)
	s.exec(`DELETE FROM wallet_assets`)
	require.Equal(t, wallet.StatusApplied, s.apply(capture("c", "a", "", false))[0].Status)
	require.Zero(t, s.ensure().OpenHolds)
	s.verified()
}

// TestRepairCountsOpenHoldsAgain runs a step that counts holds while a row is missing.
func TestRepairCountsOpenHoldsAgain(t *testing.T) {
	s := newSteps(t)
	first := s.apply(add("funds", "100"), hold("lost", "10", "1h"), hold("kept", "10", "2h"))[1]
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_holds WHERE hold_id = 'lost'`)
	require.NoError(t, err)
	s.apply(hold("next", "10", "3h")) // this looks up the next expiry without the lost hold
	require.NotEqual(t, first.HoldExpiresAt, s.ensure().NextExpiry)
	_, err = s.RepairEvents(t.Context(), s.ref)
	require.NoError(t, err)
	require.Equal(t, first.HoldExpiresAt, s.ensure().NextExpiry)
	require.Equal(t, int64(3), s.ensure().OpenHolds)
	s.verified()
}

// TestAStepTellsOfHoldsThatOthersHaveChanged is of a sender that does not know of changes since: the
// sweep has expired a hold, or the answer to a capture was lost.
func TestAStepTellsOfHoldsThatOthersHaveChanged(t *testing.T) {
	s := newSteps(t)
	step := func(seen wallet.Head, commands ...wallet.Received) wallet.ApplyCommandsOutput {
		out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: commands, LastSeen: seen})
		require.NoError(t, err)
		return out
	}
	ids := func(holds []wallet.Hold) (all []string) {
		for _, h := range holds {
			all = append(all, h.ID)
		}
		return all
	}
	placed := step(wallet.Head{}, add("funds", "100"), hold("a", "10", "1h"), hold("b", "10", "2h"))
	require.Equal(t, []string{"a", "b"}, ids(placed.NextHolds))
	lost := step(placed.Asset.Head(), capture("c", "a", "", false))
	again := step(placed.Asset.Head(), capture("c", "a", "", false))
	require.Equal(t, lost.Asset.Hold, again.Asset.Hold)
	require.True(t, again.HoldsChanged)
	require.Equal(t, []string{"b"}, ids(again.NextHolds))
	require.Equal(t, again.NextHolds[0].ExpiresAt, again.Asset.NextExpiry)

	step(again.Asset.Head(), release("r", "b"))
	none := step(again.Asset.Head(), add("more", "1"))
	require.True(t, none.HoldsChanged)
	require.Empty(t, none.NextHolds)
	require.Zero(t, none.Asset.NextExpiry)
	require.False(t, step(none.Asset.Head(), add("and more", "1")).HoldsChanged)
	s.verified()
}
