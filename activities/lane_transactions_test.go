package activities_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

// laneTransactions applies transactions in a lane. One that is returned has no result.
func (s steps) laneTransactions(all ...wallet.Transaction) []*wallet.TransactionResult {
	answers, err := s.tryLaneTransactions(all...)
	require.NoError(s.t, err)
	return answers
}

func (s steps) tryLaneTransactions(all ...wallet.Transaction) ([]*wallet.TransactionResult, error) {
	var in wallet.ApplyLaneInput
	for _, t := range all {
		encoded, err := json.Marshal(wallet.LaneItem{Transaction: &t})
		require.NoError(s.t, err)
		in.Items = append(in.Items, encoded)
	}
	answers, err := s.answersOf(in)
	results := make([]*wallet.TransactionResult, len(answers))
	for i, answer := range answers {
		results[i], err = all[i].LaneResult(answer)
		require.NoError(s.t, err)
	}
	return results, err
}

// transactionsOfAllKinds are some that are applied and some that are refused, each for another
// reason, in wallets whose names begin with prefix.
func transactionsOfAllKinds(prefix string) []wallet.Transaction {
	user := func(n int) string { return fmt.Sprint(prefix, n) }
	of := func(id string, legs ...wallet.Leg) wallet.Transaction {
		return wallet.Transaction{ID: prefix + id, Description: "why", Actor: "who", Metadata: map[string]string{"k": "v"}, Commands: legs}
	}
	place := leg(user(0), wallet.TypeHold, "4")
	place.ExpiresIn = "1h"
	late := of("late", leg(user(0), wallet.TypeAdd, "1"), leg(user(1), wallet.TypeAdd, "1"))
	late.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	version := leg(user(0), wallet.TypeAdd, "1")
	version.ExpectedVersion = new(int64(99))
	noted := leg(user(0), wallet.TypeAdd, "1")
	noted.Description = "its own"
	return []wallet.Transaction{
		of("opens", leg(user(0), wallet.TypeCreate, ""), leg(user(0), wallet.TypeAdd, "10")),
		transfer(prefix+"moves", user(0), user(1), "2.5"),
		of("through", leg(user(0), wallet.TypeSubtract, "1"), leg(user(2), wallet.TypeAdd, "1"), leg(user(2), wallet.TypeSubtract, "1"), noted),
		of("poor", leg(user(1), wallet.TypeAdd, "1"), leg(user(0), wallet.TypeSubtract, "1000"), leg(user(3), wallet.TypeAdd, "1")),
		of("holds", place, leg(user(1), wallet.TypeAdd, "1")),
		of("captures", captureLeg(user(0), wallet.LegID(prefix+"holds", 1), "3"), leg(user(1), wallet.TypeAdd, "3")),
		of("closed", captureLeg(user(0), wallet.LegID(prefix+"holds", 1), ""), leg(user(1), wallet.TypeAdd, "1")),
		of("not-found", leg(user(1), wallet.TypeAdd, "1"), captureLeg(user(0), "no", "1")),
		of("exists", leg(user(0), wallet.TypeCreate, ""), leg(user(1), wallet.TypeAdd, "1")),
		of("scale", leg(user(0), wallet.TypeAdd, "0.001"), leg(user(1), wallet.TypeAdd, "1")),
		of("version", version, leg(user(1), wallet.TypeAdd, "1")),
		late,
	}
}

