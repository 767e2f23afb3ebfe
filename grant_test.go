package wallet

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet/internal/test/model"
)

// stored is a wallet as its rows have it. Its steps read no more of them than they have to.
type stored struct {
	asset   Asset
	holds   map[string]Hold
	grants  map[int64]Grant
	prior   map[string]*Entry
	journal []Entry
	pages   int // of grants that were read
}

func newStored() *stored {
	return &stored{asset: dollars(), holds: map[string]Hold{}, grants: map[int64]Grant{}, prior: map[string]*Entry{}}
}

// account is what a step reads for commands, with a number of open grants.
func (s *stored) account(commands []Command, now time.Time, open int) Account {
	a := Account{Asset: s.asset}
	for _, h := range s.holds {
		if h.IsDue(now) || slices.ContainsFunc(commands, func(c Command) bool { return c.HoldID == h.ID }) {
			a.Keep(h)
			for _, part := range h.Grants {
				a.KeepGrant(s.grants[part.Grant])
			}
		}
	}
	for _, c := range commands {
		if e, known := s.prior[c.OriginalID]; known {
			o := OriginalOf(*e)
			for _, earlier := range s.journal {
				if earlier.OriginalID == o.ID && earlier.Status == StatusApplied {
					o.Left = earlier.OriginalLeft
				}
			}
			a.KeepOriginal(o)
			if o.Grant != 0 {
				a.KeepGrant(s.grants[o.Grant])
			}
			for _, part := range o.Grants {
				a.KeepGrant(s.grants[part.Grant])
			}
		}
	}
	var inOrder []Grant
	for _, g := range s.grants {
		if g.IsDue(now) {
			a.KeepGrant(g)
		}
		if !g.Left.IsZero() {
			inOrder = append(inOrder, g)
		}
	}
	slices.SortFunc(inOrder, compareGrants)
	if open < len(inOrder) {
		inOrder = inOrder[:open]
		a.GrantsAfter = &Grant{} // before all others
		if open > 0 {
			a.GrantsAfter = &inOrder[open-1]
		}
	}
	for _, g := range inOrder {
		a.KeepGrant(g)
	}
	return a
}

func (s *stored) step(t require.TestingT, now time.Time, commands ...Command) Folded {
	var f Folded
	for open := 0; ; open++ {
		var err error
		f, err = Fold(s.account(commands, now, open), s.prior, good(commands...), now)
		var more *MoreGrantsError
		if !errors.As(err, &more) {
			require.NoError(t, err)
			s.pages += open
			break
		}
		require.LessOrEqual(t, open, len(s.grants))
	}
	s.asset = f.Account.Asset
	for _, h := range f.Holds {
		s.holds[h.ID] = h
	}
	for _, g := range f.Grants {
		s.grants[g.Number] = g
	}
	for i := range f.Entries {
		s.prior[f.Entries[i].CommandID] = &f.Entries[i]
	}
	s.journal = append(s.journal, f.Entries...)
	return f
}

func grant(id, amount string, in string, priority int64) Command {
	return Command{ID: id, Type: TypeAdd, Amount: MustAmount(amount), ExpiresIn: in, Priority: priority}
}

func take(id, amount string) Command {
	return Command{ID: id, Type: TypeSubtract, Amount: MustAmount(amount)}
}

func (s *stored) last() Entry { return s.journal[len(s.journal)-1] }

