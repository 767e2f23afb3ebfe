package torture

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// story is a wallet's history that keeps every promise, told by the rules themselves.
type story struct {
	wallet   Wallet
	asset    wallet.Asset
	entries  map[string]wallet.Entry
	attempts []attempt
	record   record
}

var storyBegan = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newStory() *story {
	ref := wallet.AssetRef{UserID: "u", Currency: "USD"}
	s := &story{wallet: Wallet{AssetRef: ref}, asset: wallet.Asset{UserID: ref.UserID, Currency: ref.Currency, Scale: 2}, entries: map[string]wallet.Entry{}}
	s.fold(wallet.Received{Command: wallet.AutoCreate()})
	s.send(Update, add("a", "10"))
	s.send(Signal, add("b", "5.50"))
	s.send(BareUpdate, subtract("c", "100")) // refused
	s.send(Update, add("a", "10"))           // replayed
	s.send(Update, add("a", "11"))           // id_conflict
	s.send(ApplyCommand, subtract("d", "3"))
	s.send(Update, wallet.Command{ID: "e", Type: wallet.TypeCreate}) // refused
	s.send(Batch, add("f", "1.001"))                                 // refused
	s.send(Garbage, add("g", "1"))
	for i := range 20 {
		s.send(Update, add(fmt.Sprint("h", i), "1"))
	}
	return s
}

func add(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)}
}

func subtract(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}
}

// fold runs a command and writes down what comes of it.
func (s *story) fold(received wallet.Received) wallet.Result {
	now := storyBegan.Add(time.Duration(s.asset.Position) * time.Millisecond)
	f, err := wallet.Fold(wallet.Account{Asset: s.asset}, s.entries, []wallet.Received{received}, now)
	if err != nil {
		panic(err)
	}
	for _, e := range f.Entries {
		s.entries[e.CommandID] = e
		s.record.journal = append(s.record.journal, e)
		if e.Status == wallet.StatusApplied {
			s.record.events = append(s.record.events, trail.EventOf(e))
		}
	}
	s.asset = f.Account.Asset
	s.record.asset = &f.Account.Asset
	return f.Results[0]
}

// send is one call after the other, each of one millisecond.
func (s *story) send(way Way, c wallet.Command) {
	called := time.Duration(len(s.attempts)) * 2 * time.Millisecond
	a := attempt{command: c, way: way, called: called, returned: called + time.Millisecond}
	switch way {
	case Garbage:
		a.accepted = true
		s.fold(wallet.Malformed([]byte(`{}`), "json/plain", wallet.Command{ID: c.ID}, "", errors.New("no type")))
	case Signal:
		a.accepted = true
		s.fold(wallet.Received{Command: c})
	default:
		result := s.fold(wallet.Received{Command: c})
		a.result = &result
	}
	s.attempts = append(s.attempts, a)
}

func (s *story) of(id string) *attempt {
	i := slices.IndexFunc(s.attempts, func(a attempt) bool { return a.command.ID == id })
	return &s.attempts[i]
}

func (s *story) check() []Violation {
	return newWalletCheck(storyBegan, s.wallet, s.attempts, s.record).check()
}

// rewrite changes an entry and makes its hash, and those after it, anew: a journal
// that is wrong in itself but holds together.
func (s *story) rewrite(position int64, change func(*wallet.Entry)) {
	change(&s.record.journal[position-1])
	var prev wallet.Hash
	for i := range s.record.journal {
		e := &s.record.journal[i]
		e.PrevHash = prev
		e.Hash = e.ComputeHash()
		prev = e.Hash
	}
	s.record.asset.Hash = prev
}

func TestAHistoryThatKeepsEveryPromiseIsSound(t *testing.T) {
	require.Empty(t, newStory().check())
}

func TestCommandsAtTheSameTimeMayComeInAnyOrder(t *testing.T) {
	s := newStory()
	for i := range s.attempts {
		s.attempts[i].called = 0
	}
	require.Empty(t, s.check())
}

func TestEveryKindOfViolationIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		doctor func(*story)
		want   string
	}{
		"an entry is missing": {func(s *story) { s.record.journal = slices.Delete(s.record.journal, 2, 3) }, "position 3 of the journal is missing"},
		"the last entry is missing": {func(s *story) {
			s.record.journal = s.record.journal[:len(s.record.journal)-1]
			s.record.events = s.record.events[:len(s.record.events)-1]
		}, "the balance is total"},
		"an accepted signal is lost": {func(s *story) {
			s.attempts = append(s.attempts, attempt{command: add("lost", "1"), way: Signal, accepted: true, called: time.Second, returned: 2 * time.Second})
		}, "was accepted, but is not recorded"},
		"an answered command is lost": {func(s *story) {
			result := *s.of("h3").result
			result.CommandID = "lost"
			s.attempts = append(s.attempts, attempt{command: add("lost", "1"), way: Update, result: &result, called: time.Second, returned: 2 * time.Second})
		}, "was answered, but is not recorded"},
		"a command counts twice": {func(s *story) {
			delete(s.entries, "h3")
			s.fold(wallet.Received{Command: add("h3", "1")})
		}, `command "h3" is recorded at position`},
		"nobody sent a command":  {func(s *story) { s.fold(wallet.Received{Command: add("forged", "1")}) }, "nobody sent it"},
		"the content is another": {func(s *story) { s.fold(wallet.Received{Command: add("x", "7")}); s.sent(add("x", "8")) }, "which nobody sent under this id"},
		"the answer is another": {func(s *story) {
			result := *s.of("d").result
			result.TotalAfter = wallet.MustAmount("12.51")
			s.of("d").result = &result
		}, "was answered with"},
		"a refusal is answered as applied": {func(s *story) {
			result := *s.of("c").result
			result.Status, result.Reason = wallet.StatusApplied, ""
			s.of("c").result = &result
		}, "was answered with applied"},
		"other content is answered as if it were the same": {func(s *story) {
			result := s.entries["a"].Result()
			result.Replayed = true
			s.attempts[4].result = &result
		}, "that is an id_conflict"},
		"a command is told to be in conflict with itself": {func(s *story) {
			result := *s.attempts[4].result
			s.attempts[3].result = &result
		}, "was answered with unapplied id_conflict"},
		"a command is answered as new twice": {func(s *story) {
			result := *s.attempts[3].result
			result.Replayed = false
			s.attempts[3].result = &result
		}, "was answered as new 2 times"},
		"a command has no answer": {func(s *story) { s.of("h5").result, s.of("h5").returned = nil, open }, "has no final answer"},
		"money from nowhere": {func(s *story) {
			s.rewrite(3, func(e *wallet.Entry) { e.TotalAfter = wallet.MustAmount("16.50") })
		}, "goes from total 10.00 to 16.50"},
		"an overdraft": {func(s *story) {
			s.rewrite(4, func(e *wallet.Entry) { e.Status, e.Reason, e.Version = wallet.StatusApplied, "", 4 })
		}, "is applied , the rules say unapplied insufficient_funds"},
		"a version is left out":       {func(s *story) { s.rewrite(3, func(e *wallet.Entry) { e.Version++ }) }, "has version 4, the rules say 3"},
		"an entry is changed":         {func(s *story) { s.record.journal[5].Message = "" }, "the hash chain is broken at position 6"},
		"time runs backwards":         {func(s *story) { s.rewrite(5, func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(-time.Hour) }) }, "time runs backwards"},
		"the balance is another":      {func(s *story) { s.record.asset.Total = wallet.MustAmount("1") }, "the balance is total 1"},
		"the balance is gone":         {func(s *story) { s.record.asset = nil }, "there is no balance"},
		"an event is missing":         {func(s *story) { s.record.events = slices.Delete(s.record.events, 3, 4) }, "its event is version"},
		"the last event is missing":   {func(s *story) { s.record.events = s.record.events[:len(s.record.events)-1] }, "has no event"},
		"an event is there twice":     {func(s *story) { s.record.events = append(s.record.events, s.record.events[2]) }, "has no applied entry"},
		"an event differs":            {func(s *story) { s.record.events[2].TotalAfter = wallet.MustAmount("1") }, "its event is version 3"},
		"a later command comes first": {func(s *story) { s.of("h1").called, s.of("h1").returned = time.Second, 2*time.Second }, "and comes before it"},
		"a signal is overtaken": {func(s *story) {
			s.of("d").called, s.of("d").returned = 0, open-1
			s.of("b").returned = 0
			s.of("a").called = time.Millisecond
		}, "and comes before it"},
		"a valid command is invalid":    {func(s *story) { s.failed(&wallet.InvalidError{Message: "no"}) }, "was refused as invalid"},
		"the client gives up":           {func(s *story) { s.failed(&gaveUpError{errors.New("tired")}) }, "gave up before its context ended"},
		"an accepted update has no end": {func(s *story) { s.failed(temporal.NewApplicationError("lost", updateLost)) }, "left without an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			c.doctor(s)
			found := s.check()
			require.NotEmpty(t, found)
			problems := ""
			for _, v := range found {
				problems += v.String() + "\n"
			}
			require.Contains(t, problems, c.want)
		})
	}
}

// sent adds an answered attempt that had no effect of its own.
func (s *story) sent(c wallet.Command) {
	s.attempts = append(s.attempts, attempt{command: c, way: Signal, accepted: true, called: time.Hour, returned: time.Hour})
}

// failed adds a failing attempt of a command that has its answer by another.
func (s *story) failed(err error) {
	s.attempts = append(s.attempts, attempt{command: add("h2", "1"), way: Update, called: time.Hour, returned: open, err: err})
}

func TestATerminatedWorkflowMayLoseSignalsAndUpdatesUntilTheyAreSentAgain(t *testing.T) {
	s := newStory()
	s.wallet.Handling = Terminated
	s.failed(temporal.NewApplicationError("lost", updateLost))
	s.of("b").returned = 0 // accepted long before it was recorded
	require.Empty(t, s.check())
}

func TestCallersOfOneApplyCommandShareItsAnswer(t *testing.T) {
	s := newStory()
	twice := *s.of("d")
	s.attempts = append(s.attempts, twice)
	require.Empty(t, s.check())
	s.attempts[len(s.attempts)-1].way = Update
	require.NotEmpty(t, s.check())
}

func TestOnlyAStrayStepMayOvertakeAnAcceptedSignal(t *testing.T) {
	s := newStory()
	s.of("b").returned = 0 // accepted before "a" was sent, and recorded behind it
	s.of("a").called = time.Millisecond
	s.of("a").way = StrayStep
	require.Empty(t, s.check())
	s.of("a").way = Update
	require.NotEmpty(t, s.check())
}

func TestPorcupineFindsWhatCannotBeOneAfterTheOther(t *testing.T) {
	s := newStory()
	check := newWalletCheck(storyBegan, s.wallet, s.attempts, s.record)
	require.Equal(t, porcupine.Ok, check.linearizable(check.operations()))
	swapped := check.operations()
	swapped[20].call, swapped[20].ret = time.Second, 2*time.Second // after all others
	require.Equal(t, porcupine.Illegal, check.linearizable(swapped))
	told := check.operations()
	told[5].result.TotalAfter = wallet.MustAmount("0.01")
	require.Equal(t, porcupine.Illegal, check.linearizable(told))
}
