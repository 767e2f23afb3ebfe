package activities_test

import (
	"context"
	"encoding/json"
	"fmt"
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
	answers, err := s.answersOf(s.encode(items))
	results := make([]*wallet.Result, len(answers))
	for i, answer := range answers {
		if answer.Facts != nil {
			read, err := answer.Facts.Results([]wallet.Received{items[i].received})
			require.NoError(s.t, err)
			results[i] = &read[0]
		}
	}
	return results, err
}

// answersOf runs the step of a lane. None of its items may be invalid.
func (s steps) answersOf(in wallet.ApplyLaneInput) (answers []wallet.LaneAnswer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := s.ApplyLane(ctx, in)
	if err != nil {
		return nil, err
	}
	split, err := wallet.SplitLaneAnswers(out, len(in.Items))
	require.NoError(s.t, err)
	for _, b := range split {
		answer, err := wallet.ReadLaneAnswer(b)
		require.NoError(s.t, err)
		require.Nil(s.t, answer.Invalid)
		answers = append(answers, answer)
	}
	return answers, nil
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