func TestGrantsAreUsedUpInOrder(t *testing.T) {
	s := newStored()
	s.step(t, noon, Command{ID: "own", Type: TypeAdd, Amount: MustAmount("5")}, // position 2
		grant("never", "1", "", 50), grant("month", "1", "30d", 0), grant("day", "1", "1d", 0), grant("same day", "1", "1d", 0), // 3 to 6
		grant("later but first", "1", "60d", 1), // 7
		take("a", "2.50"))
	require.Equal(t, "7:1.00,5:1.00,6:0.50", s.last().Grants, "by priority, then the soonest expiry, then age")
	s.step(t, noon, take("b", "4"))
	require.Equal(t, "6:0.50,4:1.00,3:1.00", s.last().Grants, "what never expires comes after what does, and what is not granted last")
	require.Equal(t, "3.50", s.asset.Total.String())
	require.Zero(t, s.asset.OpenGrants)
	require.True(t, s.asset.Granted.IsZero())
	require.Equal(t, GrantUsed, s.grants[5].State)

	s = newStored()
	s.step(t, noon, grant("30", "2", "30d", 0), grant("1", "2", "1d", 0), grant("always", "2", "", 50), take("a", "1"))
	require.Equal(t, "3:1.00", s.last().Grants)
}

func TestAGrantExpiresWhoeverComesFirst(t *testing.T) {
	s := newStored()
	s.step(t, noon, Command{ID: "own", Type: TypeAdd, Amount: MustAmount("1")}, grant("g", "2", "10s", 0), grant("h", "3", "10s", 0))
	f := s.step(t, noon.Add(10*time.Second-time.Microsecond), take("before", "0.50"))
	require.Len(t, f.Entries, 1)
	f = s.step(t, noon.Add(10*time.Second), take("after", "1.01"))
	require.Equal(t, []string{"_expire_grant/3/1", "_expire_grant/4/1", "after"}, []string{f.Entries[0].CommandID, f.Entries[1].CommandID, f.Entries[2].CommandID})
	require.Equal(t, ReasonInsufficientFunds, f.Results[0].Reason)
	require.Equal(t, "1.50", f.Entries[0].Amount.String())
	require.Equal(t, "3:1.50", f.Entries[0].Grants)
	require.Equal(t, "1.00", s.asset.Total.String())
	require.Equal(t, GrantExpired, s.grants[3].State)
	require.Equal(t, "0.50", s.grants[3].Used.String())
}

// TestWhatIsHeldKeepsItsGrants lets a grant expire while a part of it is held. A read, or a step
// without commands, before the capture changes nothing.
func TestWhatIsHeldKeepsItsGrants(t *testing.T) {
	for _, looked := range []bool{false, true} {
		s := newStored()
		s.step(t, noon, Command{ID: "own", Type: TypeAdd, Amount: MustAmount("1")}, grant("g", "10", "10s", 0),
			Command{ID: "hold", Type: TypeHold, Amount: MustAmount("6")})
		require.Equal(t, GrantParts{{3, MustAmount("6.00")}}, s.holds["hold"].Grants)
		if looked {
			s.step(t, noon.Add(11*time.Second))
			require.Equal(t, "7.00", s.asset.Total.String())
			require.Equal(t, GrantHeld, s.grants[3].State)
		}
		f := s.step(t, noon.Add(20*time.Second), Command{ID: "capture", Type: TypeCapture, HoldID: "hold", Amount: MustAmount("2")})
		require.Equal(t, StatusApplied, f.Results[0].Status)
		var ids []string
		for _, e := range s.journal[4:] {
			ids = append(ids, e.CommandID+" "+e.Grants)
		}
		require.Equal(t, []string{"_expire_grant/3/1 3:4.00", "capture 3:2.00", "_expire_grant/3/2 3:4.00"}, ids, "what is given back expires at once")
		require.Equal(t, "1.00", s.asset.Total.String())
		require.Equal(t, "1.00", s.asset.Available().String())
		require.Zero(t, s.asset.OpenGrants)
	}
}

