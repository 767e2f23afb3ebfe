package wallet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func frozenFor(what string) Command {
	return Command{ID: "freeze " + what, Type: TypeFreeze, What: what}
}

// TestAFreezeStopsItsDirectionOnly, and nothing that was reserved before.
func TestAFreezeStopsItsDirectionOnly(t *testing.T) {
	one := MustAmount("1")
	expiring := Command{ID: "expiring", Type: TypeHold, Amount: one, ExpiresIn: "1h"}
	for _, row := range []struct {
		command Command
		stopped []string // by a freeze of these
	}{
		{Command{ID: "c", Type: TypeAdd, Amount: one}, []string{"credits", "all"}},
		{Command{ID: "c", Type: TypeSubtract, Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, HoldID: "held", Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, HoldID: "expiring", ExpiresIn: "7d"}, []string{"debits", "all"}},
		{reversal("c", "add", "1"), []string{"debits", "all"}},
		{reversal("c", "subtract", "1"), []string{"credits", "all"}},
		{reversal("c", "capture", ""), []string{"credits", "all"}},
		{Command{ID: "c", Type: TypeCapture, HoldID: "held"}, nil},
		{Command{ID: "c", Type: TypeRelease, HoldID: "held"}, nil},
		{Command{ID: "c", Type: TypeUnfreeze}, nil},
		{Command{ID: "c", Type: TypeFreeze, What: "all"}, nil},
	} {
		for _, what := range freezable {
			f := funded(t)
			again, err := Fold(f.Account, byID(f.Entries), good(expiring, frozenFor(what), row.command, Command{ID: "over", Type: TypeUnfreeze}), noon)
			require.NoError(t, err)
			want := StatusApplied
			for _, by := range row.stopped {
				if by == what {
					want = StatusUnapplied
				}
			}
			require.Equal(t, want, again.Results[2].Status, "%s under a freeze of %s: %s", row.command, what, again.Results[2].Message)
			if want == StatusUnapplied {
				require.Equal(t, ReasonFrozen, again.Results[2].Reason)
				require.Equal(t, Frozen(what), again.Entries[2].Frozen, "the entry says what was frozen")
			}
			require.Empty(t, again.Account.Frozen)
		}
	}
}

func TestASecondFreezeTakesNothingBack(t *testing.T) {
	for _, row := range [][3]string{{"debits", "credits", "all"}, {"all", "debits", "all"}, {"credits", "credits", "credits"}} {
		f := funded(t)
		again, err := Fold(f.Account, nil, good(frozenFor(row[0]), Command{ID: "b", Type: TypeFreeze, What: row[1]}), noon)
		require.NoError(t, err)
		require.Equal(t, Frozen(row[2]), again.Account.Frozen)
	}
}

func TestAnExpiryGoesOnUnderAFreeze(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(
		Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("1")}, Command{ID: "h", Type: TypeHold, Amount: MustAmount("1"), ExpiresIn: "1s"}, frozenFor("all")), noon)
	require.NoError(t, err)
	later, err := Fold(f.Account, nil, good(Command{ID: "s", Type: TypeSubtract, Amount: MustAmount("1")}), noon.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Equal(t, TypeExpire, later.Entries[0].Type)
	require.Equal(t, StatusApplied, later.Entries[0].Status)
	require.Equal(t, FrozenAll, later.Entries[0].Frozen)
	require.Equal(t, ReasonFrozen, later.Results[0].Reason)
}