// TestALaneAnswersAsTheTransactionDoes compares both ways: their answers to the same transactions
// in other wallets, and their answers to what the other one has applied.
func TestALaneAnswersAsTheTransactionDoes(t *testing.T) {
	s := newSteps(t)
	byWorkflow := func(all []wallet.Transaction) (results []*wallet.TransactionResult) {
		for _, tx := range all {
			results = append(results, new(s.transaction(tx)))
		}
		return results
	}
	byLane := func(all []wallet.Transaction) []*wallet.TransactionResult { return s.laneTransactions(all...) }
	replayed := func(results []*wallet.TransactionResult) (again []*wallet.TransactionResult) {
		for _, r := range results {
			require.False(t, r.Replayed)
			r := *r
			r.Replayed, r.Results = true, slices.Clone(r.Results)
			for i := range r.Results {
				r.Results[i].Replayed = true
			}
			again = append(again, &r)
		}
		return again
	}
	a, b := transactionsOfAllKinds("one-"), transactionsOfAllKinds("two-")
	first, second := byWorkflow(a), byLane(b)
	requireSameJSON(t, replayed(first), byLane(a))
	requireSameJSON(t, replayed(second), byWorkflow(b))
	reasons := map[wallet.Reason]bool{}
	for i := range a {
		reasons[first[i].Reason] = true
		require.Equal(t, withoutTimes(t, *first[i], "one-"), withoutTimes(t, *second[i], "two-"))
	}
	require.Len(t, reasons, 8, "all kinds")

	var other []wallet.Transaction
	for _, tx := range append(a, b...) {
		tx.Description = "other content"
		other = append(other, tx)
	}
	requireSameJSON(t, byWorkflow(other), byLane(other))
	require.Equal(t, wallet.ReasonIDConflict, byLane(other)[0].Reason)
	s.verified()
	require.Zero(t, s.count(`SELECT count(*) FROM wallet_entry_events e WHERE NOT EXISTS (SELECT FROM wallet_asset_events a WHERE (a.user_id, a.currency, a.version) = (e.user_id, e.currency, e.version))`))
}

func requireSameJSON(t *testing.T, want, is any) {
	wanted, err := json.MarshalIndent(want, "", " ")
	require.NoError(t, err)
	got, err := json.MarshalIndent(is, "", " ")
	require.NoError(t, err)
	require.Equal(t, string(wanted), string(got))
}

