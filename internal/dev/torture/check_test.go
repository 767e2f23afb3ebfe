package torture

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// story is a wallet's history that keeps every promise, made with the rules themselves.
type story struct {
	wallet   Wallet
	asset    wallet.Asset
	holds    map[string]wallet.Hold
	grants   map[int64]wallet.Grant
	waited   time.Duration
	entries  map[string]*wallet.Entry
	attempts []attempt
	record   record
}

var storyBegan = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newStory() *story {
	ref := wallet.AssetRef{UserID: "u", Currency: "USD"}
	s := &story{wallet: Wallet{AssetRef: ref}, asset: wallet.Asset{UserID: ref.UserID, Currency: ref.Currency, Scale: 2}, entries: map[string]*wallet.Entry{}}
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
	s.send(Update, wallet.Command{ID: "k", Type: wallet.TypeHold, Amount: wallet.MustAmount("5"), ExpiresIn: "1s"})
	s.send(Signal, wallet.Command{ID: "k-part", Type: wallet.TypeCapture, HoldID: "k", Amount: wallet.MustAmount("2"), Partial: true})
	s.send(Batch, wallet.Command{ID: "l", Type: wallet.TypeHold, Amount: wallet.MustAmount("3")})
	s.send(Update, wallet.Command{ID: "l-back", Type: wallet.TypeRelease, HoldID: "l"})
	s.send(Update, wallet.Command{ID: "l-late", Type: wallet.TypeCapture, HoldID: "l"}) // refused
	s.send(BareUpdate, wallet.Command{ID: "k-more", Type: wallet.TypeHold, HoldID: "k", Amount: wallet.MustAmount("1"), ExpiresIn: "2s"})
	s.send(Update, subtract("m", "30"))                                                                                                                    // refused: 4 of 30.50 are reserved
	s.send(Update, wallet.Command{ID: "n", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresAt: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}) // stays open
	s.waited = 3 * time.Second
	s.send(Update, add("o", "1"))                                                       // the first command after k's expiry
	s.send(Update, wallet.Command{ID: "k-late", Type: wallet.TypeCapture, HoldID: "k"}) // refused
	s.send(Update, wallet.Command{ID: "g1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("2"), ExpiresIn: "1h"})
	s.send(Update, wallet.Command{ID: "g2", Type: wallet.TypeAdd, Amount: wallet.MustAmount("3"), ExpiresIn: "1s"})
	s.send(Update, wallet.Command{ID: "g3", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1"), Priority: 60})
	s.send(Update, subtract("g-out", "1")) // of g2
	s.send(Update, wallet.Command{ID: "z-hold", Type: wallet.TypeHold, Amount: wallet.MustAmount("3")})
	s.waited = 5 * time.Second
	s.send(Update, wallet.Command{ID: "g-part", Type: wallet.TypeCapture, HoldID: "z-hold", Amount: wallet.MustAmount("1"), Partial: true}) // g2's time is over
	s.send(Update, wallet.Command{ID: "g-back", Type: wallet.TypeRelease, HoldID: "z-hold"})                                                // the rest of it expires
	s.send(Update, wallet.Command{ID: "g-no", Type: wallet.TypeReverse, OriginalID: "g-out"})                                               // refused
	s.send(Update, wallet.Command{ID: "g-yes", Type: wallet.TypeReverse, OriginalID: "g-out", ReturnExpired: true})
	s.record.healed, s.record.read = storyBegan, storyBegan.Add(10*time.Second)
	return s
}

func add(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)}
}

func subtract(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}
}

// fold runs a command and records the result.
func (s *story) fold(received wallet.Received) wallet.Result {
	now := storyBegan.Add(s.waited + time.Duration(s.asset.Position)*time.Millisecond)
	f, err := wallet.Fold(wallet.Account{Asset: s.asset, Holds: s.holds, Grants: s.grants}, s.entries, []wallet.Received{received}, now)
	if err != nil {
		panic(err)
	}
	for _, e := range f.Entries {
		s.entries[e.CommandID] = &e
		s.record.journal = append(s.record.journal, e)
		if e.Status == wallet.StatusApplied {
			s.record.events = append(s.record.events, trail.EventOf(e))
		}
	}
	s.asset, s.holds = f.Account.Asset, f.Account.Holds
	s.asset.NextExpiry, s.record.holds = time.Time{}, nil
	for _, id := range slices.Sorted(maps.Keys(s.holds)) {
		h := s.holds[id]
		s.record.holds = append(s.record.holds, h)
		if h.IsOpen() && !h.ExpiresAt.IsZero() && (s.asset.NextExpiry.IsZero() || h.ExpiresAt.Before(s.asset.NextExpiry)) {
			s.asset.NextExpiry = h.ExpiresAt
		}
	}
	s.grants = f.Account.Grants
	s.asset.NextGrantExpiry, s.record.grants = time.Time{}, nil
	for _, number := range slices.Sorted(maps.Keys(s.grants)) {
		g := s.grants[number]
		s.record.grants = append(s.record.grants, g)
		if !g.Left.IsZero() && !g.ExpiresAt.IsZero() && (s.asset.NextGrantExpiry.IsZero() || g.ExpiresAt.Before(s.asset.NextGrantExpiry)) {
			s.asset.NextGrantExpiry = g.ExpiresAt
		}
	}
	asset := s.asset
	s.record.asset = &asset
	return f.Results[0]
}

// send makes calls one after the other, one millisecond each.
func (s *story) send(way Way, c wallet.Command) {
	called := time.Duration(len(s.attempts)) * 2 * time.Millisecond
	a := attempt{command: c, way: way, called: called, returned: called + time.Millisecond}
	switch way {
	case Garbage:
		a.accepted = true
		received := wallet.Malformed([]byte(`{}`), "json/plain", wallet.Command{}, errors.New("no type"))
		received.Command.ID = c.ID
		s.fold(received)
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

// rewrite changes an entry and recomputes its hash and all later ones: the journal is wrong but
// consistent.
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
		"the answer has another crossing": {func(s *story) {
			result := *s.of("d").result
			result.Crossed = `[{"name": "low", "amount": "1.00", "direction": "below"}]`
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
		"a closed hold is captured":   {func(s *story) { s.allow("l-late") }, "the rules say unapplied hold_closed"},
		"an expired hold is captured": {func(s *story) { s.allow("k-late") }, "the rules say unapplied hold_expired"},
		"what is reserved is taken":   {func(s *story) { s.allow("m") }, "the rules say unapplied insufficient_funds"},
		"a hold expires too early": {func(s *story) {
			s.rewrite(s.position("_expire/k"), func(e *wallet.Entry) { e.RecordedAt = storyBegan.Add(time.Second) })
		}, `hold "k" cannot expire before`},
		"a hold expires too late": {func(s *story) {
			for position := s.position("_expire/k"); position <= s.asset.Position; position++ {
				s.rewrite(position, func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(time.Hour) })
			}
		}, "and expired only at"},
		"a hold that is due blocks others": {func(s *story) {
			s.rewrite(s.position("m"), func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(time.Hour) })
		}, `the rules say unapplied hold "k" is due since`},
		"a hold expires twice": {func(s *story) {
			expired := *s.entries["_expire/k"]
			expired.Position = s.asset.Position + 1
			s.record.journal = append(s.record.journal, expired)
			s.rewrite(expired.Position, func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(time.Second) })
		}, `hold "k" cannot expire: it is expired already`},
		"somebody expires a hold": {func(s *story) {
			s.rewrite(s.position("_expire/k"), func(e *wallet.Entry) { e.CommandID = "mine" })
		}, "the id of an expiry names its hold"},
		"a hold never expires": {func(s *story) {
			s.send(Update, wallet.Command{ID: "p", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresIn: "1s"})
			s.record.read = storyBegan.Add(2 * time.Minute)
		}, "and has not expired by"},
		"a hold has too much left": {func(s *story) {
			s.rewrite(s.position("k-part"), func(e *wallet.Entry) { e.HoldLeft = wallet.MustAmount("4") })
		}, `leaves 4 of hold "k", the rules say 3`},
		"a hold is not in the sum": {func(s *story) {
			s.rewrite(s.position("k"), func(e *wallet.Entry) { e.HoldAfter = wallet.Amount{} })
		}, "open holds come to 0 and then 5"},
		"a hold has another end": {func(s *story) {
			s.rewrite(s.position("k"), func(e *wallet.Entry) { e.HoldExpiresAt = e.HoldExpiresAt.Add(time.Second) })
		}, `has hold "k" expire at`},
		"an answer has another hold": {func(s *story) {
			result := *s.of("k").result
			result.HoldLeft = wallet.MustAmount("6")
			s.of("k").result = &result
		}, "was answered with"},
		"the row of a hold is gone":      {func(s *story) { s.record.holds = s.record.holds[1:] }, `hold "k" has no row`},
		"the row of a hold is old":       {func(s *story) { s.record.holds[0].State = wallet.HoldOpen }, `the row of hold "k" is open: `},
		"a row without a hold":           {func(s *story) { s.record.holds = append(s.record.holds, wallet.Hold{ID: "x"}) }, `hold "x" has a row, and nobody placed it`},
		"the balance has another hold":   {func(s *story) { s.record.asset.Hold = wallet.MustAmount("2") }, "hold 2, version"},
		"the balance counts other holds": {func(s *story) { s.record.asset.OpenHolds = 2 }, "the balance has 2 open holds"},
		"the balance expects no expiry":  {func(s *story) { s.record.asset.NextExpiry = time.Time{} }, "the next expires at"},
		"grants are used up in another order": {func(s *story) {
			s.rewrite(s.position("g-out"), func(e *wallet.Entry) { e.Grants = fmt.Sprintf("%d:1.00", s.position("g1")) })
		}, "takes, reserves or gives back"},
		"a held amount loses its grant": {func(s *story) {
			s.rewrite(s.position("g-part"), func(e *wallet.Entry) { e.Grants = "" })
		}, "takes, reserves or gives back"},
		"a grant expires twice": {func(s *story) {
			id := fmt.Sprintf("_expire_grant/%d/1", s.position("g2"))
			expired := *s.entries[id]
			expired.Position = s.asset.Position + 1
			s.record.journal = append(s.record.journal, expired)
			s.rewrite(expired.Position, func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(time.Second) })
		}, "no grant is due"},
		"a grant that is due is spent": {func(s *story) {
			s.rewrite(s.position("g-out"), func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(2 * time.Second) })
		}, "is due since"},
		"a grant has another end": {func(s *story) {
			s.rewrite(s.position("g1"), func(e *wallet.Entry) { e.GrantExpiresAt = e.GrantExpiresAt.Add(time.Second) })
		}, "makes a grant that expires at"},
		"a grant never expires": {func(s *story) {
			s.send(Update, wallet.Command{ID: "g4", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1"), ExpiresIn: "1s"})
			s.record.read = storyBegan.Add(2 * time.Minute)
		}, "and has not expired by"},
		"what has expired comes back unasked": {func(s *story) { s.allow("g-no") }, "the rules say unapplied grant_expired"},
		"the row of a grant is gone":          {func(s *story) { s.record.grants = s.record.grants[1:] }, "has no row"},
		"the row of a grant is old":           {func(s *story) { s.record.grants[1].State = wallet.GrantOpen }, "the row of grant"},
		"a row without a grant":               {func(s *story) { s.record.grants = append(s.record.grants, wallet.Grant{Number: 1}) }, "grant 1 has a row, and nobody made it"},
		"the balance counts other grants":     {func(s *story) { s.record.asset.OpenGrants = 7 }, "the balance has 7 open grants"},
		"the balance has other grants":        {func(s *story) { s.record.asset.Granted = wallet.MustAmount("1") }, "open grants with 1,"},
		"a step panics":                       {func(s *story) { s.failed(&panicError{"broken"}) }, "the step panicked: broken"},
		"a valid command is invalid":          {func(s *story) { s.failed(&wallet.InvalidError{Message: "no"}) }, "was refused as invalid"},
		"the client gives up":                 {func(s *story) { s.failed(&gaveUpError{errors.New("tired")}) }, "gave up before its context ended"},
		"an accepted update has no end":       {func(s *story) { s.failed(temporal.NewApplicationError("lost", updateLost)) }, "left without an answer"},
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

func (s *story) position(id string) int64 { return s.entries[id].Position }

// allow turns a refused entry into an applied one.
func (s *story) allow(id string) {
	s.rewrite(s.position(id), func(e *wallet.Entry) { e.Status, e.Reason, e.Version = wallet.StatusApplied, "", 1 })
}

// sent adds an answered attempt without an effect of its own.
func (s *story) sent(c wallet.Command) {
	s.attempts = append(s.attempts, attempt{command: c, way: Signal, accepted: true, called: time.Hour, returned: time.Hour})
}

// failed adds a failed attempt of a command that another attempt got an answer for.
func (s *story) failed(err error) {
	s.attempts = append(s.attempts, attempt{command: add("h2", "1"), way: Update, called: time.Hour, returned: open, err: err})
}

func TestATerminatedWorkflowMayLoseSignalsAndUpdatesUntilTheyAreSentAgain(t *testing.T) {
	for _, handling := range []Handling{Terminated, Limited} {
		s := newStory()
		s.wallet.Handling = handling
		s.failed(temporal.NewApplicationError("lost", updateLost))
		s.of("b").returned = 0 // accepted long before it was recorded
		require.Empty(t, s.check())
	}
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
	s.of("b").returned = 0 // accepted before "a" was sent, but recorded after it
	s.of("a").called = time.Millisecond
	s.of("a").way = StrayStep
	require.Empty(t, s.check())
	s.of("a").way = Update
	require.NotEmpty(t, s.check())
}

// TestAWalletWhoseClockWentAheadStaysThere has the clock go back: time stands still in the
// wallet, and a hold that expired ahead of time is late by no other clock.
func TestAWalletWhoseClockWentAheadStaysThere(t *testing.T) {
	s := newStory()
	s.send(Update, wallet.Command{ID: "p", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresIn: "1s"})
	back := s.waited
	s.waited = 5 * time.Minute
	s.send(Update, add("q", "1"))
	s.waited = back
	s.send(Update, add("r", "1"))
	ahead := s.entries["r"].RecordedAt
	require.Equal(t, s.entries["_expire/p"].RecordedAt, ahead)
	require.Len(t, s.check(), 1, "nobody said that the clock had been there")
	s.record.healed = ahead
	require.Empty(t, s.check())
	check := newWalletCheck(storyBegan, s.wallet, s.attempts, s.record)
	check.check()
	require.Equal(t, 14, check.aheadOfTime(), "the three, and the last eleven of the story, which has waited")
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
