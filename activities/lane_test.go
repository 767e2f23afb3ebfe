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

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

type laneItem struct {
	user, currency string
	received       wallet.Received
}

func inUSD(user string, received wallet.Received) laneItem { return laneItem{user, "USD", received} }

// lane applies items in a lane. An item that is returned has no result.
func (s steps) lane(items ...laneItem) []*wallet.Result {
	answers, err := s.tryLane(items...)
	require.NoError(s.t, err)
	return answers
}

func (s steps) encode(items []laneItem) (in wallet.ApplyLaneInput) {
	for _, item := range items {
		encoded, err := json.Marshal(wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: item.user, Currency: item.currency}, Command: item.received.Command})
		require.NoError(s.t, err)
		in.Items = append(in.Items, encoded)
	}
	return in
}

func (s steps) tryLane(items ...laneItem) ([]*wallet.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := s.ApplyLane(ctx, s.encode(items))
	if err != nil {
		return nil, err
	}
	split, err := wallet.SplitLaneAnswers(out, len(items))
	require.NoError(s.t, err)
	results := make([]*wallet.Result, len(items))
	for i, b := range split {
		answer, err := wallet.ReadLaneAnswer(b)
		require.NoError(s.t, err)
		require.Nil(s.t, answer.Invalid)
		if answer.Facts != nil {
			read, err := answer.Facts.Results([]wallet.Received{items[i].received})
			require.NoError(s.t, err)
			results[i] = &read[0]
		}
	}
	return results, nil
}

// TestALaneAnswersAsTheWalletDoes asks the wallets' own step for each answer again.
func TestALaneAnswersAsTheWalletDoes(t *testing.T) {
	s := newSteps(t)
	var items []laneItem
	for i := range 30 {
		user := fmt.Sprint("u", i%20)
		items = append(items, inUSD(user, add(fmt.Sprint("add-", i), "10.5")), inUSD(user, subtract(fmt.Sprint("sub-", i), "3")),
			inUSD(user, hold(fmt.Sprint("hold-", i), "4", "1h")), inUSD(user, capture(fmt.Sprint("cap-", i), fmt.Sprint("hold-", i), "1", true)),
			inUSD(user, subtract(fmt.Sprint("much-", i), "1000")), inUSD(user, add("add-0", "10.5")), inUSD(user, add("add-0", "9")),
			inUSD(user, release(fmt.Sprint("none-", i), "no-hold")),
			inUSD(user, reverse(fmt.Sprint("rev-", i), fmt.Sprint("sub-", i), "2")), inUSD(user, reverse(fmt.Sprint("over-", i), fmt.Sprint("sub-", i), "2")),
			inUSD(user, freeze(fmt.Sprint("freeze-", i), "debits")), inUSD(user, subtract(fmt.Sprint("frozen-", i), "1")), inUSD(user, command(fmt.Sprint("thaw-", i), wallet.TypeUnfreeze)))
	}
	items = append(items, inUSD("new", create("open")), inUSD("new", create("again")), laneItem{"new", "EUR", add("a", "3")})
	answers := s.lane(items...)
	for i, item := range items {
		require.NotNil(t, answers[i])
		again, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: wallet.AssetRef{UserID: item.user, Currency: item.currency}, Commands: []wallet.Received{item.received}})
		require.NoError(t, err)
		want, err := again.Results.Results([]wallet.Received{item.received})
		require.NoError(t, err)
		if answers[i].Reason == wallet.ReasonIDConflict { // it says what the balance is now
			require.Equal(t, wallet.ReasonIDConflict, want[0].Reason)
			continue
		}
		want[0].Replayed = answers[i].Replayed
		require.Equal(t, want[0], *answers[i])
	}
	require.False(t, answers[0].Replayed)
	require.True(t, answers[5].Replayed, "the same id in the same batch")
	require.Equal(t, wallet.ReasonInsufficientFunds, answers[4].Reason)
	s.verified()
	require.Zero(t, s.of("u3").unrecorded())
}