// withoutTimes is a result without times, hashes, and what the names in it begin with.
func withoutTimes(t *testing.T, r wallet.TransactionResult, prefix string) string {
	r.RecordedAt, r.RequestHash, r.Results = time.Time{}, wallet.Hash{}, slices.Clone(r.Results)
	for i := range r.Results {
		require.NotEmpty(t, r.Results[i].Hash)
		r.Results[i].RecordedAt, r.Results[i].Hash, r.Results[i].HoldExpiresAt = time.Time{}, wallet.Hash{}, time.Time{}
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return regexp.MustCompile(`it is [0-9TZ:.-]+`).ReplaceAllString(strings.ReplaceAll(string(text), prefix, ""), "it is late")
}

// TestTransactionsInOneLaneSeeEachOther has one wallet in all of them, the same id more than once,
// and commands of single wallets beside them.
func TestTransactionsInOneLaneSeeEachOther(t *testing.T) {
	s := newSteps(t)
	s.give("hot", "10")
	other := transfer("t-1", "x", "y", "7")
	answers := s.laneTransactions(transfer("t-1", "hot", "a", "4"), transfer("t-2", "hot", "b", "5"), transfer("t-3", "hot", "c", "2"),
		transfer("t-1", "hot", "a", "4"), other, transfer("t-4", "b", "hot", "5"), transfer("t-5", "hot", "c", "6"))
	require.Nil(t, answers[4], "a conflict that would have made wallets is its workflow's")
	require.Equal(t, wallet.ReasonIDConflict, s.transaction(other).Reason)
	var fates []string
	for _, r := range slices.Delete(answers, 4, 5) {
		fates = append(fates, fmt.Sprintf("%s %s %t", r.Status, r.Reason, r.Replayed))
	}
	require.Equal(t, []string{"applied  false", "applied  false", "unapplied insufficient_funds false", "applied  true", "applied  false", "applied  false"}, fates)
	require.Equal(t, "0.00", s.balance("hot").Total.String())
	require.Zero(t, s.count(`SELECT count(*) FROM wallets WHERE user_id IN ('x', 'y')`), "nothing is made for a conflict")
	s.verified()
}

// TestALaneReturnsTransactionsThatWouldStopTheOthers has each share a wallet with one that is fine.
func TestALaneReturnsTransactionsThatWouldStopTheOthers(t *testing.T) {
	s := newSteps(t)
	for _, user := range []string{"a", "locked", "format"} {
		s.give(user, "10")
	}
	s.exec(`UPDATE wallet_assets SET format = 99 WHERE user_id = 'format'`)
	s.of("locked").lock()
	unknown := transfer("unknown", "a", "made", "1")
	unknown.Commands[1].Currency, unknown.MustBalance = "NOPE", false
	answers := s.laneTransactions(transfer("first", "a", "b", "1"), transfer("locked", "a", "locked", "1"), unknown,
		transfer("format", "format", "new", "1"), transfer("last", "b", "c", "1"))
	for i, r := range answers {
		require.Equal(t, i == 0 || i == 4, r != nil, i)
	}
	require.Equal(t, 2, s.count(`SELECT count(*) FROM wallet_transactions`), "the ids of the others are free")
	require.Zero(t, s.count(`SELECT count(*) FROM wallets WHERE user_id IN ('made', 'new')`), "nothing is made for what is returned")
	require.Equal(t, "9.00", s.balance("a").Total.String())
	require.Nil(t, s.laneTransactions(transfer("beside", "b", "c", "1"), unknown)[1])
	require.Zero(t, s.count(`SELECT count(*) FROM wallets WHERE user_id = 'made'`))
}

// TestALaneDoesNotWaitForAnIDThatSomebodyElseHas has another session take it, without an end.
func TestALaneDoesNotWaitForAnIDThatSomebodyElseHas(t *testing.T) {
	s := newSteps(t)
	s.give("a", "10")
	s.laneTransactions(transfer("before", "a", "b", "1"))
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), `INSERT INTO wallet_transactions VALUES ('taken', '{x,y}', '{USD,USD}', true, sha256('x'))`)
	require.NoError(t, err)
	in := s.encode([]laneItem{inUSD("c", add("beside", "1"))})
	s.give("c", "1")
	encoded, err := json.Marshal(wallet.LaneItem{Transaction: new(transfer("taken", "a", "b", "1"))})
	require.NoError(t, err)
	in.Items = append(in.Items, encoded)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := s.ApplyLane(ctx, in)
	require.NoError(t, err)
	split, err := wallet.SplitLaneAnswers(out, 2)
	require.NoError(t, err)
	require.False(t, wallet.IsReturned(split[0]))
	require.True(t, wallet.IsReturned(split[1]))
	require.Equal(t, "2.00", s.balance("c").Total.String())
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, wallet.StatusApplied, s.laneTransactions(transfer("taken", "a", "b", "1"))[0].Status)
}