func TestOnlyAnEmptyWalletIsClosed(t *testing.T) {
	f := funded(t)
	again, err := Fold(f.Account, byID(f.Entries), good(
		Command{ID: "full", Type: TypeClose},
		Command{ID: "out", Type: TypeCapture, HoldID: "held"}, Command{ID: "rest", Type: TypeSubtract, Amount: MustAmount("2")},
		frozenFor("debits"), Command{ID: "close", Type: TypeClose}), noon)
	require.NoError(t, err)
	require.Equal(t, ReasonNotEmpty, again.Results[0].Reason)
	require.Contains(t, again.Results[0].Message, "total 3.00 and hold 1.00")
	require.Equal(t, StatusApplied, again.Results[4].Status, again.Results[4].Message)
	require.True(t, again.Account.Closed)
	closed := again.Account
	for _, kind := range CallersKinds() {
		c := Command{ID: "c " + string(kind.Type), Type: kind.Type, Amount: MustAmount("1"), HoldID: "held", OriginalID: "add", What: "all"}
		again, err := Fold(closed, nil, good(c), noon)
		require.NoError(t, err)
		if kind.Type != TypeCreate {
			require.Equal(t, ReasonClosed, again.Results[0].Reason, kind.Type)
			require.True(t, again.Entries[0].Closed)
			continue
		}
		require.Equal(t, StatusApplied, again.Results[0].Status)
		require.False(t, again.Account.Closed)
		require.Equal(t, FrozenDebits, again.Account.Frozen, "a create does not undo a freeze")
		require.Equal(t, closed.Version+1, again.Account.Version)
	}
}

// TestFrozenAndClosedAreInEachEntry: from the last one the row is made again, and a past balance read.
func TestFrozenAndClosedAreInEachEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account, prior := Account{Asset: dollars()}, map[string]*Entry{}
		for n := range 30 {
			c := Command{ID: string(rune('a' + n)), Type: rapid.SampledFrom([]CommandType{TypeCreate, TypeAdd, TypeSubtract, TypeFreeze, TypeUnfreeze, TypeClose}).Draw(t, "type")}
			switch c.Type {
			case TypeAdd, TypeSubtract:
				c.Amount = cents(rapid.Int64Range(1, 3).Draw(t, "cents"))
			case TypeFreeze:
				c.What = rapid.SampledFrom(freezable).Draw(t, "what")
			}
			before := account.Asset
			f, err := Fold(account, prior, good(c), noon)
			require.NoError(t, err)
			account = f.Account
			last := f.Entries[len(f.Entries)-1]
			require.Equal(t, []any{account.Frozen, account.Closed}, []any{last.Frozen, last.Closed})
			require.True(t, !account.Closed || account.Total.IsZero())
			facts, err := NewFacts(good(c), f.Results).Results(good(c))
			require.NoError(t, err)
			require.Equal(t, f.Results[0].Frozen, facts[0].Frozen)
			require.Equal(t, f.Results[0].Closed, facts[0].Closed)
			if before.Closed && last.Status == StatusApplied {
				require.Equal(t, TypeCreate, last.Type)
			}
		}
	})
}

func frozenUntil(id, what, expiresIn string) Command {
	return Command{ID: id, Type: TypeFreeze, What: what, ExpiresIn: expiresIn}
}