func TestReversalsAndGrants(t *testing.T) {
	s := newStored()
	s.step(t, noon, Command{ID: "own", Type: TypeAdd, Amount: MustAmount("5")}, grant("g", "2", "10s", 0), grant("h", "2", "20s", 0), take("s", "6"))
	refuses := func(now time.Time, reason Reason, c Command) {
		t.Helper()
		f := s.step(t, now, c)
		require.Equal(t, reason, f.Results[len(f.Results)-1].Reason)
	}
	f := s.step(t, noon, reversal("r1", "s", "3"))
	require.Equal(t, "4:1.00", f.Entries[0].Grants, "what was taken last comes back first: 2 that were not granted, and 1 of the second grant")
	refuses(noon, ReasonInsufficientFunds, reversal("r2", "g", "0.01"))
	refuses(noon, ReasonInsufficientFunds, reversal("r3", "h", "1.01"))
	refuses(noon, "", reversal("r4", "h", "1"))
	require.Equal(t, "4:1.00", s.last().Grants)
	refuses(noon.Add(10*time.Second), ReasonGrantExpired, reversal("r5", "s", "1.01"))
	refuses(noon.Add(10*time.Second), "", reversal("r6", "s", "1"))
	require.Equal(t, "4:1.00", s.last().Grants)
	back := reversal("r7", "s", "")
	back.ReturnExpired = true
	refuses(noon.Add(10*time.Second), "", back)
	require.Empty(t, s.last().Grants, "it comes back as what never expires")
	require.Equal(t, "8.00", s.asset.Total.String())
	require.Equal(t, "1.00", s.asset.Granted.String())
	s.step(t, noon.Add(10*time.Second), take("s2", "5"), grant("last", "10", "", 1))
	refuses(noon.Add(10*time.Second), ReasonInsufficientFunds, reversal("r8", "own", "3.01"))
	refuses(noon.Add(10*time.Second), "", reversal("r9", "own", "3"))
	require.Equal(t, "10.00", s.asset.Granted.String(), "it takes only what is not granted")
	s.step(t, noon.Add(10*time.Second), take("s3", "4"), Command{ID: "hold", Type: TypeHold, Amount: MustAmount("1")})
	refuses(noon.Add(10*time.Second), ReasonInsufficientFunds, reversal("r10", "last", "5.01"))
	refuses(noon.Add(10*time.Second), "", reversal("r11", "last", ""))
	require.Equal(t, "5.00", s.last().TotalBefore.Sub(s.last().TotalAfter).String(), "without an amount it takes what is left of its grant")
	require.Equal(t, "5.00", s.last().OriginalLeft.String())
	refuses(noon.Add(10*time.Second), ReasonInsufficientFunds, reversal("r12", "last", ""))
	s.step(t, noon.Add(10*time.Second), Command{ID: "back", Type: TypeRelease, HoldID: "hold"})
	refuses(noon.Add(10*time.Second), "", reversal("r13", "last", ""))
	require.Equal(t, "4.00", s.last().OriginalLeft.String(), "and what came back since")
}

func TestAThousandGrants(t *testing.T) {
	s := newStored()
	var all []Command
	for i := range MaxOpenGrants {
		all = append(all, grant(fmt.Sprint("g", i), "0.01", "1d", 0))
	}
	s.step(t, noon, all...)
	f := s.step(t, noon, grant("one more", "0.01", "1d", 0))
	require.Equal(t, ReasonTooManyGrants, f.Results[0].Reason)
	s.pages = 0
	s.step(t, noon, take("one", "0.01"))
	require.LessOrEqual(t, s.pages, 1, "a command that touches one grant reads one")
	f = s.step(t, noon, take("all", "9.99"))
	require.Equal(t, StatusApplied, f.Results[0].Status)
	require.Zero(t, s.asset.OpenGrants)
	f = s.step(t, noon, grant("again", "0.01", "1d", 0), reversal("r", "all", ""), reversal("r2", "one", ""))
	require.Equal(t, ReasonTooManyGrants, f.Results[2].Reason, "a reversal opens no more than that")
	require.EqualValues(t, MaxOpenGrants, s.asset.OpenGrants)
}