// TestLanesAndTransactionsAtOnce sends the same ids both ways, in wallets and in orders that differ:
// some with other content in other wallets, so that an id is waited for, and not only rows.
func TestLanesAndTransactionsAtOnce(t *testing.T) {
	s := newSteps(t)
	const wallets, ids, rounds = 12, 30, 12
	user := func(n int) string { return fmt.Sprint("u", n%wallets) }
	for n := range wallets / 2 { // the others are made on the way
		s.give(user(n), "100")
	}
	of := func(id, version int) wallet.Transaction {
		return transfer(fmt.Sprint("t", id), user(id+version*5), user(id*7+version*3+1), "1")
	}
	var calls errgroup.Group
	for i := range rounds {
		var all []wallet.Transaction
		for n := range ids {
			all = append(all, of((n*(2*i+1)+i)%ids, (n+i)%3))
		}
		calls.Go(func() error { _, err := s.tryLaneTransactions(all...); return err })
		calls.Go(func() error {
			for _, tx := range all {
				if _, err := s.ApplyTransaction(context.Background(), tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, calls.Wait())
	require.Equal(t, 100*wallets/2, s.count(`SELECT sum(total_amount)::int FROM wallet_assets`))
	require.Equal(t, ids, s.count(`SELECT count(*) FROM wallet_transactions`))
	require.Equal(t, 2*ids, s.count(`SELECT count(*) FROM wallet_commands WHERE transaction_id IS NOT NULL`))
	require.Zero(t, s.count(`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`))
	for n := range wallets {
		_, err := s.RecordEvents(t.Context(), usd(user(n)))
		require.NoError(t, err)
	}
	s.verified()
}

// TestALaneSplitsWhatIsTooMuchForOneTransaction has 1,500 legs.
func TestALaneSplitsWhatIsTooMuchForOneTransaction(t *testing.T) {
	s := newSteps(t)
	s.give("hot", "100000")
	var all []wallet.Transaction
	for i := range 15 {
		tx := wallet.Transaction{ID: fmt.Sprint("t", i)}
		for n := range wallet.MaxLegs / 2 {
			tx.Commands = append(tx.Commands, leg("hot", wallet.TypeSubtract, "1"), leg(fmt.Sprint("u", n), wallet.TypeAdd, "1"))
		}
		all = append(all, tx)
	}
	for _, r := range s.laneTransactions(all...) {
		require.Equal(t, wallet.StatusApplied, r.Status)
	}
	require.Equal(t, 2, s.count(`SELECT count(DISTINCT xmin::text) FROM wallet_commands WHERE transaction_id IS NOT NULL`))
	s.verified()
}

// TestIDsAreTakenAfterRows has a transaction that waits for a row, and another one of its id, in other
// wallets, that need not wait for it.
func TestIDsAreTakenAfterRows(t *testing.T) {
	s := newSteps(t)
	for _, user := range []string{"a", "b", "c", "d"} {
		s.give(user, "10")
	}
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM wallet_assets WHERE user_id = 'b' FOR UPDATE`)
	require.NoError(t, err)
	waits := make(chan wallet.TransactionResult, 1)
	go func() {
		out, err := s.ApplyTransaction(context.Background(), transfer("x", "a", "b", "1"))
		if err == nil {
			waits <- out.Result
		}
		close(waits)
	}()
	require.Eventually(t, func() bool { return s.count(`SELECT count(*) FROM pg_locks WHERE NOT granted`) > 0 }, time.Minute, time.Millisecond)
	require.Zero(t, s.count(`SELECT count(*) FROM pg_locks AS waits JOIN pg_locks AS has USING (pid)
		WHERE NOT waits.granted AND has.relation = 'wallet_transactions'::regclass`), "it has no id yet")
	require.Nil(t, s.laneTransactions(transfer("y", "a", "c", "1"))[0], "it has a row")
	require.Equal(t, wallet.StatusApplied, s.laneTransactions(transfer("x", "c", "d", "1"))[0].Status)
	require.Equal(t, wallet.ReasonIDConflict, s.transaction(transfer("x", "d", "c", "1")).Reason)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, wallet.ReasonIDConflict, (<-waits).Reason)
}

// TestALaneKeepsItsAnswersSmall has as many refused legs as fit into one update, and long texts.
func TestALaneKeepsItsAnswersSmall(t *testing.T) {
	s := newSteps(t)
	var in wallet.ApplyLaneInput
	size := 0
	for i := 0; size < 1<<20; i++ {
		tx := wallet.Transaction{ID: fmt.Sprint("t", i)}
		for range wallet.MaxLegs {
			tx.Commands = append(tx.Commands, leg("u", wallet.TypeSubtract, "1"))
		}
		encoded, err := json.Marshal(wallet.LaneItem{Transaction: &tx})
		require.NoError(t, err)
		in.Items, size = append(in.Items, encoded), size+len(encoded)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := s.ApplyLane(ctx, in)
	require.NoError(t, err)
	require.Less(t, len(out), 1<<19+len(in.Items)*2)
	split, err := wallet.SplitLaneAnswers(out, len(in.Items))
	require.NoError(t, err)
	require.False(t, wallet.IsReturned(split[0]))
	require.True(t, wallet.IsReturned(split[len(split)-1]))
	require.Equal(t, len(in.Items), s.count(`SELECT count(*) FROM wallet_transactions`), "they are applied all the same")
}

// TestALaneReversesWhatItsEarlierItemsDid has commands and transactions, and behind them, in the same
// step, transactions that reverse them.
func TestALaneReversesWhatItsEarlierItemsDid(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "20"))
	s.give("shop", "20")
	reversal := func(user, original string) wallet.Leg {
		l := leg(user, wallet.TypeReverse, "")
		l.OriginalID = original
		return l
	}
	paid := transfer("paid", "u1", "shop", "5")
	items := []any{
		wallet.ApplyCommandInput{AssetRef: s.ref, Command: subtract("fee", "3").Command},
		wallet.LaneItem{Transaction: &wallet.Transaction{ID: "no-fee", Commands: []wallet.Leg{reversal("u1", "fee"), leg("shop", wallet.TypeSubtract, "3")}}},
		wallet.LaneItem{Transaction: &paid},
		wallet.LaneItem{Transaction: &wallet.Transaction{ID: "back", Commands: []wallet.Leg{reversal("u1", wallet.LegID("paid", 1)), reversal("shop", wallet.LegID("paid", 2))}}},
	}
	var in wallet.ApplyLaneInput
	for _, item := range items {
		encoded, err := json.Marshal(item)
		require.NoError(t, err)
		in.Items = append(in.Items, encoded)
	}
	_, err := s.ApplyLane(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, "20.00", s.balance("u1").Total.String())
	require.Equal(t, "17.00", s.balance("shop").Total.String())
	s.verified()
}

// TestTransactionsInALaneAreAsOneByOne applies random ones between few wallets: in batches, and in
// other wallets one by one. Some ids come again, with the same or other content.
func TestTransactionsInALaneAreAsOneByOne(t *testing.T) {
	s := newSteps(t)
	random := func(prefix string) (all []wallet.Transaction) {
		r := rand.New(rand.NewPCG(3, 4))
		user := func() string { return fmt.Sprint(prefix, r.IntN(5)) }
		for i := range 200 {
			tx := wallet.Transaction{ID: fmt.Sprint(prefix, "t", i)}
			if r.IntN(10) == 0 {
				tx.ID = fmt.Sprint(prefix, "t", r.IntN(i+1))
			}
			for range 2 + r.IntN(5) {
				l := leg(user(), []wallet.CommandType{wallet.TypeAdd, wallet.TypeAdd, wallet.TypeSubtract, wallet.TypeHold}[r.IntN(4)], fmt.Sprint(1+r.IntN(20)))
				if r.IntN(6) == 0 {
					l = captureLeg(user(), wallet.LegID(fmt.Sprint(prefix, "t", r.IntN(i+1)), int64(1+r.IntN(3))), "")
				}
				tx.Commands = append(tx.Commands, l)
			}
			if all = append(all, tx); r.IntN(10) == 0 {
				all = append(all, all[r.IntN(len(all))])
			}
		}
		return all
	}
	oneByOne, batched := random("one-"), random("two-")
	for n := range 5 { // so that no conflict would make a wallet
		s.give(fmt.Sprint("one-", n), "50")
		s.give(fmt.Sprint("two-", n), "50")
	}
	applied, refused := 0, 0
	for len(batched) > 0 {
		n := min(len(batched), 1+len(batched)%37)
		for i, is := range s.laneTransactions(batched[:n]...) {
			require.NotNil(t, is)
			want := s.transaction(oneByOne[i])
			require.Equal(t, withoutTimes(t, want, "one-"), withoutTimes(t, *is, "two-"))
			if want.Status == wallet.StatusApplied {
				applied++
			} else {
				refused++
			}
		}
		oneByOne, batched = oneByOne[n:], batched[n:]
	}
	require.Greater(t, min(applied, refused), 30)
	s.verified()
}