// TestALaneReturnsWhatWouldStopTheOthers breaks or locks one wallet after the other.
func TestALaneReturnsWhatWouldStopTheOthers(t *testing.T) {
	s := newSteps(t)
	s.exec(`ALTER TABLE wallet_assets DROP CONSTRAINT IF EXISTS wallet_assets_hash_check`)
	var items []laneItem
	for _, user := range []string{"a", "contradicts", "format", "unreadable", "forgets", "locked", "z"} {
		s.of(user).apply(add("funds", "10"), hold("h", "5", ""))
		s.of(user).record()
		items = append(items, inUSD(user, capture("c", "h", "", false)))
	}
	s.exec(`UPDATE wallet_holds SET amount = 20 WHERE user_id = 'contradicts'`)
	s.exec(`UPDATE wallet_assets SET format = 99 WHERE user_id = 'format'`)
	s.exec(`UPDATE wallet_assets SET hash = '\x00' WHERE user_id = 'unreadable'`)
	s.exec(`UPDATE wallet_assets SET position = position - 1, version = version - 1 WHERE user_id = 'forgets'`) // the next is there already
	s.of("locked").lock()
	items = append(items, laneItem{"a", "NOPE", add("x", "1")}, inUSD("replies", wallet.Received{Command: wallet.Command{
		ID: "x", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1"), ReplyTo: &wallet.ReplyTo{WorkflowID: "w", Signal: "s"}}}),
		inUSD("new", add("x", "1")))
	answers := s.lane(items...)
	for i, item := range items {
		switch {
		case item.user == "z" || item.user == "new" || item.user == "a" && item.currency == "USD":
			require.NotNil(t, answers[i], item.user)
			require.Equal(t, wallet.StatusApplied, answers[i].Status)
		default:
			require.Nil(t, answers[i], "%s in %s", item.user, item.currency)
		}
	}
	require.Equal(t, "5.00", s.balance("z").Total.String())
	require.Len(t, s.of("locked").journal(), 3)
}

// TestALaneWhoseEventsCannotBeRecorded fails as a whole where no wallet is at fault, and else returns
// the one that is.
func TestALaneWhoseEventsCannotBeRecorded(t *testing.T) {
	s := newSteps(t)
	items := []laneItem{inUSD("a", add("x", "1")), inUSD("bad", add("x", "1")), inUSD("z", add("x", "1"))}
	s.exec(`REVOKE EXECUTE ON FUNCTION wallet_record_events FROM wallet_app`)
	_, err := s.tryLane(items...)
	require.ErrorContains(t, err, "permission denied for function wallet_record_events")
	s.exec(`GRANT EXECUTE ON FUNCTION wallet_record_events TO wallet_app`)
	s.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$`)
	s.exec(`CREATE TRIGGER refuse BEFORE INSERT ON wallet_asset_events FOR EACH ROW WHEN (NEW.user_id = 'bad') EXECUTE FUNCTION refuse()`)
	answers := s.lane(items...)
	require.Nil(t, answers[1])
	for _, i := range []int{0, 2} {
		require.True(t, answers[i].Replayed, "the first try has applied it")
		require.Zero(t, s.of(items[i].user).unrecorded())
	}
	require.Equal(t, 2, s.of("bad").unrecorded())
}

func TestALaneReturnsItemsThatAreNoCommands(t *testing.T) {
	s := newSteps(t)
	hostile := []string{`{}`, `{"user_id":"a"}`, `3`, `null`, `[]`, `""`, `{"user_id":"a","currency":"USD","command":{"id":"_x","type":"add","amount":"1"}}`,
		`{"user_id":"a","currency":"USD","command":{"id":"x","type":"mint","amount":"1"}}`, `{"user_id":"a","user_id":"b","currency":"USD","command":{"id":"x","type":"add","amount":"1"}}`,
		`{"user_id":"a","currency":"USD","command":{"id":"x","type":"add","amount":"1"},"legs":3}`}
	in := wallet.ApplyLaneInput{Items: []jsontext.Value{jsontext.Value(`{"user_id":"a","currency":"USD","command":{"id":"good","type":"add","amount":"1"}}`)}}
	for _, item := range hostile {
		in.Items = append(in.Items, jsontext.Value(item))
	}
	out, err := s.ApplyLane(t.Context(), in)
	require.NoError(t, err)
	split, err := wallet.SplitLaneAnswers(out, len(in.Items))
	require.NoError(t, err)
	for i, b := range split {
		answer, err := wallet.ReadLaneAnswer(b)
		require.NoError(t, err)
		require.Equal(t, i == 0, answer.Facts != nil)
		require.Equal(t, i > 0, answer.Invalid != nil, hostile[max(0, i-1)])
	}
}

// TestALaneDoesNotWaitForAWalletThatSomebodyElseMakes has another session insert it, without an end.
func TestALaneDoesNotWaitForAWalletThatSomebodyElseMakes(t *testing.T) {
	s := newSteps(t)
	tx, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), `INSERT INTO wallets (user_id) VALUES ('made')`)
	require.NoError(t, err)
	s.of("there").apply(add("funds", "1"))
	answers := s.lane(inUSD("made", add("x", "1")), inUSD("there", add("x", "1")))
	require.Nil(t, answers[0])
	require.Equal(t, "2.00", answers[1].TotalAfter.String())
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, "1.00", s.lane(inUSD("made", add("x", "1")))[0].TotalAfter.String())
}

func TestALaneExpiresHoldsAndRestoresRows(t *testing.T) {
	s := newSteps(t)
	s.of("due").apply(add("funds", "10"), hold("h", "10", "1h"))
	s.of("lost").apply(add("funds", "10"), hold("h", "4", ""))
	s.makeOverdue(time.Second)
	s.exec(`DELETE FROM wallet_holds WHERE user_id = 'lost'`)
	s.exec(`DELETE FROM wallet_assets WHERE user_id = 'lost'`)
	answers := s.lane(inUSD("due", subtract("s", "10")), inUSD("lost", capture("c", "h", "", false)), inUSD("lost", subtract("s", "7")))
	require.Equal(t, wallet.StatusApplied, answers[0].Status)
	require.Equal(t, "6.00", answers[1].TotalAfter.String())
	require.Equal(t, wallet.ReasonInsufficientFunds, answers[2].Reason)
	require.Equal(t, "6.00", s.balance("lost").Total.String())
	require.Zero(t, s.of("due").unrecorded()+s.of("lost").unrecorded())
}

// TestALaneExpiresSoManyHoldsAtOnce has many holds that are due in each of several wallets.
func TestALaneExpiresSoManyHoldsAtOnce(t *testing.T) {
	s := newSteps(t)
	var items []laneItem
	for _, user := range []string{"due-1", "due-2", "due-3"} {
		s.of(user).apply(add("funds", "1000"))
		for from := 0; from < 1000; from += wallet.MaxBatch {
			var holds []wallet.Received
			for i := range wallet.MaxBatch {
				holds = append(holds, hold(fmt.Sprint("h-", from+i), "1", "1h"))
			}
			s.of(user).apply(holds...)
		}
		items = append(items, inUSD(user, subtract("s", "1000")))
	}
	s.makeOverdue(time.Second)
	for _, answer := range s.lane(items...) {
		require.Equal(t, wallet.StatusApplied, answer.Status)
	}
	var most int
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT max(n) FROM (SELECT count(*) AS n FROM wallet_commands WHERE type = 'expire' GROUP BY xmin) AS transactions`).Scan(&most))
	require.LessOrEqual(t, most, 2000)
}

// TestLanesAndWalletsAtOnce sends the same ids both ways: each counts once, whatever is returned.
func TestLanesAndWalletsAtOnce(t *testing.T) {
	s := newSteps(t)
	var before, after int64
	deadlocks := `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`
	require.NoError(t, s.db.QueryRow(t.Context(), deadlocks).Scan(&before))
	var calls errgroup.Group
	for i := range 30 {
		calls.Go(func() error {
			var items []laneItem
			for user := range 30 {
				items = append(items, inUSD(fmt.Sprint("u", (user*7+i)%30), add(fmt.Sprint("c", i%10), "1")))
			}
			_, err := s.tryLane(items...)
			return err
		})
		calls.Go(func() error {
			ref := wallet.AssetRef{UserID: fmt.Sprint("u", i), Currency: "USD"}
			for n := range 10 {
				if _, err := s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{add(fmt.Sprint("c", n), "1")}, AndRecord: true}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, calls.Wait())
	for user := range 30 {
		require.Equal(t, "10.00", s.balance(fmt.Sprint("u", user)).Total.String())
	}
	require.NoError(t, s.db.QueryRow(t.Context(), deadlocks).Scan(&after))
	require.Equal(t, before, after)
	report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := s.ApplyLane(ctx, in)
	if err != nil {
		return nil, err
	}
	split, err := wallet.SplitLaneAnswers(out, len(all))
	require.NoError(s.t, err)
	results := make([]*wallet.TransactionResult, len(all))
	for i, b := range split {
		answer, err := wallet.ReadLaneAnswer(b)
		require.NoError(s.t, err)
		require.Nil(s.t, answer.Invalid)
		results[i], err = all[i].LaneResult(answer)
		require.NoError(s.t, err)
	}
	return results, nil
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
	report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
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