// TestTheOthersAreNotSortedForOne: what one grant is enough for copies and sorts none of a thousand.
func TestTheOthersAreNotSortedForOne(t *testing.T) {
	a := Account{Asset: Asset{Granted: MustAmount("10.00")}}
	for n := int64(1); n <= MaxOpenGrants; n++ {
		a.KeepGrant(Grant{Number: n, Priority: DefaultPriority, Left: MustAmount("0.01"), ExpiresAt: noon.Add(time.Duration(n%7) * time.Hour)})
	}
	parts, _ := a.nextParts(MustAmount("0.03"))
	require.Equal(t, "7:0.01,14:0.01,21:0.01", parts.String())
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { a.nextParts(MustAmount("0.01")) }), 10.)
}

func TestGrantPartsHaveOneForm(t *testing.T) {
	parts, err := ParseGrantParts("17:2.50,3:1.00")
	require.NoError(t, err)
	require.Equal(t, "17:2.50,3:1.00", parts.String())
	for _, text := range []string{"17", "17:", ":1", "0:1", "-1:1", "01:1", "17:2.50,", "17:0.00", "17:1:1", "+1:1", "a:1", "1:-1", " 1:1"} {
		_, err := ParseGrantParts(text)
		require.Error(t, err, text)
	}
}

func (s *stored) compare(t require.TestingT, w *model.Wallet) {
	require.Equal(t, w.Total(), s.asset.Total.String())
	require.Equal(t, w.Held(), s.asset.Hold.String())
	require.Zero(t, s.asset.Granted.Cmp(MustAmount(w.Granted())))
	require.Equal(t, w.OpenGrants(), s.asset.OpenGrants)
	wanted := w.Grants()
	require.Len(t, s.grants, len(wanted))
	for n, g := range s.grants {
		require.Equal(t, wanted[n], model.Grant{ID: g.ID, State: string(g.State), Priority: int(g.Priority), Amount: g.Amount.String(), Left: g.Left.String(), Held: g.Held.String(),
			Used: g.Used.String(), Expired: g.Expired.String(), Expires: model.Time(g.ExpiresAt), Added: model.Time(g.AddedAt), Updated: model.Time(g.UpdatedAt), Position: g.Position, Expiries: int(g.Expiries)}, "grant %d", n)
	}
	for id, h := range w.Holds() {
		require.Equal(t, h.Grants, s.holds[id].Grants.String(), "hold %s", id)
	}
}

