package torture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// long is a story with many commands.
func long(n int) *story {
	s := newStory()
	for i := range n {
		s.send(Update, add(fmt.Sprint("l", i), "1"))
	}
	return s
}

func (s *story) newCheck() *walletCheck {
	return newWalletCheck(storyBegan, s.wallet, s.attempts, s.record)
}

// shown returns the lines of a violation that contain a text.
func shown(v Violation, text string) (lines []string) {
	return slices.DeleteFunc(slices.Clone(v.Around), func(line string) bool { return !strings.Contains(line, text) })
}

func TestTheEarliestViolationIsPrintedFirst(t *testing.T) {
	at := func(s int) time.Time { return storyBegan.Add(time.Duration(s) * time.Second) }
	violations := []Violation{{Problem: "the sum"}, {At: at(3), Problem: "late"}, {Problem: "the count"}, {At: at(1), Problem: "early"}}
	slices.SortStableFunc(violations, byTime)
	var order []string
	for _, v := range violations {
		order = append(order, v.Problem)
	}
	require.Equal(t, []string{"early", "late", "the sum", "the count"}, order)
}

func TestAViolationHasTheTimeOfItsEntryOrOfItsCall(t *testing.T) {
	s := newStory()
	s.rewrite(3, func(e *wallet.Entry) { e.TotalAfter = wallet.MustAmount("16.50") })
	require.Equal(t, s.record.journal[2].RecordedAt, s.check()[0].At)

	s = newStory()
	s.attempts = append(s.attempts, attempt{command: add("lost", "1"), way: Signal, accepted: true, called: time.Second, returned: 2 * time.Second})
	require.Equal(t, storyBegan.Add(time.Second), s.check()[0].At)

	s = newStory()
	s.record.journal = slices.Delete(s.record.journal, 4, 5)
	require.Equal(t, s.record.journal[3].RecordedAt, s.check()[0].At, "the one before what is missing")
}

func TestOfManyCallsThoseAroundTheViolationAreShown(t *testing.T) {
	s := newStory()
	for i := range 60 { // one command that is sent over and over
		result := s.entries["h3"].Result()
		result.Replayed = true
		if i == 40 {
			result.TotalAfter = wallet.MustAmount("0.01")
		}
		called := time.Second + time.Duration(i)*time.Second
		s.attempts = append(s.attempts, attempt{command: add("h3", "1"), way: Update, client: 100 + i, result: &result, called: called, returned: called + 1})
	}
	v := s.check()[0]
	require.Contains(t, v.Problem, "was answered with")
	require.Len(t, shown(v, "caller"), attemptsAround)
	require.Len(t, shown(v, "client 140"), 1)
	require.Len(t, shown(v, "client 135"), 1)
	require.Len(t, shown(v, "client 146"), 1)
	require.Len(t, shown(v, "journal"), 2*entriesAround+1, "around the entry of the command")
}

func TestWherePorcupineFailsIsShown(t *testing.T) {
	s := long(100)
	told := s.newCheck()
	operations := told.operations()
	operations[70].result.TotalAfter = wallet.MustAmount("0.01")
	told.violateLinearizability(operations, porcupine.Illegal)
	id := operations[70].id
	v := told.violations[0]
	require.Contains(t, v.Problem, fmt.Sprintf("up to position 70 is linearizable: Ok; with %q at position 71: Illegal", id))
	require.Len(t, shown(v, "journal"), 2*entriesAround+1)
	require.Len(t, shown(v, fmt.Sprintf("by %q", id)), 1)
	require.Equal(t, storyBegan.Add(operations[70].call), v.At)
	require.GreaterOrEqual(t, len(shown(v, "caller")), entriesAround+1)

	overtaken := s.newCheck()
	operations = overtaken.operations()
	operations[20].call, operations[20].ret = time.Hour, open // called after a later operation
	overtaken.violateLinearizability(operations, porcupine.Illegal)
	v = overtaken.violations[0]
	require.Contains(t, v.Problem, fmt.Sprintf("with %q at position 22", operations[21].id), "its answer comes too early")
	require.Len(t, shown(v, fmt.Sprintf("by %q", operations[20].id)), 1)
}

func TestWhatVerifyFindsIsShownWithTheEntriesAndCallsAroundIt(t *testing.T) {
	s := newStory()
	v := s.newCheck().found(trail.Finding{UserID: "u", Currency: "USD", Table: "wallet_commands", Position: 20, Problem: "the hash is wrong"})
	require.Equal(t, "verify: wallet_commands at position 20: the hash is wrong", v.Problem)
	require.Equal(t, s.record.journal[19].RecordedAt, v.At)
	require.Len(t, shown(v, "journal"), 2*entriesAround+1)
	require.NotEmpty(t, shown(v, "caller"))
	require.Empty(t, (*walletCheck)(nil).found(trail.Finding{UserID: "x", Position: 20}).Around, "a wallet that no plan has")
}

func TestALineOfALogHasItsTime(t *testing.T) {
	want := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	require.True(t, want.Equal(timeOfLine("2026-01-02 03:04:05.006 UTC [7] ERROR:  duplicate key")))
	require.True(t, want.Equal(timeOfLine(`{"level":"warn","ts":"2026-01-02T03:04:05.006Z","msg":"slow"}`)))
	require.Zero(t, timeOfLine("panic: no"))
}