// TestAFreezeEndsAtItsTime, without an entry of its own, by the time of the command that comes then.
func TestAFreezeEndsAtItsTime(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5")}, frozenUntil("f", "debits", "1h")), noon)
	require.NoError(t, err)
	end := noon.Add(time.Hour)
	require.Equal(t, FreezeEnds{DebitsFrozenUntil: end}, f.Results[1].FreezeEnds)
	require.Equal(t, end, f.Account.NextThaw())

	take := Command{ID: "s", Type: TypeSubtract, Amount: MustAmount("1")}
	last, err := Fold(f.Account, nil, good(take), end.Add(-time.Microsecond))
	require.NoError(t, err)
	require.Equal(t, ReasonFrozen, last.Results[0].Reason)
	require.Contains(t, last.Results[0].Message, "the wallet's debits are frozen until "+timeText(end))
	require.Equal(t, end, last.Entries[0].DebitsFrozenUntil)

	then, err := Fold(f.Account, nil, good(take), end)
	require.NoError(t, err)
	require.Len(t, then.Entries, 1)
	require.Equal(t, StatusApplied, then.Results[0].Status)
	require.Empty(t, then.Entries[0].Frozen)
	require.Zero(t, then.Entries[0].FreezeEnds)
	require.Empty(t, then.Account.Frozen)

	// An answer without an entry says what is frozen then, too.
	conflict, err := Fold(f.Account, map[string]*Entry{"a": &f.Entries[1]}, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("6")}), end)
	require.NoError(t, err)
	require.Equal(t, ReasonIDConflict, conflict.Results[0].Reason)
	require.Empty(t, conflict.Results[0].Frozen)

	for at, reason := range map[time.Time]Reason{noon.Add(time.Microsecond): "", noon: ReasonFreezeExpired, noon.Add(-time.Hour): ReasonFreezeExpired} {
		late, err := Fold(f.Account, nil, good(Command{ID: "late", Type: TypeFreeze, What: "credits", ExpiresAt: at}), noon)
		require.NoError(t, err)
		require.Equal(t, reason, late.Results[0].Reason, at)
	}
	both := Command{ID: "b", Type: TypeFreeze, What: "all", ExpiresIn: "1h", ExpiresAt: end}
	require.ErrorContains(t, both.Validate(), "both expires_in and expires_at")
}

// TestFreezesAddUpOverTime for any of them: a direction is frozen while any freeze of it lasts, until
// it is unfrozen, and each answer says until when.
func TestFreezesAddUpOverTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account, now := Account{Asset: dollars()}, noon
		var freezes []Command
		ends := map[string]time.Time{} // zero for never
		until := func(direction string) (frozen bool, last time.Time) {
			for _, f := range freezes {
				end := ends[f.ID]
				if f.What != direction && f.What != "all" || !end.IsZero() && !now.Before(end) {
					continue
				}
				if !frozen || end.IsZero() || !last.IsZero() && end.After(last) {
					last = end
				}
				frozen = true
			}
			return frozen, last
		}
		for n := range 30 {
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "minutes")) * time.Minute)
			c := Command{ID: string(rune('a' + n)), Type: rapid.SampledFrom([]CommandType{TypeAdd, TypeSubtract, TypeFreeze, TypeFreeze, TypeUnfreeze}).Draw(t, "type")}
			switch c.Type {
			case TypeAdd, TypeSubtract:
				c.Amount = cents(1)
			case TypeFreeze:
				c.What = rapid.SampledFrom(freezable).Draw(t, "what")
				c.ExpiresIn = rapid.SampledFrom([]string{"", "1m", "2m", "3m", "5m"}).Draw(t, "for")
			}
			debits, _ := until("debits")
			credits, _ := until("credits")
			f, err := Fold(account, nil, good(c), now)
			require.NoError(t, err)
			account = f.Account
			last := f.Entries[len(f.Entries)-1]
			require.Equal(t, c.Type == TypeSubtract && debits || c.Type == TypeAdd && credits, last.Reason == ReasonFrozen, "%s at %s", c, now)
			switch c.Type {
			case TypeUnfreeze:
				freezes = nil
			case TypeFreeze:
				if freezes = append(freezes, c); c.ExpiresIn != "" {
					d, err := time.ParseDuration(c.ExpiresIn)
					require.NoError(t, err)
					ends[c.ID] = now.Add(d)
				}
			}
			for direction, of := range map[Frozen]time.Time{FrozenDebits: last.DebitsFrozenUntil, FrozenCredits: last.CreditsFrozenUntil} {
				frozen, end := until(string(direction))
				require.Equal(t, frozen, last.Frozen.stops(direction))
				require.True(t, end.Equal(of), "%s until %s, not %s", direction, end, of)
			}
			require.Equal(t, last.FreezeEnds, account.FreezeEnds)
			facts, err := NewFacts(good(c), f.Results).Results(good(c))
			require.NoError(t, err)
			require.Equal(t, f.Results[0].FreezeEnds, facts[0].FreezeEnds)
		}
	})
}