// TestGrantsKeepTheirPromises runs random commands of all kinds that change amounts, on a clock that
// hits expiries to the microsecond, and compares all rows and answers with the model. The same
// commands, with steps without commands in between, do the same.
func TestGrantsKeepTheirPromises(t *testing.T) {
	reasons, applied := map[Reason]int{}, map[CommandType]int{}
	rapid.Check(t, func(t *rapid.T) {
		s, looked, m := newStored(), newStored(), model.New(2)
		now := noon
		held, taken := []string{"nothing"}, []string{"nothing"}
		for n := range rapid.IntRange(5, 40).Draw(t, "commands") {
			wait := rapid.SampledFrom([]time.Duration{0, 0, time.Microsecond, time.Second - time.Microsecond, time.Second, 3 * time.Second}).Draw(t, "wait")
			for range rapid.IntRange(0, 2).Draw(t, "looks") {
				look := now.Add(rapid.SampledFrom([]time.Duration{0, wait / 2, wait}).Draw(t, "look"))
				if !look.Before(looked.asset.UpdatedAt) {
					looked.step(t, look)
				}
			}
			now = now.Add(wait)
			c := Command{ID: fmt.Sprint("c", n), Type: rapid.SampledFrom([]CommandType{TypeAdd, TypeAdd, TypeAdd, TypeSubtract, TypeSubtract, TypeHold, TypeHold, TypeCapture, TypeRelease, TypeRelease, TypeReverse, TypeReverse, TypeSetCreditLimit, TypeSetCreditLimit}).Draw(t, "type")}
			amount := cents(rapid.SampledFrom([]int64{1, 2, 3, 5, 8, 13}).Draw(t, "cents"))
			expires := func(or string) {
				switch rapid.IntRange(0, 3).Draw(t, "expiry") {
				case 0:
					c.ExpiresAt = now.Add(rapid.SampledFrom([]time.Duration{-1, 0, 1, 2}).Draw(t, "at") * time.Second)
				case 1:
					c.ExpiresIn = or
				case 2:
					c.ExpiresIn = rapid.SampledFrom([]string{"1s", "2s", "5s"}).Draw(t, "in")
				}
			}
			switch c.Type {
			case TypeAdd:
				c.Priority = rapid.SampledFrom([]int64{0, 0, 1, 50, 100}).Draw(t, "priority")
				expires("")
				taken = append(taken, c.ID)
			case TypeHold:
				if rapid.IntRange(0, 2).Draw(t, "raise") == 0 {
					c.HoldID = rapid.SampledFrom(held).Draw(t, "hold")
				} else {
					held = append(held, c.ID)
				}
				expires("3s")
			case TypeCapture, TypeRelease:
				c.HoldID = rapid.SampledFrom(held).Draw(t, "hold")
				c.Partial = c.Type == TypeCapture && rapid.Bool().Draw(t, "partial")
				taken = append(taken, c.ID)
			case TypeReverse:
				c.OriginalID = rapid.SampledFrom(taken).Draw(t, "original")
				c.ReturnExpired = rapid.Bool().Draw(t, "return expired")
			case TypeSubtract:
				taken = append(taken, c.ID)
			}
			if c.Type == TypeAdd || c.Type == TypeSubtract || c.Type == TypeHold || rapid.Bool().Draw(t, "with amount") {
				c.Amount = amount
			}
			require.NoError(t, c.Validate())
			m.Now = now
			text := ""
			if c.Amount != (Amount{}) {
				text = c.Amount.String()
			}
			want := m.Apply([]model.Command{{ID: c.ID, Type: string(c.Type), Amount: text, HoldID: c.HoldID, ExpiresIn: c.ExpiresIn, ExpiresAt: c.ExpiresAt,
				Partial: c.Partial, OriginalID: c.OriginalID, Priority: int(c.Priority), ReturnExpired: c.ReturnExpired}})[0]
			for _, of := range []*stored{s, looked} {
				f := of.step(t, now, c)
				r := f.Results[0]
				limit := ""
				if !r.CreditLimit.IsZero() {
					limit = r.CreditLimit.String()
				}
				require.Equal(t, want, model.Answer{ID: r.CommandID, Status: string(r.Status), Reason: string(r.Reason), Before: r.TotalBefore.String(), After: r.TotalAfter.String(),
					HoldBefore: r.HoldBefore.String(), HoldAfter: r.HoldAfter.String(), Version: r.Version, Position: r.Position, Grants: r.Grants,
					GrantExpires: model.Time(r.GrantExpiresAt), Hold: want.Hold, State: string(r.HoldState), Left: want.Left, Expires: model.Time(r.HoldExpiresAt),
					Original: want.Original, OriginalLeft: want.OriginalLeft, CreditLimit: limit}, "%+v: %s", c, r.Message)
				if reasons[r.Reason]++; r.Reason == "" {
					applied[r.Type]++
				}
			}
			s.compare(t, m)
			require.Equal(t, s.asset.Position, looked.asset.Position)
			for _, e := range s.journal {
				if e.Type == TypeExpireGrant {
					applied[e.Type]++
				}
			}
		}
		for i, e := range s.journal {
			other := looked.journal[i]
			require.Equal(t, []any{e.CommandID, e.Status, e.Reason, e.TotalAfter, e.HoldAfter, e.Grants, e.Amount},
				[]any{other.CommandID, other.Status, other.Reason, other.TotalAfter, other.HoldAfter, other.Grants, other.Amount}, "whoever looks in between")
		}
		derived, err := GrantsOf(s.journal)
		require.NoError(t, err)
		require.Equal(t, len(s.grants), len(derived))
		for n, g := range s.grants {
			require.Equal(t, fmt.Sprint(g), fmt.Sprint(derived[n]))
		}
		for id, h := range s.holds {
			derived, _ := HoldOf(id, s.journal)
			require.Equal(t, h.Grants.String(), derived.Grants.String())
		}
	})
	for _, kind := range []CommandType{TypeAdd, TypeSubtract, TypeHold, TypeCapture, TypeRelease, TypeReverse, TypeSetCreditLimit, TypeExpireGrant} {
		require.Positive(t, applied[kind], kind)
	}
	for _, reason := range []Reason{ReasonGrantExpired, ReasonInsufficientFunds, ReasonHoldExpired, ReasonReversalExceeded, ReasonCreditLimitExceeded} {
		require.Positive(t, reasons[reason], reason)
	}
}

// TestAGrantPaysNoDebt: what is owed stays owed, and may not be more than the limit once the grant has
// expired.
func TestAGrantPaysNoDebt(t *testing.T) {
	now := noon
	account, prior := Account{Asset: dollars()}, map[string]*Entry{}
	do := func(commands ...Command) []Result {
		f, err := Fold(account, prior, good(commands...), now)
		require.NoError(t, err)
		account = f.Account
		for i := range f.Entries {
			prior[f.Entries[i].CommandID] = &f.Entries[i]
		}
		return f.Results
	}
	r := do(limitOf("limit", "10"), amountOf("debt", TypeSubtract, "4"), Command{ID: "grant", Type: TypeAdd, Amount: MustAmount("4"), ExpiresIn: "1h"},
		limitOf("less", "3.99"), Command{ID: "close", Type: TypeClose}, limitOf("as much", "4"), amountOf("of the grant", TypeSubtract, "1"))
	require.Equal(t, []Reason{"", "", "", ReasonCreditLimitExceeded, ReasonNotEmpty, "", ""}, []Reason{r[0].Reason, r[1].Reason, r[2].Reason, r[3].Reason, r[4].Reason, r[5].Reason, r[6].Reason})
	require.Contains(t, r[3].Message, "less than the 4.00 USD that are used (total 0.00, hold 0.00, granted 4.00)")
	require.Equal(t, []string{"-1.00", "3.00", "3.00"}, []string{account.Total.String(), account.Granted.String(), account.Available().String()})
	now = now.Add(time.Hour)
	require.Equal(t, ReasonInsufficientFunds, do(amountOf("nothing is left", TypeSubtract, "0.01"))[0].Reason)
	require.Equal(t, "-4.00", account.Total.String())
}

// TestAnExpiredGrantCrossesThresholds in the entry of its expiry.
func TestAnExpiredGrantCrossesThresholds(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(setTo("set", "low", "5"), Command{ID: "grant", Type: TypeAdd, Amount: MustAmount("6"), ExpiresIn: "1h"}), noon)
	require.NoError(t, err)
	f, err = Fold(f.Account, nil, nil, noon.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, Crossed(`[{"name": "low", "amount": "5.00", "direction": "below"}]`), f.Entries[0].Crossed)
}

// TestCreditsUntilTheNextTimeNeedIt has the answer of a worker that does not know the question.
func TestCreditsUntilTheNextTimeNeedIt(t *testing.T) {
	in := ApplyCommandInput{AssetRef: AssetRef{UserID: "u1", Currency: "USD"}, Command: Command{Type: TypeAdd, Amount: MustAmount("1")}, ExpiresAtNext: true}
	run := ScheduledRun{ScheduleID: "s", At: noon}
	_, err := in.At(run)
	require.ErrorContains(t, err, "upgrade all workers")
	run.Next = noon.Add(time.Hour)
	in, err = in.At(run)
	require.NoError(t, err)
	require.Equal(t, run.Next, in.Command.ExpiresAt)
	require.False(t, in.ExpiresAtNext)
}
